"""What turns a frame's stored values into modality units and windows them: of the data set, or frame by frame."""

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from shared.dicom.lookup import Lookup, lookup_of
from shared.dicom.values import first_value, sequence_items, text
from shared.errors import DecodeError


@dataclass(frozen=True, kw_only=True)
class Transforms:
    """The Modality LUT and the VOI LUT modules (PS3.3 C.11.1, C.11.2) as they hold for one frame.

    A slope that cannot be read is NaN, so that nobody computes with a guess. `window_center` and `window_width` are
    the first window, None when there is none that can be used; `voi_lut_function` is LINEAR, LINEAR_EXACT or SIGMOID.
    """

    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    modality_lut: Lookup | None = None
    window_center: float | None = None
    window_width: float | None = None
    voi_lut_function: str = "LINEAR"
    voi_lut: Lookup | None = None


class FrameTransforms:
    """Gives the transforms of each frame; an enhanced multi-frame instance keeps them in functional groups."""

    def __init__(self, dataset: Dataset, *, is_little_endian: bool) -> None:
        self._dataset = dataset
        self._is_little_endian = is_little_endian
        self._shared = sequence_items(dataset, "SharedFunctionalGroupsSequence")
        self._per_frame = sequence_items(dataset, "PerFrameFunctionalGroupsSequence")
        self._same_for_all: Transforms | None = None if self._shared or self._per_frame else self._read(0)

    def of_frame(self, index: int) -> Transforms:
        """The transforms of the frame at `index`, counted from 0."""
        return self._same_for_all or self._read(index)

    def _read(self, index: int) -> Transforms:
        modality = self._macro(index, "PixelValueTransformationSequence")
        voi = self._macro(index, "FrameVOILUTSequence")
        center, width = _decimal(voi, "WindowCenter", math.nan), _decimal(voi, "WindowWidth", math.nan)
        has_window = math.isfinite(center) and math.isfinite(width) and width > 0
        return Transforms(
            rescale_slope=_decimal(modality, "RescaleSlope", 1.0),
            rescale_intercept=_decimal(modality, "RescaleIntercept", 0.0),
            modality_lut=self._modality_lut(modality),
            window_center=center if has_window else None,
            window_width=width if has_window else None,
            voi_lut_function=text(voi, "VOILUTFunction").upper() or "LINEAR",
            voi_lut=self._voi_lut(voi),
        )

    def _macro(self, index: int, keyword: str) -> Dataset:
        """The item of a functional group macro: of the frame, else shared, else the data set itself."""
        for group in (*self._per_frame[index : index + 1], *self._shared[:1]):
            if items := sequence_items(group, keyword):
                return items[0]
        return self._dataset

    def _modality_lut(self, dataset: Dataset) -> Lookup | None:
        items = sequence_items(dataset, "ModalityLUTSequence")
        if not items:
            return None
        try:
            return lookup_of(items[0], is_little_endian=self._is_little_endian)
        except Exception as error:  # noqa: BLE001 - pydicom and numpy raise whatever the bytes make them raise
            raise DecodeError(
                f"the Modality LUT is damaged ({type(error).__name__}); ask for the image again"
            ) from None

    def _voi_lut(self, dataset: Dataset) -> Lookup | None:
        items = sequence_items(dataset, "VOILUTSequence")
        if not items:
            return None
        try:
            return lookup_of(items[0], is_little_endian=self._is_little_endian)
        except Exception:  # noqa: BLE001 - a damaged VOI LUT is as good as none: it only proposes a display
            return None


def _decimal(dataset: Dataset, keyword: str, absent: float) -> float:
    """A decimal string; NaN when it is there but is no number."""
    if keyword not in dataset or not dataset.get_item(keyword).value:
        return absent
    try:
        return float(first_value(dataset, keyword))
    except (TypeError, ValueError):
        return math.nan
