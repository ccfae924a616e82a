"""(4) Stored values frame by frame, with what is needed to turn them into modality units and to window them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from shared.dicom.codec import PALETTE, Claims, check_claims, check_length, claims_of, decode, decoder_of, named_faults
from shared.dicom.palette import Palette
from shared.dicom.parse import ReadLimits, parse
from shared.dicom.quiet import quiet_pydicom
from shared.dicom.transforms import FrameTransforms, Transforms
from shared.errors import DecodeError
from shared.reasons import Reason

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = "RGB"


@dataclass(frozen=True, kw_only=True)
class Frame(Transforms):
    """One decoded frame, numbered from 1.

    `values` are the stored values: (rows, columns) when grey, (rows, columns, 3) when colour. Colour is RGB, however
    it was stored; `photometric_interpretation` speaks of `values`: MONOCHROME1, MONOCHROME2 or RGB. `bits_stored`
    is the depth of `values`, so of the palette's entries where there was one.
    """

    number: int
    values: NDArray[Any]
    photometric_interpretation: str
    bits_stored: int


def iter_frames(path: Path, limits: ReadLimits, wanted: Sequence[int] | None = None) -> Iterator[Frame]:
    """Decode an instance frame by frame, or only its `wanted` frames, in order; only for limited child processes.

    Yields
    ------
    Frames in order; values have the dtype of the pixel data, in native byte order.

    Raises
    ------
    DecodeError, UnsupportedTransferSyntaxError, LimitExceededError, InvalidDicomError
        With the reason why there is no such frame.
    """
    dataset, has_pixel_data = parse(path, limits, with_pixels=True)
    if not has_pixel_data:
        raise DecodeError("the instance has no pixel data, so there is nothing to decode", reason=Reason.NO_PIXEL_DATA)
    with quiet_pydicom():
        claims = claims_of(dataset)
        check_claims(claims, limits)
        decoder = decoder_of(dataset)
        if decoder.is_native:
            check_length(dataset, claims)
        is_little_endian = decoder.UID.is_little_endian
        transforms = FrameTransforms(dataset, is_little_endian=is_little_endian)
        palette = _palette(dataset, claims, is_little_endian=is_little_endian)
    if wanted and max(wanted) > claims.number_of_frames:
        raise DecodeError(f"the file says it has {claims.number_of_frames} frames, so no frame {max(wanted)}")
    indices = None if wanted is None else [number - 1 for number in wanted]
    frames = decode(decoder, dataset, claims, limits, indices)
    for index, (stored, photometric) in zip(count() if indices is None else indices, frames, strict=False):
        values = palette.apply(stored) if palette else stored
        with quiet_pydicom():
            found = transforms.of_frame(index)
        yield Frame(
            number=index + 1,
            values=values,
            photometric_interpretation=_settled(COLOUR if palette else photometric, values),
            bits_stored=palette.bits if palette else claims.bits_stored,
            **vars(found),
        )


def modality_values(frame: Frame) -> NDArray[np.float32]:
    """Values in modality units (PS3.3 C.11.1): through the Modality LUT, or slope * value + intercept.

    Returns
    -------
    (rows, columns) float32; colour has no modality units and comes back as stored, (rows, columns, 3).

    Raises
    ------
    DecodeError
        When the slope or the intercept is no number, or the slope is 0.
    """
    if frame.values.ndim != 2:  # noqa: PLR2004 - rows and columns
        return frame.values.astype(np.float32)
    if frame.modality_lut:
        return frame.modality_lut.apply(frame.values).astype(np.float32)
    slope, intercept = frame.rescale_slope, frame.rescale_intercept
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise DecodeError(
            "the rescale slope and intercept give no modality units; expected numbers and a slope other than 0"
        )
    if (slope, intercept) == (1, 0):
        return frame.values.astype(np.float32)
    return (frame.values * np.float64(slope) + np.float64(intercept)).astype(np.float32)


def _palette(dataset: FileDataset, claims: Claims, *, is_little_endian: bool) -> Palette | None:
    if claims.photometric_interpretation != PALETTE:
        return None
    with named_faults(dataset):
        return Palette.of_dataset(dataset, is_little_endian=is_little_endian)


def _settled(photometric: str, values: NDArray[Any]) -> str:
    """What the decoded values are, whatever the file called them."""
    if values.ndim == 3 and (photometric == COLOUR or photometric in GREY):  # noqa: PLR2004 - rows, columns, samples
        return COLOUR
    if values.ndim == 2 and photometric in GREY:  # noqa: PLR2004 - rows, columns
        return photometric
    raise DecodeError(
        f"{photometric} cannot be turned into grey or RGB; expected MONOCHROME, PALETTE COLOR, RGB or YBR_FULL",
        reason=Reason.UNSUPPORTED_PHOTOMETRIC_INTERPRETATION,
    )
