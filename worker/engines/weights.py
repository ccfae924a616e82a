"""Looks into the HDF5 file of weights before Keras does: plain numbers, stored in this file, no more than it holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import InvalidModelPackageError

MAX_OBJECTS = 200_000
MAX_EXPANSION = 4
"""Keras stores weights uncompressed; a file that claims more than this many times its size is a bomb."""
FREE_BYTES = 1024 * 1024

_NUMBER_KINDS = "biufcV"  # V: bfloat16, which HDF5 does not know


def check_hdf5_weights(path: Path) -> int:
    """How many numbers the file holds, once every object is a group or a dataset of numbers inside this very file.

    External and soft links, virtual datasets and external storage read other files (CVE-2026-1669); a dataset can
    claim any shape without storing it (CVE-2026-0897). Raises InvalidModelPackageError.
    """
    import h5py

    limit = max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size)
    claimed = num_values = 0
    try:
        with h5py.File(path, "r") as file:
            for dataset in _datasets(file):
                _check_dataset(dataset)
                claimed += int(dataset.nbytes)
                num_values += int(dataset.size)
                if claimed > limit:
                    raise InvalidModelPackageError(
                        f"the weights claim more than {limit} bytes in a file of {path.stat().st_size}; "
                        "save the model again with Keras 3, without compression"
                    )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InvalidModelPackageError(
            f"the weights are damaged HDF5 ({type(error).__name__}); save the model again with Keras 3"
        ) from error
    return num_values


def _datasets(file: Any) -> Iterator[Any]:
    """Every dataset, each once (hard links may form rings), without following a link out of its group."""
    import h5py

    seen = {h5py.h5o.get_info(file.id).addr}
    waiting = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InvalidModelPackageError(
                    "the weights hold a link to another place or file, which is never followed; "
                    "save the model again with Keras 3"
                )
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise InvalidModelPackageError(f"the weights hold more than {MAX_OBJECTS} objects")
            if isinstance(member, h5py.Group):
                waiting.append(member)
            elif isinstance(member, h5py.Dataset):
                yield member


def _check_dataset(dataset: Any) -> None:
    if dataset.is_virtual or dataset.external:
        raise InvalidModelPackageError(
            "the weights hold a dataset that lies in another file, which is never read; "
            "save the model again with Keras 3"
        )
    if dataset.dtype.kind not in _NUMBER_KINDS or dataset.dtype.hasobject:
        raise InvalidModelPackageError(
            f"the weights hold a dataset of {dataset.dtype}, which are not numbers; save the model again with Keras 3"
        )
