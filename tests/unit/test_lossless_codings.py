"""Every lossless coding gives back the pixels that were coded, by each of its decoders."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pydicom.uid import JPEGLossless, JPEGLosslessSV1, JPEGLSLossless

from shared.config import Settings
from shared.dicom.codings import CODINGS, first_decoder, second_decoder
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from tests.codestreams import ENCODERS, by_gdcm, by_hand, coded_bytes, extremes

LIMITS = ReadLimits.of_settings(Settings())
# GDCM's encoder refuses an odd number of bytes, pyjpegls' what does not get smaller.
ANY_SIZE = [name for name in ENCODERS if not name.endswith("_gdcm") and name != "jpeg_ls"]
IMAGES = hypothesis_numpy.arrays(
    st.sampled_from([np.uint8, np.uint16]),
    st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 4, 5, 8, 9])),
    fill=st.nothing(),
)
QUICK = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def decoded(tmp_path: Path, data: bytes) -> NDArray[Any]:
    path = tmp_path / "instance"
    path.write_bytes(data)
    return np.stack([frame.values for frame in iter_frames(path, LIMITS)])


def coded(name: str, pixels: NDArray[Any], bits_stored: int, **how: Any) -> bytes:
    """`pixels` (frames, rows, columns) or (frames, rows, columns, 3) as a file in the coding of that name."""
    syntax, encode = ENCODERS[name]
    codestreams = [encode(frame, bits_stored) for frame in pixels]
    return coded_bytes(pixels, codestreams, syntax, bits_stored=bits_stored, **how)


@pytest.mark.parametrize("bits_stored", [8, 12, 16])
@pytest.mark.parametrize("kind", ["unsigned", "signed", "colour"])
@pytest.mark.parametrize("name", ENCODERS)
def test_pixels_are_those_coded_whatever_the_coding(tmp_path: Path, name: str, kind: str, bits_stored: int) -> None:
    shape = (2, 16, 33, 3) if kind == "colour" else (3, 16, 33)
    pixels = extremes(shape, bits_stored, is_signed=kind == "signed")
    data = coded(name, pixels, bits_stored)

    assert_array_equal(decoded(tmp_path, data), pixels)
    assert_array_equal(decoded(tmp_path, coded(name, pixels[:1], bits_stored)), pixels[:1])
    dataset = pydicom.dcmread(io.BytesIO(data))
    for decoder in (first_decoder, second_decoder):
        alone = decoder(dataset.file_meta.TransferSyntaxUID)
        assert alone is None or np.array_equal(alone.as_array(dataset)[0], pixels)


def test_each_coding_is_in_the_matrix() -> None:
    assert {syntax for syntax, _ in ENCODERS.values()} == set(CODINGS)


@pytest.mark.parametrize("name", ANY_SIZE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 5), (2, 257)])
def test_pixels_are_those_coded_when_the_size_is_odd(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    for bits_stored in (8, 16):
        pixels = extremes((3, *shape), bits_stored, is_signed=False)

        assert_array_equal(decoded(tmp_path, coded(name, pixels, bits_stored)), pixels)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    "how",
    [
        {"offsets": "none"},
        {"offsets": "extended"},
        {"offsets": "basic", "fragments": 3},
        {"offsets": "none", "fragments": 3, "frames": 1},
    ],
    ids=["no offsets", "extended offsets", "basic offsets, fragments", "one frame of fragments"],
)
def test_frames_are_found_whatever_the_fragments(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    how = dict(how)
    pixels = extremes((how.pop("frames", 4), 16, 34), 16, is_signed=True)

    assert_array_equal(decoded(tmp_path, coded(name, pixels, 16, **how)), pixels)


@pytest.mark.parametrize("name", ENCODERS)
def test_colours_are_not_shuffled_when_the_file_still_says_planes(tmp_path: Path, name: str) -> None:
    pixels = extremes((2, 16, 34, 3), 8, is_signed=False)

    assert_array_equal(decoded(tmp_path, coded(name, pixels, 8, PlanarConfiguration=1)), pixels)


@pytest.mark.parametrize("stored", [2, 5, 7])
def test_jpeg_lossless_is_read_when_a_byte_is_not_full(tmp_path: Path, stored: int) -> None:
    pixels = extremes((1, 6, 9), stored, is_signed=False)

    assert_array_equal(decoded(tmp_path, coded("jpeg_lossless_left", pixels, stored)), pixels)


@pytest.mark.parametrize("encoder", [by_gdcm(JPEGLosslessSV1), by_hand(), by_hand(wraps=True)])
@pytest.mark.parametrize("bits_stored", [8, 16])
def test_sv1_wraps_round_where_a_clamped_decoder_would_saturate(tmp_path: Path, encoder: Any, bits_stored: int) -> None:
    """Differences that pass the ends of the range are modulo 65536 (T.81, H.1.2.1); see pylibjpeg-libjpeg #90."""
    highest = (1 << bits_stored) - 1
    row = [0, highest, 0, highest // 2 + 1, 52, 128 * (highest // 255), highest, 1]
    pixels = np.array([[row, row[::-1]]], f"u{bits_stored // 8}")
    data = coded_bytes(pixels, [encoder(pixels[0], bits_stored)], JPEGLosslessSV1, bits_stored=bits_stored)

    assert_array_equal(decoded(tmp_path, data), pixels)


@QUICK
@given(pixels=IMAGES, wraps=st.booleans())
def test_any_image_survives_jpeg_lossless_sv1(tmp_path: Path, pixels: NDArray[Any], wraps: bool) -> None:
    bits = pixels.itemsize * 8
    codestream = by_hand(wraps=wraps)(pixels, bits)
    data = coded_bytes(pixels, [codestream], JPEGLosslessSV1, bits_stored=bits)

    assert_array_equal(decoded(tmp_path, data)[0], pixels)


@QUICK
@given(pixels=IMAGES, selection=st.integers(2, 7))
def test_any_image_survives_jpeg_lossless_of_any_predictor(
    tmp_path: Path, pixels: NDArray[Any], selection: int
) -> None:
    bits = pixels.itemsize * 8
    codestream = by_hand(selection=selection)(pixels, bits)
    data = coded_bytes(pixels, [codestream], JPEGLossless, bits_stored=bits)

    assert_array_equal(decoded(tmp_path, data)[0], pixels)


@QUICK
@given(pixels=IMAGES)
def test_any_image_survives_jpeg_ls(tmp_path: Path, pixels: NDArray[Any]) -> None:
    bits = pixels.itemsize * 8
    codestream = bytes(imagecodecs.jpegls_encode(pixels))
    data = coded_bytes(pixels, [codestream], JPEGLSLossless, bits_stored=bits)

    assert_array_equal(decoded(tmp_path, data)[0], pixels)
