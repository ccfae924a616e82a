"""Where two decoders of a coding do not give the same pixels, the instance fails by name, and only that instance."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pydicom.uid import UID, HTJ2KLossless, JPEGLossless, JPEGLosslessSV1, RLELossless

from shared.config import Settings
from shared.dicom.codings import CODINGS, Plugin, second_decoder
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import Frame, iter_frames
from shared.errors import DecodeError
from shared.reasons import Reason
from tests.codestreams import ENCODERS, by_hand, coded_bytes, extremes
from tests.dicom_samples import dicom_bytes

LIMITS = ReadLimits.of_settings(Settings())
CHECKED = [name for name, (syntax, _) in ENCODERS.items() if CODINGS[UID(syntax)][1]]


@pytest.fixture
def frames_of(tmp_path: Path) -> Callable[[bytes], Iterator[Frame]]:
    def frames(data: bytes) -> Iterator[Frame]:
        path = tmp_path / "instance"
        path.write_bytes(data)
        return iter_frames(path, LIMITS)

    return frames


@pytest.fixture
def check_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put one of tests/wrong_decoders.py in the place of a coding's second decoder."""

    def replace(syntax: str, function: str) -> None:
        first = CODINGS[UID(syntax)][0]
        monkeypatch.setitem(CODINGS, UID(syntax), (first, Plugin(function, "tests.wrong_decoders", function)))

    return replace


def coded(name: str, pixels: NDArray[Any], bits_stored: int = 16) -> bytes:
    syntax, encode = ENCODERS[name]
    return coded_bytes(pixels, [encode(frame, bits_stored) for frame in pixels], syntax, bits_stored=bits_stored)


def by_hand_bytes(pixels: NDArray[Any], bits_stored: int = 8, syntax: str = JPEGLossless, **how: Any) -> bytes:
    codestreams = [by_hand(**how)(frame, bits_stored) for frame in pixels]
    return coded_bytes(pixels, codestreams, syntax, bits_stored=bits_stored)


def fault(frames: Iterator[Frame]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        next(frames)
    return caught.value


@pytest.mark.parametrize("name", CHECKED)
def test_frame_is_not_given_when_the_second_decoder_differs(
    frames_of: Callable[[bytes], Iterator[Frame]], check_by: Callable[[str, str], None], name: str
) -> None:
    pixels = np.stack([np.zeros((16, 34), "u2"), extremes((16, 34), 16, is_signed=False)])
    check_by(ENCODERS[name][0], "decode_black")

    frames = frames_of(coded(name, pixels))

    assert_array_equal(next(frames).values, pixels[0])  # black in truth
    error = fault(frames)
    assert error.recorded_reason == Reason.DECODERS_DISAGREE
    assert CODINGS[UID(ENCODERS[name][0])][0].code_base in error.message
    assert "decode_black" in error.message
    assert UID(ENCODERS[name][0]).name in error.message


def test_one_pixel_of_another_value_is_a_disagreement(
    frames_of: Callable[[bytes], Iterator[Frame]], check_by: Callable[[str, str], None]
) -> None:
    pixels = np.zeros((1, 16, 34), "u2")
    pixels[0, 15, 33] = 1
    check_by(RLELossless, "decode_black")

    assert fault(frames_of(coded("rle", pixels))).recorded_reason == Reason.DECODERS_DISAGREE


@pytest.mark.parametrize("bits_stored", [8, 16])
def test_clamped_predictor_is_found_out(
    frames_of: Callable[[bytes], Iterator[Frame]], check_by: Callable[[str, str], None], bits_stored: int
) -> None:
    """The reproducer of pylibjpeg-libjpeg #90, and a decoder that makes its mistake."""
    middle = 1 << (bits_stored - 1)
    reproducer = np.array([[[52, middle, 0, 2 * middle - 1], [1, 2 * middle - 1, 0, middle]]], f"u{bits_stored // 8}")
    harmless = np.array([[[52, 53, 54, 60]]], reproducer.dtype)
    wrapping, plain = (
        by_hand_bytes(pixels, bits_stored, JPEGLosslessSV1, wraps=wraps)
        for pixels, wraps in ((reproducer, True), (harmless, False))
    )

    check_by(JPEGLosslessSV1, "decode_clamped")
    assert fault(frames_of(wrapping)).recorded_reason == Reason.DECODERS_DISAGREE
    assert_array_equal(next(frames_of(plain)).values, harmless[0])
    check_by(JPEGLosslessSV1, "decode_wrapped")
    assert_array_equal(next(frames_of(wrapping)).values, reproducer[0])


@pytest.mark.parametrize(
    "how",
    [*({"wraps": True, "selection": selection} for selection in (5, 6, 7)), {"point_transform": 1}],
    ids=str,
)
def test_codestreams_that_real_decoders_read_differently_are_refused(
    frames_of: Callable[[bytes], Iterator[Frame]], how: dict[str, Any]
) -> None:
    """jpegsof3 predicts from neighbours cut to 8 bits, GDCM does not; of a point transform jpegsof3 knows nothing."""
    pixels = extremes((1, 16, 34), 8, is_signed=False) & 0xFE

    error = fault(frames_of(by_hand_bytes(pixels, **how)))

    assert error.recorded_reason == Reason.DECODERS_DISAGREE
    assert "GDCM and jpegsof3" in error.message


def test_frame_is_not_given_when_the_second_decoder_cannot_read_it(
    frames_of: Callable[[bytes], Iterator[Frame]],
) -> None:
    pixels = extremes((1, 16, 34), 8, is_signed=False)

    error = fault(frames_of(by_hand_bytes(pixels, restart_rows=4)))

    assert error.recorded_reason == Reason.DECODE_UNCONFIRMED
    assert "GDCM reads this JPEG Lossless, Non-Hierarchical (Process 14), but jpegsof3" in error.message


def test_frame_is_not_given_when_the_second_decoder_is_not_installed(
    frames_of: Callable[[bytes], Iterator[Frame]], check_by: Callable[[str, str], None]
) -> None:
    check_by(HTJ2KLossless, "decode_not_installed")

    error = fault(frames_of(coded("htj2k", extremes((1, 16, 34), 16, is_signed=False))))

    assert error.recorded_reason == Reason.DECODE_UNCONFIRMED


def test_neighbours_are_read_when_decoders_disagree_on_one(frames_of: Callable[[bytes], Iterator[Frame]]) -> None:
    pixels = extremes((1, 16, 34), 8, is_signed=False)

    fault(frames_of(by_hand_bytes(pixels, wraps=True, selection=5)))

    assert_array_equal(next(frames_of(by_hand_bytes(pixels, selection=5))).values, pixels[0])
    assert_array_equal(next(frames_of(dicom_bytes(pixels))).values, pixels[0])


@pytest.mark.parametrize("name", ["jpeg_lossless_left", "htj2k"])
def test_second_decoder_refuses_a_codestream_of_another_size(name: str) -> None:
    """It is given an array of the data set's 16 rows and 34 columns, and allocates none of the codestream's 300."""
    pixels = extremes((1, 16, 34), 16, is_signed=False)
    large = (300).to_bytes(4, "big")
    data = coded(name, pixels)
    if name == "htj2k":  # image size, then tile size (ITU-T T.800, A.5.1)
        data = data.replace((34).to_bytes(4, "big") + (16).to_bytes(4, "big"), large * 2)
    else:  # frame header: precision, rows, columns (ITU-T T.81, B.2.2)
        data = data.replace(b"\x10\0\x10\0\x22", b"\x10" + large[2:] * 2)
    dataset = pydicom.dcmread(io.BytesIO(data))

    decoder = second_decoder(UID(ENCODERS[name][0]))

    assert decoder
    with pytest.raises(RuntimeError, match="shape"):
        decoder.as_array(dataset)
