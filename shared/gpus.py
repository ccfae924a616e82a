"""The GPUs that this process may use, as NVIDIA's driver tells: no library is loaded for it, and no GPU is touched."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import EngineMissingError

VISIBLE = "CUDA_VISIBLE_DEVICES"
FIELDS = ("uuid", "name", "memory.total", "memory.used", "driver_version")
COMMAND = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
TIMEOUT_S = 30.0
MIB = 1024 * 1024
MAX_TEXT_LENGTH = 80


@dataclass(frozen=True)
class Gpu:
    """One GPU: `uuid` is its name for CUDA, `used_bytes` what others had of its memory when we looked."""

    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int
    driver: str


def visible_gpus(environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs of this machine, as far as CUDA_VISIBLE_DEVICES lets them be seen, in its order.

    Without it they come in the driver's order, which is also what its numbers count. As for CUDA, the first word that
    names none ends the list; parts of a GPU (MIG) are not known here. Raises EngineMissingError when the driver does
    not answer.
    """
    present = _present_gpus()
    if VISIBLE not in environment:
        return present
    seen: list[Gpu] = []
    for word in environment[VISIBLE].split(","):
        found = _named(word.strip(), present)
        if found is None or found in seen:
            break
        seen.append(found)
    return seen


def _named(word: str, present: list[Gpu]) -> Gpu | None:
    if word.isdecimal():
        return present[int(word)] if int(word) < len(present) else None
    fitting = [gpu for gpu in present if word.startswith("GPU-") and gpu.uuid.startswith(word)]
    return fitting[0] if len(fitting) == 1 else None


def _present_gpus() -> list[Gpu]:
    try:
        run = subprocess.run(COMMAND, capture_output=True, timeout=TIMEOUT_S, check=True)
    except FileNotFoundError:  # no driver, no GPU
        return []
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineMissingError(f"nvidia-smi failed ({type(error).__name__}); see what it says") from error
    lines = run.stdout.decode(errors="replace").splitlines()
    return [gpu for line in lines if (gpu := _parsed(line)) is not None]


def _parsed(line: str) -> Gpu | None:
    """One line of the table; None where the driver does not say what is needed, as of memory that is not the GPU's."""
    words = [word.strip()[:MAX_TEXT_LENGTH] for word in line.split(",")]
    if len(words) != len(FIELDS):
        return None
    uuid, name, total, used, driver = words
    if not (uuid.startswith("GPU-") and total.isdecimal() and used.isdecimal()):
        return None
    return Gpu(uuid, name, int(total) * MIB, int(used) * MIB, driver)
