"""From a decoded frame to the network's input, exactly as the model package says (arrow 4); pure functions."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.dicom.pixels import Frame, modality_values
from shared.errors import DecodeError
from shared.model_contract import DicomWindow, InputShape, ModelContract, Unscaled, Window

FloatArray = NDArray[np.float32]
# Luminance of RGB, the Y of YBR_FULL (PS3.3 C.7.6.3.1.2; ITU-R BT.601).
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def to_input(frame: Frame, contract: ModelContract) -> FloatArray:
    """Preprocess one frame, in this order.

    1. `units`: stored values, or those after the Modality LUT or rescale (PS3.3 C.11.1). `dicom_window` always takes
       the latter, as its window speaks of them (C.11.2). Colour has no Modality LUT.
    2. Colour to luminance for a network of one channel.
    3. `intensity` maps onto [0, 1] and clips; `none` leaves the values as they are.
    4. MONOCHROME1 is turned round, so that larger is brighter: 1 - x, and with `none` smallest + largest - x.
    5. `resize`, bilinear with antialiasing; `pad` keeps the aspect ratio and fills up with black.
    6. Grey repeated for a network of three channels.
    7. `normalise`: (x - mean) / std for each channel.

    Returns
    -------
    (rows, columns, channels) float32, finite, C-contiguous.

    Raises
    ------
    DecodeError
        When values are not finite numbers, as after a rescale slope of NaN.
    """
    steps, shape = contract.preprocess, contract.input
    in_modality_units = steps.units == "modality" or isinstance(steps.intensity, DicomWindow)
    values = _checked(modality_values(frame) if in_modality_units else frame.values.astype(np.float32))
    if values.ndim == 3 and shape.channels == 1:
        values = values @ LUMINANCE
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is caught below, as not finite
        values = _scale(values, frame, steps.intensity)
        if frame.photometric_interpretation == "MONOCHROME1":
            values = _turned_round(values, scaled=not isinstance(steps.intensity, Unscaled))
        values = _resize(values, shape, steps.resize)
        if values.ndim == 2:
            values = np.repeat(values[:, :, np.newaxis], shape.channels, axis=2)
        if steps.normalise:
            values = (values - np.float32(steps.normalise.mean)) / np.float32(steps.normalise.std)
    return np.ascontiguousarray(_checked(values), np.float32)
