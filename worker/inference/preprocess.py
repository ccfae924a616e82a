"""From a decoded frame to the network's input, exactly as the model package says (arrow 4); pure functions."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.dicom.display import in_own_window, stretched
from shared.dicom.pixels import Frame, modality_values
from shared.errors import DecodeError
from shared.model_contract import DicomWindow, InputShape, MinMax, ModelContract, Normalise, Unscaled, Window

FloatArray = NDArray[np.float32]
Intensity = Window | DicomWindow | MinMax | Unscaled

COLOUR_AXES = 3  # (rows, columns, RGB)
# Luminance of RGB, the Y of YBR_FULL (PS3.3 C.7.6.3.1.2; ITU-R BT.601).
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def to_input(frame: Frame, contract: ModelContract) -> FloatArray:
    """Preprocess one frame, in this order.

    1. `units`: stored values, or those after the Modality LUT or rescale (PS3.3 C.11.1). `dicom_window` always takes
       the latter, as the window speaks of them (C.11.2). Colour has no modality units and stays as stored.
    2. Colour to luminance for a network of one channel.
    3. `intensity` maps onto [0, 1] and clips; `none` leaves the values in their units.
    4. MONOCHROME1 is turned round, so that larger is brighter: 1 - x after an intensity step; with `none` the stored
       value is counted from the other end of the range that BitsStored gives, before the units.
    5. `resize`, bilinear with antialiasing; `pad` keeps the aspect ratio, centres, and fills up with black.
    6. Grey is repeated for a network of three channels.
    7. `normalise`: (x - mean) / std for each channel.

    Returns
    -------
    (rows, columns, channels) float32, finite, C-contiguous.

    Raises
    ------
    DecodeError
        When the values are not finite numbers, as floating point pixels or an absurd rescale slope make them.
    """
    steps, shape = contract.preprocess, contract.input
    is_inverse = frame.photometric_interpretation == "MONOCHROME1"
    is_scaled = not isinstance(steps.intensity, Unscaled)
    if is_inverse and not is_scaled:
        frame = replace(frame, values=_counted_from_the_other_end(frame))
    with np.errstate(all="ignore"):  # whatever overflows is not finite, and found by `_checked`
        values = _checked(_in_units(frame, contract))
        if values.ndim == COLOUR_AXES and shape.channels == 1:
            values = values @ LUMINANCE
        values = _scaled(values, frame, steps.intensity)
        if is_inverse and is_scaled:
            values = 1 - values
        values = _resized(values, shape, steps.resize, black=0.0 if is_scaled else float(values.min()))
        return _in_channels(values, shape.channels, steps.normalise)


def _in_units(frame: Frame, contract: ModelContract) -> FloatArray:
    steps = contract.preprocess
    if steps.units == "modality" or isinstance(steps.intensity, DicomWindow):
        return modality_values(frame)
    return frame.values.astype(np.float32)


def _checked(values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise DecodeError(
            "pixels are not finite numbers after the rescale or the model package's preprocessing; expected finite "
            "ones: check the pixels and RescaleSlope and RescaleIntercept"
        )
    return values


def _counted_from_the_other_end(frame: Frame) -> NDArray[Any]:
    values = frame.values
    if values.dtype.kind == "f":  # floating point pixels have no range but their own
        return np.asarray(values.min() + values.max() - values)
    if values.dtype.kind == "i":
        return np.asarray(np.invert(values))
    return np.asarray(np.bitwise_xor(values, values.dtype.type(2**frame.bits_stored - 1)))


def _scaled(values: FloatArray, frame: Frame, intensity: Intensity) -> FloatArray:
    """The intensity step; `values` may be written over."""
    if isinstance(intensity, Unscaled):
        return values
    if isinstance(intensity, Window):
        half = intensity.width / 2
        return stretched(values, intensity.center - half, intensity.center + half)
    if isinstance(intensity, DicomWindow):
        return in_own_window(frame, values)
    return stretched(values, float(values.min()), float(values.max()))


def _resized(values: FloatArray, shape: InputShape, how: str, *, black: float) -> FloatArray:
    rows, columns = shape.rows, shape.columns
    if how == "pad":
        scale = min(rows / values.shape[0], columns / values.shape[1])
        rows, columns = (max(1, round(side * scale)) for side in values.shape[:2])
    if values.shape[:2] != (rows, columns):
        planes = np.atleast_3d(values)
        resized = [_resized_plane(planes[:, :, channel], rows, columns) for channel in range(planes.shape[2])]
        values = resized[0] if values.ndim != COLOUR_AXES else np.stack(resized, axis=2)
    if (rows, columns) == (shape.rows, shape.columns):
        return values
    padded = np.full((shape.rows, shape.columns, *values.shape[2:]), black, np.float32)
    top, left = (shape.rows - rows) // 2, (shape.columns - columns) // 2
    padded[top : top + rows, left : left + columns] = values
    return padded


def _in_channels(values: FloatArray, channels: int, normalise: Normalise | None) -> FloatArray:
    """(rows, columns, channels), contiguous; plane by plane, as numpy is slow along an axis of three."""
    result = np.empty((*values.shape[:2], channels), np.float32)
    for channel in range(channels):
        plane = values[:, :, channel] if values.ndim == COLOUR_AXES else values
        if normalise:
            plane = plane - np.float32(normalise.mean[channel])
            plane /= np.float32(normalise.std[channel])
        result[:, :, channel] = _checked(plane)
    return result


def _resized_plane(plane: FloatArray, rows: int, columns: int) -> FloatArray:
    image = Image.fromarray(np.ascontiguousarray(plane))  # float32, so mode "F"
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
