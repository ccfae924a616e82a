"""From modality units to what a person looks at, or a network: a frame's own window, onto 0 and 1 (PS3.3 C.11.2)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.dicom.pixels import Frame, modality_values

FloatArray = NDArray[np.float32]
GREY_AXES = 2  # (rows, columns)
SHAPES = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


class Window(NamedTuple):
    """Center and width in modality units, and one of SHAPES."""

    center: float
    width: float
    shape: str = SHAPES[0]


def display_values(frame: Frame, window: Window | None = None) -> FloatArray:
    """The frame as it is looked at: larger is brighter. A window takes the place of a grey frame's own one.

    Returns
    -------
    float32 (rows, columns), or (rows, columns, 3) of colour, in [0, 1]; values that are not finite are black or white.

    Raises
    ------
    DecodeError
        When the rescale slope or the intercept is no number.
    """
    with np.errstate(all="ignore"):
        values = modality_values(frame)
        is_grey = values.ndim == GREY_AXES
        values = _windowed(values, window) if window and is_grey else in_own_window(frame, values)
    shown = np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return np.asarray(1.0 - shown if frame.photometric_interpretation == "MONOCHROME1" else shown, np.float32)


def in_own_window(frame: Frame, values: FloatArray) -> FloatArray:
    """Map a frame's values in modality units by its VOI LUT or window; colour and the rest from smallest to largest.

    `values` may be written over.
    """
    if values.ndim == GREY_AXES:
        if frame.voi_lut:
            return frame.voi_lut.apply(np.rint(values)).astype(np.float32) / np.float32(2**frame.voi_lut.bits - 1)
        if frame.window_center is not None and frame.window_width is not None:
            return _windowed(values, Window(frame.window_center, frame.window_width, frame.voi_lut_function))
    return stretched(values, float(values.min()), float(values.max()))


def stretched(values: FloatArray, low: float, high: float) -> FloatArray:
    """Map low..high onto 0..1 and clip, in place; where they are the same, what is larger is 1."""
    if not low < high:
        return (values > low).astype(np.float32)
    values -= np.float32(low)
    values /= np.float32(high - low)
    return np.asarray(np.clip(values, 0, 1, out=values))


def _windowed(values: FloatArray, window: Window) -> FloatArray:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width, shape = window
    if shape == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - np.float32(center)) / np.float32(width))))
    if shape != "LINEAR_EXACT" and width >= 1:  # LINEAR is the default, and means nothing below a width of 1
        center, width = center - 0.5, width - 1
    return stretched(values, center - width / 2, center + width / 2)
