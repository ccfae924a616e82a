"""JPEG 2000 and JPEG-LS, of which only one code base may run in service, compared with FFmpeg's decoders here.

FFmpeg shares no code with OpenJPEG and CharLS. Its wheel holds parts under the GPL, so it is for tests only.
"""

from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import pydicom
import pytest
from av.codec import CodecContext
from av.packet import Packet
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from shared.config import Settings
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from tests.codestreams import Encoder, by_plugin, coded_bytes, extremes, jpeg_2000

LIMITS = ReadLimits.of_settings(Settings())
BYTE_BITS, WORD_BITS = 8, 16


def by_ffmpeg(codec: str, codestream: bytes, bits_stored: int, *, is_signed: bool = False) -> NDArray[Any]:
    """Samples that FFmpeg decodes; it puts those of more than 8 bits at the top of 16, and signed ones half up."""
    context = CodecContext.create(codec, "r")
    (frame,) = [*context.decode(Packet(codestream)), *context.decode(None)]
    values = np.asarray(frame.to_ndarray()).astype(int)
    values = values >> (WORD_BITS - bits_stored) if bits_stored > BYTE_BITS else values
    return values - (1 << (bits_stored - 1)) if is_signed else values


def overread(tmp_path: Path, pixels: NDArray[Any], codestream: bytes, syntax: str, bits_stored: int) -> NDArray[Any]:
    path = tmp_path / "instance"
    path.write_bytes(coded_bytes(pixels, [codestream], syntax, bits_stored=bits_stored))
    (frame,) = iter_frames(path, LIMITS)
    return frame.values


@pytest.mark.parametrize("bits_stored", [8, 12, 16])
@pytest.mark.parametrize("kind", ["unsigned", "signed", "colour"])
@pytest.mark.parametrize("shape", [(16, 34), (1, 7), (7, 1), (129, 65)])
def test_jpeg_2000_gives_what_ffmpeg_gives(tmp_path: Path, shape: tuple[int, int], kind: str, bits_stored: int) -> None:
    is_signed = kind == "signed"
    pixels = extremes((*shape, 3) if kind == "colour" else shape, bits_stored, is_signed=is_signed)
    codestream = jpeg_2000(pixels, bits_stored)

    found = overread(tmp_path, pixels, codestream, JPEG2000Lossless, bits_stored)

    expected = by_ffmpeg("jpeg2000", codestream, bits_stored, is_signed=is_signed).reshape(pixels.shape)
    assert_array_equal(found, expected)
    assert_array_equal(found, pixels)


def in_lines(frame: NDArray[Any], bits_stored: int) -> bytes:
    """JPEG-LS whose samples alternate line by line, the one way of three that FFmpeg reads for colour."""
    return bytes(jpeg_ls.encode_array(frame, interleave_mode=1))


@pytest.mark.parametrize(
    ("shape", "bits_stored", "encode"),
    [
        ((33, 65), 8, by_plugin("pyjpegls", JPEGLSLossless)),
        ((33, 65), 12, by_plugin("pyjpegls", JPEGLSLossless)),
        ((33, 65), 16, by_plugin("pyjpegls", JPEGLSLossless)),
        ((33, 65, 3), 8, in_lines),
    ],
    ids=["8 bits", "12 bits", "16 bits", "colour"],
)
def test_jpeg_ls_gives_what_ffmpeg_gives(
    tmp_path: Path, shape: tuple[int, ...], bits_stored: int, encode: Encoder
) -> None:
    pixels = extremes(shape, bits_stored, is_signed=False)
    codestream = encode(pixels, bits_stored)

    found = overread(tmp_path, pixels, codestream, JPEGLSLossless, bits_stored)

    assert_array_equal(found, by_ffmpeg("jpegls", codestream, bits_stored))
    assert_array_equal(found, pixels)


@pytest.mark.parametrize("codec", ["jpeg2000", "jpegls"])
def test_real_signed_image_is_read_as_ffmpeg_reads_it(codec: str) -> None:
    name = {"jpeg2000": "MR_small_jp2klossless.dcm", "jpegls": "MR_small_jpeg_ls_lossless.dcm"}[codec]
    path = Path(str(get_testdata_file(name, download=False)))
    codestream = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))

    (frame,) = iter_frames(path, LIMITS)

    # JPEG-LS knows no sign: its samples are the bits of signed ones.
    expected = by_ffmpeg(codec, codestream, frame.bits_stored, is_signed=codec == "jpeg2000")
    assert_array_equal(frame.values, expected.astype(np.int16))
