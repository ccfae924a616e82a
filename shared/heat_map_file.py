"""The file of an instance's heat maps: `.npy`, little endian float16 (maps, map rows, map columns), nothing else."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import NotFoundError

DTYPE = np.dtype("<f2")
MEDIA_TYPE = "application/x-npy"
MAP_AXES = 3


def encode_maps(maps: Sequence[NDArray[np.float16]]) -> bytes:
    """The file of these maps, all of one shape (map rows, map columns)."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack(maps).astype(DTYPE), allow_pickle=False)
    return buffer.getvalue()


def read_map(path: Path, position: int) -> NDArray[np.float16]:
    """One map of a file, float16 (map rows, map columns), counted from 0; nothing else is read into memory.

    Raises NotFoundError when the file is gone or is none of this kind.
    """
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
        if maps.dtype == DTYPE and maps.ndim == MAP_AXES:
            return np.array(maps[position])
    except (OSError, ValueError, IndexError, EOFError):
        pass
    raise NotFoundError(
        "The heat map's stored bytes are gone or damaged; submit the study with `force` to make it anew."
    )
