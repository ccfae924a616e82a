"""Lossless codestreams made in memory by encoders that are at hand, and DICOM files of them."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gdcm
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicom_samples import make_dataset, to_bytes
from tests.jpeg_lossless import LosslessJpeg

Encoder = Callable[[NDArray[Any], int], bytes]


def coded_bytes(
    pixels: NDArray[Any],
    codestreams: Sequence[bytes],
    syntax: str,
    *,
    bits_stored: int,
    fragments: int = 1,
    offsets: str = "basic",
    **attributes: Any,
) -> bytes:
    """A file that says it holds `pixels` and holds these codestreams, one a frame.

    offsets: "none", "basic" or "extended" is the table of where each frame begins (PS3.5, A.4; PS3.3, C.7.6.3.1.8).
    """
    dataset = make_dataset(pixels, BitsStored=bits_stored, HighBit=bits_stored - 1, **attributes)
    if offsets == "extended":
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
            list(codestreams)
        )
    else:
        dataset.PixelData = encapsulate(list(codestreams), fragments_per_frame=fragments, has_bot=offsets == "basic")
    dataset["PixelData"].VR = "OB"
    return to_bytes(dataset, syntax)


def by_plugin(plugin: str, syntax: str) -> Encoder:
    """By one of pydicom's encoding plugins."""

    def encode(frame: NDArray[Any], bits_stored: int) -> bytes:
        dataset = make_dataset(frame, BitsStored=bits_stored, HighBit=bits_stored - 1)
        return get_encoder(syntax).encode(dataset, encoding_plugin=plugin)

    return encode


def by_gdcm(syntax: str) -> Encoder:
    """JPEG Lossless by GDCM, which works on files and refuses an odd number of bytes."""

    def encode(frame: NDArray[Any], bits_stored: int) -> bytes:
        dataset = make_dataset(frame, BitsStored=bits_stored, HighBit=bits_stored - 1)
        with tempfile.TemporaryDirectory() as folder:
            plain, coded = Path(folder, "plain"), Path(folder, "coded")
            plain.write_bytes(to_bytes(dataset))
            _change_by_gdcm(plain, coded, syntax)
            return next(generate_frames(pydicom.dcmread(coded).PixelData, number_of_frames=1))

    return encode


def _change_by_gdcm(plain: Path, coded: Path, syntax: str) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(coded))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def by_hand(**how: Any) -> Encoder:
    """JPEG Lossless by the tests' own encoder; LosslessJpeg says how."""

    def encode(frame: NDArray[Any], bits_stored: int) -> bytes:
        stored = frame.astype(int) & ((1 << bits_stored) - 1)
        return LosslessJpeg(bits_stored, **how).encode(stored)

    return encode


def jpeg_2000(frame: NDArray[Any], bits_stored: int) -> bytes:
    """JPEG 2000 by OpenJPEG."""
    return bytes(imagecodecs.jpeg2k_encode(frame, reversible=True, codecformat="j2k", bitspersample=bits_stored))


def htj2k(frame: NDArray[Any], bits_stored: int) -> bytes:
    """High-Throughput JPEG 2000 by OpenJPH, which makes the precision the whole of the dtype."""
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True))


# (transfer syntax, encoder) by name. None of them shares code with all the decoders of its coding, but JPEG-LS and
# JPEG 2000, of which FFmpeg is the decoder from elsewhere (test_lossless_by_ffmpeg.py).
ENCODERS: dict[str, tuple[str, Encoder]] = {
    "rle": (RLELossless, by_plugin("pydicom", RLELossless)),
    "jpeg_lossless_gdcm": (JPEGLossless, by_gdcm(JPEGLossless)),
    "jpeg_lossless_left": (JPEGLossless, by_hand(selection=1)),
    "jpeg_lossless_plane": (JPEGLossless, by_hand(selection=4)),
    "jpeg_lossless_mean": (JPEGLossless, by_hand(selection=7)),
    "jpeg_lossless_sv1_gdcm": (JPEGLosslessSV1, by_gdcm(JPEGLosslessSV1)),
    "jpeg_lossless_sv1_wraps": (JPEGLosslessSV1, by_hand(wraps=True)),
    "jpeg_ls": (JPEGLSLossless, by_plugin("pyjpegls", JPEGLSLossless)),
    "jpeg_2000": (JPEG2000Lossless, jpeg_2000),
    "htj2k": (HTJ2KLossless, htj2k),
    "htj2k_rpcl": (HTJ2KLosslessRPCL, htj2k),
}


def extremes(shape: tuple[int, ...], bits_stored: int, *, is_signed: bool, seed: int = 1) -> NDArray[Any]:
    """Slopes with jumps between the lowest and the highest value that the bits can store."""
    lowest = -(1 << (bits_stored - 1)) if is_signed else 0
    random = np.random.default_rng(seed)
    values = np.arange(np.prod(shape)).reshape(shape) % (1 << bits_stored)
    jumps = random.integers(0, 12, shape)
    values = np.where(jumps == 0, 0, np.where(jumps == 1, (1 << bits_stored) - 1, values)) + lowest
    return values.astype(f"{'i' if is_signed else 'u'}{1 if bits_stored <= 8 else 2}")
