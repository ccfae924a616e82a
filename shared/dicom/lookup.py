"""A lookup table of DICOM: stored value -> entry, for the Modality LUT, the VOI LUT and a palette's colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

MAX_ENTRIES = 2**16
_BYTE_BITS = 8


@dataclass(frozen=True)
class Lookup:
    """A table whose first entry belongs to the stored value `first_mapped` (PS3.3 C.11.1.1)."""

    first_mapped: int
    table: NDArray[Any]
    bits: int

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Each value's entry, of the table's dtype; values below and above take the first and the last entry."""
        index = values.astype(np.int64) - self.first_mapped
        return self.table[np.clip(index, 0, len(self.table) - 1)]


def lookup_of(item: Dataset, prefix: str = "LUT", *, is_little_endian: bool) -> Lookup:
    """The table of the attributes <prefix>Descriptor and <prefix>Data; raises ValueError when it is damaged."""
    entries, first_mapped, bits = (int(value) for value in item[f"{prefix}Descriptor"].value)
    entries = entries % MAX_ENTRIES or MAX_ENTRIES  # 0 means 65,536, and an entry count read as signed wraps
    data = item[f"{prefix}Data"].value
    if isinstance(data, bytes):
        word = np.dtype("<u2" if is_little_endian else ">u2")
        kind = np.dtype(np.uint8) if len(data) < entries * word.itemsize else word
        table = np.frombuffer(data, kind, count=entries).astype(kind.newbyteorder("="))
    else:
        table = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
    if len(table) == 0:
        raise ValueError("a lookup table without entries")
    return Lookup(first_mapped, table, _BYTE_BITS if table.dtype == np.uint8 else max(1, min(bits, 2 * _BYTE_BITS)))
