"""What tests need of the machine, where the real data lies, and the word a test gives when something is not there."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

DATA_FOLDER = Path(__file__).parent.parent.parent / "shared" / "data"
COHORT_TOOL = DATA_FOLDER.parent / "tools" / "make_cohort.py"
REQUIRED = "OVERREAD_TEST_DATA_REQUIRED"


def absent(what: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing, as in CI."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{what} ({REQUIRED}=1: nothing may be missing)")
    pytest.skip(what)


def shared_file(path: Path) -> Path:
    """A file of the real data."""
    if not path.exists():
        absent(f"the real data is not here: no {path.name} in ../shared")
    return path


def tool(name: str, package: str) -> str:
    """The path of a program that comes with a package of Debian's."""
    return shutil.which(name) or absent(f"{name} is not installed: apt-get install {package}")
