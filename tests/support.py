"""Where the real data lies, and the word a test gives when it is not there."""

import os
from pathlib import Path

import pytest

DATA_FOLDER = Path(__file__).parent.parent.parent / "shared" / "data"
COHORT_TOOL = DATA_FOLDER.parent / "tools" / "make_cohort.py"
REQUIRED = "OVERREAD_TEST_DATA_REQUIRED"


def shared_file(path: Path) -> Path:
    """A file of the real data; skips the test where it is absent, or fails it where the data is required."""
    if path.exists():
        return path
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{path.name} is required ({REQUIRED}=1) and is not in {path.parent}")
    pytest.skip(f"the real data is not here: no {path.name} in ../shared")
