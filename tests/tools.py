"""Other people's programs that judge what we make, and the word a test gives when one is not installed."""

import os
import shutil

import pytest

from tests.support import REQUIRED


def tool(name: str, package: str) -> str:
    """The program's path; skips the test where it is absent, or fails it where it is required."""
    found = shutil.which(name)
    if found:
        return found
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{name} is required ({REQUIRED}=1) and is not installed: apt-get install {package}")
    pytest.skip(f"{name} is not installed (package {package})")
