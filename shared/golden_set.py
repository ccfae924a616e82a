"""The golden set of a model package: a few inputs of the network, and the probabilities that it gives for them."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.model_contract import ModelContract
from shared.model_zip import open_model_zip

LABEL = "golden.npz"
FRAMES, PROBABILITIES = "frames.npy", "probabilities.npy"
MAX_INPUTS = 1024
MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Golden:
    """Inputs, float32 (inputs, rows, columns, channels), preprocessed; probabilities, float32 (inputs, findings)."""

    frames: NDArray[np.float32]
    probabilities: NDArray[np.float32]


def read_golden_set(path: Path, contract: ModelContract) -> Golden:
    """Read what `numpy.savez(path, frames=..., probabilities=...)` wrote.

    Raises InvalidModelPackageError unless both are finite float32 arrays of the contract's shapes.
    """
    with open_model_zip(path, label=LABEL, names=frozenset({FRAMES, PROBABILITIES}), max_bytes=MAX_BYTES) as archive:
        shape = (contract.input.rows, contract.input.columns, contract.input.channels)
        frames = _array(archive.read(FRAMES, max_bytes=MAX_BYTES), FRAMES, shape)
        findings = (len(contract.findings),)
        probabilities = _array(archive.read(PROBABILITIES, max_bytes=MAX_BYTES), PROBABILITIES, findings)
    if len(frames) != len(probabilities):
        raise InvalidModelPackageError(
            f"{LABEL} holds {len(frames)} inputs and probabilities of {len(probabilities)}; expected as many"
        )
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise InvalidModelPackageError(f"{LABEL}: {PROBABILITIES} holds numbers outside of 0 to 1; no logits are meant")
    return Golden(frames, probabilities)


def _array(data: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """float32 (inputs, *shape); nothing is allocated by what the header claims."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found, fortran_order, dtype = read_header(stream)
    except (ValueError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError) as error:  # numpy parses Python
        raise InvalidModelPackageError(
            f"{LABEL}: {name} is no array of numbers ({type(error).__name__}); write it with numpy.savez"
        ) from error
    if dtype != np.float32 or fortran_order or found[1:] != shape or not 1 <= found[0] <= MAX_INPUTS:
        raise InvalidModelPackageError(
            f"{LABEL}: {name} is {dtype} of shape {found}; expected float32 of shape (1 to {MAX_INPUTS}, "
            f"{', '.join(map(str, shape))}), in C order"
        )
    if len(data) - stream.tell() != math.prod(found) * dtype.itemsize:
        raise InvalidModelPackageError(f"{LABEL}: {name} has not as many bytes as its shape says; write it again")
    array = np.frombuffer(data, np.float32, offset=stream.tell()).reshape(found)
    if not np.isfinite(array).all():
        raise InvalidModelPackageError(f"{LABEL}: {name} holds numbers that are not finite")
    return array
