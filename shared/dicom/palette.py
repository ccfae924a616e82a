"""Palette colour: one stored value -> red, green and blue (PS3.3 C.7.6.3.1.5)."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from shared.dicom.lookup import Lookup, lookup_of

_COLOURS = ("Red", "Green", "Blue")
_BYTE_BITS = 8
_MOST_BYTE_ENTRIES = 256  # pydicom keeps the index in the dtype of the entries


@dataclass(frozen=True)
class Palette:
    """Three lookup tables of the same depth."""

    red: Lookup
    green: Lookup
    blue: Lookup

    @classmethod
    def of_dataset(cls, dataset: Dataset, *, is_little_endian: bool) -> Self:
        """The palette of a PALETTE COLOR image; raises what pydicom raises when it is damaged or not there."""
        if "SegmentedRedPaletteColorLookupTableData" in dataset and "RedPaletteColorLookupTableData" not in dataset:
            return cls(*_expanded(dataset))
        return cls(
            *(
                lookup_of(dataset, f"{colour}PaletteColorLookupTable", is_little_endian=is_little_endian)
                for colour in _COLOURS
            )
        )

    @property
    def bits(self) -> int:
        """Bits of an entry: the depth of the colours."""
        return self.red.table.dtype.itemsize * _BYTE_BITS

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Colours of the stored values: (rows, columns) -> (rows, columns, 3), of the tables' dtype."""
        return np.stack([lookup.apply(values) for lookup in (self.red, self.green, self.blue)], axis=-1)


def _expanded(dataset: Dataset) -> list[Lookup]:
    """The tables of a palette that is stored in segments, expanded by pydicom through a ramp of every value."""
    entries, first_mapped, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    if bits == _BYTE_BITS and entries > _MOST_BYTE_ENTRIES:
        raise ValueError("a segmented palette with more entries than pydicom expands")
    ramp = np.arange(first_mapped, first_mapped + (entries or 2**16), dtype=np.int64)
    table = apply_color_lut(ramp, dataset)
    return [Lookup(first_mapped, np.ascontiguousarray(table[:, colour]), bits) for colour in range(len(_COLOURS))]
