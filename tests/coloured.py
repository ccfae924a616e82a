"""Made colour images of ten classes as DICOM, a patient each: stripes of five colours, across or along."""

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from tests.dicom_samples import dicom_bytes, make_uid

COLOURS = {
    "red": (220, 60, 60),
    "green": (60, 200, 60),
    "blue": (60, 60, 220),
    "yellow": (200, 200, 60),
    "violet": (200, 60, 200),
}
CLASSES = tuple(f"{colour}-{way}" for colour in COLOURS for way in ("across", "along"))
SIDE = 32
DARK = 0.3
NOISE = 20.0


def class_of(number: int) -> int:
    return number % len(CLASSES)


def pixels_of(number: int) -> NDArray[np.uint8]:
    """(rows, columns, 3); the stripes' width and place, and the noise, are this patient's own."""
    rng = np.random.default_rng(number)
    colour, is_along = divmod(class_of(number), 2)
    width = rng.integers(3, 6)
    stripes = np.where((np.arange(SIDE) + rng.integers(2 * width)) // width % 2, 1.0, DARK)
    light = np.broadcast_to(stripes if is_along else stripes[:, np.newaxis], (SIDE, SIDE))
    values = light[..., np.newaxis] * np.array(tuple(COLOURS.values())[colour])
    return np.clip(values + rng.normal(0.0, NOISE, values.shape), 0, 255).astype(np.uint8)


def patient_of(number: int) -> str:
    return f"COLOUR{number:05d}"


def image_of(number: int) -> bytes:
    """One Secondary Capture (PS3.3 A.8), RGB, equal bytes for equal numbers."""
    return dicom_bytes(
        pixels_of(number),
        SOPClassUID=SecondaryCaptureImageStorage,
        StudyInstanceUID=make_uid("coloured study", number),
        SeriesInstanceUID=make_uid("coloured series", number),
        SOPInstanceUID=make_uid("coloured instance", number),
        PatientID=patient_of(number),
        Modality="OT",
        ConversionType="SYN",
    )
