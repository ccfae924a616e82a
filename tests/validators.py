"""Other people's programs that judge what we make, and the word a test gives when one is not installed."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

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


def validated(data: bytes, folder: Path, *, unsaid: Sequence[str] = ()) -> list[str]:
    """What dciodvfy has against an object, but for what is as it must be; `unsaid` are attributes its source lacks."""
    (folder / "object.dcm").write_bytes(data)
    command = [tool("dciodvfy", "dicom3tools"), folder / "object.dcm"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = (
        # Private coding schemes begin with 99 (PS3.16, 8.2); it knows some by name.
        "Warning - Unrecognized defined term <99OVERREAD> for value 1 of attribute <Coding Scheme Designator>",
        *(f"Warning - Missing attribute or value that would be needed to build DICOMDIR - {name}" for name in unsaid),
    )
    lines = (told.stdout + told.stderr).splitlines()
    return [line for line in lines if re.match("Error|Warning|Abort", line) and not line.startswith(expected)]
