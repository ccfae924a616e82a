"""Decoders, with every claim checked before they allocate, every fault named after, and two of them made to agree."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import Decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, JPEGExtended12Bit

from shared.dicom.codings import code_bases, first_decoder, second_decoder
from shared.dicom.parse import ReadLimits
from shared.dicom.quiet import quiet_pydicom
from shared.dicom.read import check_dimensions
from shared.dicom.values import number, text
from shared.errors import DecodeError, LimitExceededError, OverreadError, UnsupportedTransferSyntaxError
from shared.reasons import Reason

PALETTE = "PALETTE COLOR"
_SUBSAMPLED = "YBR_FULL_422"
_KNOWN = frozenset(known.value for known in PhotometricInterpretation) | {PALETTE}
_BYTE_BITS = 8
_Decoded = tuple[NDArray[Any], dict[str, str | int]]  # a frame and its properties, as pydicom gives them


@dataclass(frozen=True)
class Claims:
    """What the data set claims of its pixels."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    number_of_frames: int
    bits_stored: int
    photometric_interpretation: str


def decoder_of(dataset: FileDataset) -> Decoder:
    """The decoder of the transfer syntax; raises UnsupportedTransferSyntaxError when there is none."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise UnsupportedTransferSyntaxError(
            "the file does not name its transfer syntax, so its pixels may be coded in any way; expected (0002,0010)"
        )
    with contextlib.suppress(NotImplementedError):
        decoder = first_decoder(syntax)
        if decoder.is_available:
            return decoder
    raise UnsupportedTransferSyntaxError("no installed decoder reads this transfer syntax; send it uncompressed")


def claims_of(dataset: FileDataset) -> Claims:
    """What the data set says of its pixels, not checked yet."""
    return Claims(
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        samples_per_pixel=number(dataset, "SamplesPerPixel"),
        bits_allocated=number(dataset, "BitsAllocated"),
        number_of_frames=max(1, number(dataset, "NumberOfFrames")),
        bits_stored=number(dataset, "BitsStored") or number(dataset, "BitsAllocated"),
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
    )


def check_claims(claims: Claims, limits: ReadLimits) -> None:
    """Refuse claims that are too large, or of a photometric interpretation that nobody knows."""
    check_dimensions(claims, limits)
    if claims.photometric_interpretation not in _KNOWN:
        raise DecodeError(
            "the photometric interpretation is missing or unknown; expected one of PS3.3 C.7.6.3.1.2",
            reason=Reason.UNSUPPORTED_PHOTOMETRIC_INTERPRETATION,
        )


def check_length(dataset: FileDataset, claims: Claims) -> None:
    """Refuse uncompressed pixels that are fewer than claimed."""
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


def decode(
    decoder: Decoder, dataset: FileDataset, claims: Claims, limits: ReadLimits, indices: Sequence[int] | None = None
) -> Iterator[tuple[NDArray[Any], str]]:
    """Frames that both decoders of the coding give, no more bytes than allowed and no fewer frames than claimed.

    Of those at `indices`, from 0, only; None: of all.
    """
    expected = claims.number_of_frames if indices is None else len(indices)
    decoded, decoded_bytes = 0, 0
    for found in _agreed_frames(decoder, dataset, claims.number_of_frames, indices):
        values = found[0].astype(found[0].dtype.newbyteorder("="), copy=False)
        decoded, decoded_bytes = decoded + 1, decoded_bytes + values.nbytes
        if decoded_bytes > limits.max_pixel_bytes:
            raise LimitExceededError(
                f"more than the {limits.max_pixel_bytes} bytes of pixels that are accepted (max_pixel_bytes)",
                reason=Reason.PIXELS_TOO_LARGE,
            )
        yield values, str(found[1]["photometric_interpretation"])
    if decoded < expected:
        raise DecodeError(
            f"the pixel data holds {decoded} frames; expected {expected}: send the file again",
            reason=Reason.TRUNCATED,
        )


def _agreed_frames(
    decoder: Decoder, dataset: FileDataset, number_of_frames: int, indices: Sequence[int] | None
) -> Iterator[_Decoded]:
    """Frames of the first decoder, each given only once the second one, where the coding has one, gave the same."""
    frames = _frames(decoder, dataset, number_of_frames, indices)
    second = second_decoder(decoder.UID)
    others = _frames(second, dataset, number_of_frames, indices) if second else None
    while True:
        with named_faults(dataset):
            found = next(frames, None)
        if found is None:
            return
        if others:
            _check_agreement(found[0], _confirmation(others, decoder.UID), decoder.UID)
        yield found


def _confirmation(others: Iterator[_Decoded], syntax: UID) -> NDArray[Any]:
    """The second decoder's next frame; raises DecodeError where it has none, because one alone is not believed."""
    try:
        with quiet_pydicom():
            return next(others)[0]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - codecs raise whatever the bytes make them raise
        first, second = code_bases(syntax)
        raise DecodeError(
            f"{first} reads this {syntax.name}, but {second}, which must confirm it, is not installed or cannot "
            f"({type(error).__name__}); send it uncompressed",
            reason=Reason.DECODE_UNCONFIRMED,
        ) from None


def _check_agreement(values: NDArray[Any], other: NDArray[Any], syntax: UID) -> None:
    if np.array_equal(values, other):
        return
    first, second = code_bases(syntax)
    raise DecodeError(
        f"{first} and {second} decode this {syntax.name} to different pixels; expected the same from both: "
        "send it uncompressed, and look at where it was compressed",
        reason=Reason.DECODERS_DISAGREE,
    )


def _frames(
    decoder: Decoder, dataset: FileDataset, number_of_frames: int, indices: Sequence[int] | None
) -> Iterator[_Decoded]:
    """Frames and their properties, straight from pydicom."""
    options = as_pixel_options(dataset)
    if decoder.is_encapsulated and "planar_configuration" in options:
        # Codecs give colour pixel by pixel, or say that they do not. Files that were uncompressed in planes may still
        # say so, and pydicom would shuffle their colours; beside a codestream the attribute means nothing (PS3.5, 8.2).
        options["planar_configuration"] = 0
    frames = decoder.iter_array(dataset, indices=indices, **options)
    try:
        first = next(frames, None)
    except ValueError:
        # Where the codestream's sign differs from the data set's, pydicom corrects it in place, and iter_array's
        # frames are read-only; as_array's are not, but it looks for each frame from the start.
        for index in range(number_of_frames) if indices is None else indices:
            yield decoder.as_array(dataset, index=index, **options)
        return
    if first is not None:
        yield first
        yield from frames


@contextlib.contextmanager
def named_faults(dataset: FileDataset) -> Iterator[None]:
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
