"""CT slices and enhanced multi-frame instances that say where they lie; made in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from tests.dicom_samples import dicom_bytes, make_dataset, make_uid, ramp, to_bytes

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the normal points to the head
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)  # the normal points to the right


def ct_slice(name: str, at_mm: float, *, orientation: Sequence[float] = AXIAL, **attributes: Any) -> bytes:
    """One CT instance of the series, `at_mm` along the axis that its orientation leaves out."""
    position = [0.0, 0.0, at_mm] if orientation == AXIAL else [at_mm, 0.0, 0.0]
    given: dict[str, Any] = {
        "SOPInstanceUID": make_uid(name),
        "ImageOrientationPatient": list(orientation),
        "ImagePositionPatient": position,
    }
    return dicom_bytes(**given | attributes)


def brighter_slices(name: str, number: int, *, side: int, step: int) -> list[tuple[str, bytes]]:
    """Files of a series, each uniform and `step` brighter than the one below it, with a window of 0 to 256."""
    shown = {"WindowCenter": 128, "WindowWidth": 256, "VOILUTFunction": "LINEAR_EXACT", "Rows": side, "Columns": side}
    pixels = [np.full((side, side), step * at, np.uint16).tobytes() for at in range(number)]
    return [(f"{at}.dcm", ct_slice(f"{name}{at}", 5.0 * at, PixelData=data, **shown)) for at, data in enumerate(pixels)]


def enhanced_ct(name: str, at_mm: Sequence[float], **attributes: Any) -> bytes:
    """A multi-frame CT whose frames lie at these places of the z axis, each with other pixels."""
    pixels = np.stack([np.roll(ramp(), number) for number in range(len(at_mm))])
    dataset = make_dataset(pixels, SOPInstanceUID=make_uid(name), SOPClassUID=EnhancedCTImageStorage, **attributes)
    dataset.SharedFunctionalGroupsSequence = [_group("PlaneOrientationSequence", "ImageOrientationPatient", AXIAL)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _group("PlanePositionSequence", "ImagePositionPatient", (0.0, 0.0, at)) for at in at_mm
    ]
    return to_bytes(dataset)


def _group(macro: str, keyword: str, values: Sequence[float]) -> Dataset:
    inner, group = Dataset(), Dataset()
    setattr(inner, keyword, list(values))
    setattr(group, macro, [inner])
    return group
