"""Other people's programs that judge what we make."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import tool


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
