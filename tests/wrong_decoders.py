"""pydicom decoding plugins that are wrong or missing, for the tests of what becomes of a disagreement."""

from pydicom.pixels.decoders.base import DecodeRunner

from shared.dicom.codings import CODINGS
from tests.jpeg_lossless import decode_sv1

DECODER_DEPENDENCIES = dict.fromkeys(CODINGS, ("wrong",))


def is_available(uid: str) -> bool:
    return True


def decode_black(src: bytes, runner: DecodeRunner) -> bytes:
    """Every pixel is 0."""
    return bytes(runner.frame_length(unit="bytes"))


def decode_clamped(src: bytes, runner: DecodeRunner) -> bytes:
    """JPEG Lossless SV1 with the predictor clamped instead of wrapped round."""
    return decode_sv1(src, runner.rows, runner.columns, clamps=True).tobytes()


def decode_wrapped(src: bytes, runner: DecodeRunner) -> bytes:
    """The same, done right."""
    return decode_sv1(src, runner.rows, runner.columns, clamps=False).tobytes()


def decode_not_installed(src: bytes, runner: DecodeRunner) -> bytes:
    raise ImportError("no such module")
