"""From a decoded frame to what a person looks at: windowed, 0 to 1, larger is brighter."""

import numpy as np
from numpy.typing import NDArray

from shared.dicom.pixels import Frame, modality_values

GREY_AXES = 2


def display_values(frame: Frame) -> NDArray[np.float32]:
    """The frame's VOI LUT or window (PS3.3 C.11.2), else its smallest and largest value, onto 0 and 1.

    Returns
    -------
    float32 (rows, columns), or (rows, columns, 3) of colour; values that are not finite are black.

    Raises
    ------
    DecodeError
        When the rescale slope or the intercept is no number.
    """
    with np.errstate(all="ignore"):
        values = np.nan_to_num(_windowed(frame, modality_values(frame)), nan=0.0, posinf=1.0, neginf=0.0)
    shown = np.clip(values, 0.0, 1.0)
    return np.asarray(1.0 - shown if frame.photometric_interpretation == "MONOCHROME1" else shown, np.float32)


def _windowed(frame: Frame, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.ndim == GREY_AXES and frame.voi_lut is not None:
        return np.asarray(frame.voi_lut.apply(np.rint(values)) / (2.0**frame.voi_lut.bits - 1.0), np.float32)
    center, width = frame.window_center, frame.window_width
    if values.ndim != GREY_AXES or center is None or width is None:
        return _stretched(values, float(values.min()), float(values.max()))
    if frame.voi_lut_function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - center) / width)), np.float32)
    if frame.voi_lut_function != "LINEAR_EXACT" and width >= 1.0:  # C.11.2.1.2.1
        center, width = center - 0.5, width - 1.0
    return _stretched(values, center - width / 2.0, center + width / 2.0)


def _stretched(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    if not low < high:
        return (values > low).astype(np.float32)
    return np.asarray((values - low) / (high - low), np.float32)
