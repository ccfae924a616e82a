"""The model that serves in fault tests, and which database a test runs on."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.injection import system_on
from tests.model_samples import contract_fields, write_contract, zip_package
from tests.system import System

SIDE = 32
MAKE_NETWORK = """
import sys
from worker.engines.keras import import_keras
keras = import_keras()
keras.utils.set_random_seed(0)
from worker.networks.mission_cnn import build
build({side}, {side}, 1, 2).save(sys.argv[1])
"""

Systems = Callable[..., AbstractContextManager[System]]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mission's CNN with random weights as a zipped model package that takes any image."""
    folder = tmp_path_factory.mktemp("package") / "model"
    folder.mkdir()
    code = MAKE_NETWORK.format(side=SIDE)
    subprocess.run([sys.executable, "-c", code, str(folder / "weights.keras")], check=True, capture_output=True)
    write_contract(folder, contract_fields(side=SIDE))
    return zip_package(folder, folder.parent / "model.zip")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow_fault)])
def database(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    return str(request.param)


@pytest.fixture
def systems(database: str, package: Path, request: pytest.FixtureRequest) -> Systems:
    """Starts the running product with the model, on the test's kind of database."""
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None

    def start(**given: object) -> AbstractContextManager[System]:
        return system_on(database, url, package, **given)

    return start
