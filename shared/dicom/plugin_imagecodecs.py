"""pydicom decoding plugin: the second decoders, from imagecodecs, none of which shares code with a first one.

Each is given an array of the data set's size to fill, so that it refuses a codestream that claims another one before it
allocates anything for it.
"""

import importlib.util

import numpy as np
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import HTJ2KLossless, HTJ2KLosslessRPCL, JPEGLossless, JPEGLosslessSV1, RLELossless

_SYNTAXES = (RLELossless, JPEGLossless, JPEGLosslessSV1, HTJ2KLossless, HTJ2KLosslessRPCL)
DECODER_DEPENDENCIES = dict.fromkeys(_SYNTAXES, ("imagecodecs",))
_BYTE_BITS, _WORD_BITS = 8, 16
_SOF3 = b"\xff\xc3"
_PRECISION_AT = 4  # bytes behind the marker (ITU-T T.81, B.2.2)


def is_available(uid: str) -> bool:
    """Whether imagecodecs is installed and reads this transfer syntax."""
    return uid in DECODER_DEPENDENCIES and importlib.util.find_spec("imagecodecs") is not None


def decode_rle(src: bytes, runner: DecodeRunner) -> bytearray:
    """Decode a frame of RLE Lossless (PS3.5, annex G), by imagecodecs' own code, to planes of little endian samples."""
    import imagecodecs

    dtype = np.dtype(f"<u{runner.bits_allocated // _BYTE_BITS}")
    frame = bytearray(runner.rows * runner.columns * runner.samples_per_pixel * dtype.itemsize)
    decoded = imagecodecs.dicomrle_decode(src, dtype, out=frame)
    if len(decoded) != len(frame):
        raise ValueError("the frame is shorter than rows x columns x samples")
    runner.set_option("planar_configuration", 1)
    return frame


def decode_jpeg_lossless(src: bytes, runner: DecodeRunner) -> memoryview:
    """Decode a frame of JPEG Lossless (ITU-T T.81, process 14), by jpegsof3, to planes of samples.

    It refuses restart intervals, and is wrong where a point transform dropped bits.
    """
    import imagecodecs

    is_byte = src[src.index(_SOF3) + _PRECISION_AT] <= _BYTE_BITS
    plane = (runner.rows, runner.columns)
    shape = plane if runner.samples_per_pixel == 1 else (runner.samples_per_pixel, *plane)
    frame = np.empty(shape, np.uint8 if is_byte else np.uint16)
    imagecodecs.jpegsof3_decode(src, out=frame)
    runner.set_option("bits_allocated", frame.itemsize * _BYTE_BITS)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 1)
    return frame.data


def decode_htj2k(src: bytes, runner: DecodeRunner) -> memoryview:
    """Decode a frame of High-Throughput JPEG 2000 (ITU-T T.814), by OpenJPH, to pixels; colour comes as RGB."""
    import imagecodecs

    precision = runner.get_option("j2k_precision")
    bits = _BYTE_BITS if precision <= _BYTE_BITS else _WORD_BITS if precision <= _WORD_BITS else 2 * _WORD_BITS
    plane = (runner.rows, runner.columns)
    shape = plane if runner.samples_per_pixel == 1 else (*plane, runner.samples_per_pixel)
    frame = np.empty(shape, f"{'i' if runner.get_option('j2k_is_signed') else 'u'}{bits // _BYTE_BITS}")
    imagecodecs.htj2k_decode(src, out=frame)
    runner.set_option("bits_allocated", bits)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation == PhotometricInterpretation.YBR_RCT:
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
    return frame.data
