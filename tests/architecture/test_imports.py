"""What each program loads: TensorFlow only in a worker's engine, Flask only in the API, neither in the command line."""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import api.cli

HEAVY = {"tensorflow", "keras", "ray", "h5py", "torch", "jax"}
ROOT = Path(__file__).parent.parent.parent


def _modules_after(statements: str, data_dir: Path) -> set[str]:
    """The top-level modules that a new Python process has loaded after these statements."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"],
        env=os.environ | {"OVERREAD_DATA_DIR": str(data_dir)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_api_loads_no_engine(tmp_path: Path) -> None:
    loaded = _modules_after(
        "from api.app import create_app; from shared.config import load_settings\n"
        "import api.serve; create_app(load_settings()).test_client().get('/openapi.json')",
        tmp_path,
    )

    assert "flask" in loaded
    assert not loaded & (HEAVY - {"h5py"})
    assert not loaded & {"worker", "scheduler"}


def test_scheduler_loads_no_engine_and_no_flask(tmp_path: Path) -> None:
    loaded = _modules_after(
        "from scheduler.loop import make_duties; from shared.config import load_settings\n"
        "from shared.db import make_engine; from shared.queue import HintSender, make_celery\n"
        "from shared.storage import ContentStore\n"
        "import scheduler.serve; settings = load_settings()\n"
        "hints = HintSender(make_celery(settings))\n"
        "make_duties(make_engine(settings), hints, ContentStore(settings.store_dir), settings)",
        tmp_path,
    )

    assert "sqlalchemy" in loaded
    assert not loaded & HEAVY
    assert not loaded & {"api", "worker", "flask", "apiflask"}


def test_worker_loads_its_tasks_without_an_engine(tmp_path: Path) -> None:
    """The names of tasks stay importable where TensorFlow is not installed: importing it here fails."""
    loaded = _modules_after(
        "import sys\n"
        "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
        "import worker.app, worker.tasks, worker.serve\n"
        "for name in ('tensorflow', 'keras'): del sys.modules[name]",
        tmp_path,
    )

    assert "celery" in loaded
    assert not loaded & {"tensorflow", "keras", "ray", "api", "scheduler", "flask"}


def test_command_line_loads_no_server(tmp_path: Path) -> None:
    modules = [f"api.cli.{module.name}" for module in pkgutil.iter_modules(api.cli.__path__)]

    loaded = _modules_after(f"import {', '.join(modules)}", tmp_path)

    assert "api.cli.main" in modules
    assert not loaded & (HEAVY | {"flask", "apiflask", "sqlalchemy", "celery", "gunicorn", "worker", "scheduler"})


def test_limited_child_loads_no_server_and_no_engine(tmp_path: Path) -> None:
    loaded = _modules_after("import shared.sandbox.child, shared.dicom.read, shared.dicom.pixels", tmp_path)

    assert not loaded & (HEAVY | {"flask", "sqlalchemy", "celery", "api", "worker", "scheduler"})


def test_nothing_is_made_when_the_programs_are_imported(tmp_path: Path) -> None:
    """No module does work at import: no folder, no file, no connection."""
    _modules_after("import api.app, api.serve, scheduler.serve, worker.serve, shared.migrate, api.cli.main", tmp_path)

    assert list(tmp_path.iterdir()) == []
