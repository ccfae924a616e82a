# The two commands are `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Written last by a successful install; a change of what is installed makes it anew.
STAMP := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-gpu test-faults screenshots soak lint format up clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(STAMP) ## Make the virtual environment with everything in it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v < (3, 14); sys.exit(0 if ok else f"Overread needs Python 3.11 to 3.13; $(PYTHON) is {v.major}.{v.minor}. Say which: make PYTHON=python3.12 ...")'
	@echo 'Installing about 3 GB into $(VENV): this takes minutes ...'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $(STAMP)

demo: $(STAMP) ## Start everything, fit a model, submit a cohort, show the patients' reports
	$(BIN)/overread demo

test: $(STAMP) ## Run every test but the faults that take minutes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not slow_fault and not gpu' --durations 30

# Another environment, which has CUDA: make test-gpu BIN=gpu/bin
test-gpu: $(if $(filter $(VENV)/bin,$(BIN)),$(STAMP)) ## Run the tests that need a GPU; BIN names the environment
	$(BIN)/python -m pytest -m gpu -rs tests/integration

test-faults: $(STAMP) ## Cause every fault we promise to survive, on both databases (half an hour)
	$(BIN)/python -m pytest --numprocesses 2 --dist load tests/faults
	$(BIN)/python -m pytest --numprocesses 2 --dist load -m slow_fault tests/integration

screenshots: $(STAMP) ## Take a picture of every page into screenshots/ (needs chromium)
	$(BIN)/python -m tests.screenshots screenshots

soak: $(STAMP) ## Two hours of mixed load with a fault every 20 seconds
	$(BIN)/overread chaos --minutes 120 --every 20 --seed 20 --database postgresql --workers 2 --schedulers 2

lint: $(STAMP) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: $(STAMP) ## Run the system here until Ctrl-C
	$(BIN)/overread up

clean: ## Remove the environment, caches and the demo's data (overread-data stays)
	rm -rf $(VENV) overread-demo screenshots *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
