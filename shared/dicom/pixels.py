"""(4) Stored values frame by frame, with what is needed to turn them into modality units and to window them."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEGExtended12Bit

from shared.dicom.palette import Palette
from shared.dicom.parse import ReadLimits, parse
from shared.dicom.quiet import quiet_pydicom
from shared.dicom.read import check_dimensions
from shared.dicom.transforms import FrameTransforms, Transforms
from shared.dicom.values import number, text
from shared.errors import DecodeError, LimitExceededError, OverreadError, UnsupportedTransferSyntaxError
from shared.states import Reason

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = "RGB"
_PALETTE = "PALETTE COLOR"
_SUBSAMPLED = "YBR_FULL_422"
_KNOWN = frozenset(known.value for known in PhotometricInterpretation) | {_PALETTE}
_BYTE_BITS = 8


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


@dataclass(frozen=True)
class _Claims:
    """What the data set claims of its pixels."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    number_of_frames: int
    bits_stored: int
    photometric_interpretation: str


def iter_frames(path: Path, limits: ReadLimits) -> Iterator[Frame]:
    """Decode an instance frame by frame; only for limited child processes.

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
    decoder = _decoder(dataset)
    claims = _claims(dataset)
    _check_claims(claims, limits)
    if decoder.is_native:
        _check_length(dataset, claims)
    is_little_endian = decoder.UID.is_little_endian
    transforms = FrameTransforms(dataset, is_little_endian=is_little_endian)
    palette = _palette(dataset, claims, is_little_endian=is_little_endian)
    for index, (stored, photometric) in enumerate(_decoded(decoder, dataset, claims, limits)):
        values = palette.apply(stored) if palette else stored
        yield Frame(
            number=index + 1,
            values=values,
            photometric_interpretation=_settled(COLOUR if palette else photometric, values),
            bits_stored=palette.bits if palette else claims.bits_stored,
            **vars(transforms.of_frame(index)),
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


def _decoder(dataset: FileDataset) -> Decoder:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise UnsupportedTransferSyntaxError(
            "the file does not name its transfer syntax, so its pixels may be coded in any way; expected (0002,0010)"
        )
    with contextlib.suppress(NotImplementedError):
        decoder: Decoder = get_decoder(syntax)
        if decoder.is_available:
            return decoder
    raise UnsupportedTransferSyntaxError("no installed decoder reads this transfer syntax; send it uncompressed")


def _claims(dataset: FileDataset) -> _Claims:
    return _Claims(
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        samples_per_pixel=number(dataset, "SamplesPerPixel"),
        bits_allocated=number(dataset, "BitsAllocated"),
        number_of_frames=max(1, number(dataset, "NumberOfFrames")),
        bits_stored=number(dataset, "BitsStored") or number(dataset, "BitsAllocated"),
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
    )


def _check_claims(claims: _Claims, limits: ReadLimits) -> None:
    check_dimensions(claims, limits)
    if claims.photometric_interpretation not in _KNOWN:
        raise DecodeError(
            "the photometric interpretation is missing or unknown; expected one of PS3.3 C.7.6.3.1.2",
            reason=Reason.UNSUPPORTED_PHOTOMETRIC_INTERPRETATION,
        )


def _check_length(dataset: FileDataset, claims: _Claims) -> None:
    """Uncompressed pixels say themselves how many bytes they need."""
    pixels = claims.rows * claims.columns * claims.number_of_frames * claims.samples_per_pixel
    expected_bytes = math.ceil(pixels * claims.bits_allocated / _BYTE_BITS)
    if claims.photometric_interpretation == _SUBSAMPLED:
        expected_bytes = expected_bytes // 3 * 2
    found_bytes = max(
        len(dataset.get(keyword) or b"") for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    )
    if found_bytes < expected_bytes:
        raise DecodeError(
            f"the pixel data has {found_bytes} bytes; expected {expected_bytes}: send the file again",
            reason=Reason.TRUNCATED,
        )


def _palette(dataset: FileDataset, claims: _Claims, *, is_little_endian: bool) -> Palette | None:
    if claims.photometric_interpretation != _PALETTE:
        return None
    with _named_faults(dataset):
        return Palette.of_dataset(dataset, is_little_endian=is_little_endian)


def _decoded(
    decoder: Decoder, dataset: FileDataset, claims: _Claims, limits: ReadLimits
) -> Iterator[tuple[NDArray[Any], str]]:
    """Frames as pydicom decodes them, no more bytes than allowed and no fewer frames than claimed."""
    frames = _frames(decoder, dataset, claims.number_of_frames)
    decoded, decoded_bytes = 0, 0
    while True:
        with _named_faults(dataset):
            found = next(frames, None)
        if found is None:
            break
        values = found[0].astype(found[0].dtype.newbyteorder("="), copy=False)
        decoded, decoded_bytes = decoded + 1, decoded_bytes + values.nbytes
        if decoded_bytes > limits.max_pixel_bytes:
            raise LimitExceededError(
                f"more than the {limits.max_pixel_bytes} bytes of pixels that are accepted (max_pixel_bytes)",
                reason=Reason.PIXELS_TOO_LARGE,
            )
        yield values, str(found[1]["photometric_interpretation"])
    if decoded < claims.number_of_frames:
        raise DecodeError(
            f"the pixel data holds {decoded} frames; expected {claims.number_of_frames}: send the file again",
            reason=Reason.TRUNCATED,
        )


def _frames(
    decoder: Decoder, dataset: FileDataset, number_of_frames: int
) -> Iterator[tuple[NDArray[Any], dict[str, str | int]]]:
    """Frames and their properties, straight from pydicom."""
    options = as_pixel_options(dataset)
    frames = decoder.iter_array(dataset, **options)
    try:
        first = next(frames, None)
    except ValueError:
        # Where the codestream's sign differs from the data set's, pydicom corrects it in place, and iter_array's
        # frames are read-only; as_array's are not, but it looks for each frame from the start.
        for index in range(number_of_frames):
            yield decoder.as_array(dataset, index=index, **options)
        return
    if first is not None:
        yield first
        yield from frames


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


@contextlib.contextmanager
def _named_faults(dataset: FileDataset) -> Iterator[None]:
    """Turn whatever the codecs raise into an error of ours; their texts may quote values and are dropped."""
    try:
        with quiet_pydicom():
            yield
    except (OverreadError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - codecs raise whatever the bytes make them raise
        if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and number(dataset, "BitsStored") > _BYTE_BITS:
            raise UnsupportedTransferSyntaxError(
                "no installed decoder reads 12 bit JPEG; send it uncompressed"
            ) from None
        raise DecodeError(
            f"the pixel data cannot be decoded ({type(error).__name__}); check it with another viewer"
        ) from None
