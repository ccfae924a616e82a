"""pydicom decoding plugin: GDCM, kept from what makes it end the process."""

from pydicom.pixels.decoders import gdcm
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

_BYTE_BITS = 8
DECODER_DEPENDENCIES = dict.fromkeys((JPEGLossless, JPEGLosslessSV1), ("python-gdcm",))


def is_available(uid: str) -> bool:
    """Whether GDCM is installed and reads this transfer syntax."""
    return uid in DECODER_DEPENDENCIES and bool(gdcm.is_available(uid))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode a frame of JPEG Lossless (ITU-T T.81, process 14) to the bytes of its samples."""
    bits_stored = runner.bits_stored
    if runner.bits_allocated == _BYTE_BITS:
        # Told of fewer bits than the whole byte, GDCM aborts. The codestream states its own precision anyway.
        runner.set_option("bits_stored", _BYTE_BITS)
    try:
        return gdcm._decode_frame(src, runner)
    finally:
        runner.set_option("bits_stored", bits_stored)
