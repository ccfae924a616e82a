"""Which decoder reads a lossless coding, and which other one must give the same pixels before they are believed."""

import functools
from dataclasses import dataclass

from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

_PYDICOM = "pydicom.pixels.decoders"
_OWN = "shared.dicom"


@dataclass(frozen=True)
class Plugin:
    """A pydicom decoding plugin: the code base behind it, and the function that decodes a frame."""

    code_base: str
    module: str
    function: str = "_decode_frame"


_GDCM = Plugin("GDCM", f"{_OWN}.plugin_gdcm", "decode_frame")
_OPENJPEG = Plugin("OpenJPEG", f"{_PYDICOM}.pylibjpeg")
_JPEGSOF3 = Plugin("jpegsof3", f"{_OWN}.plugin_imagecodecs", "decode_jpeg_lossless")
_OPENJPH = Plugin("OpenJPH", f"{_OWN}.plugin_imagecodecs", "decode_htj2k")

# The first decodes, the second, of another code base, checks every frame of it. Of JPEG-LS and JPEG 2000 every decoder
# that may be used is the same library (CharLS, OpenJPEG), so there is none to check (docs/decisions/0019).
CODINGS: dict[UID, tuple[Plugin, Plugin | None]] = {
    RLELossless: (
        Plugin("pylibjpeg-rle", f"{_PYDICOM}.pylibjpeg"),
        Plugin("imagecodecs", f"{_OWN}.plugin_imagecodecs", "decode_rle"),
    ),
    JPEGLossless: (_GDCM, _JPEGSOF3),
    JPEGLosslessSV1: (_GDCM, _JPEGSOF3),
    JPEGLSLossless: (Plugin("CharLS", f"{_PYDICOM}.pyjpegls"), None),
    JPEG2000Lossless: (_OPENJPEG, None),
    HTJ2KLossless: (_OPENJPEG, _OPENJPH),
    HTJ2KLosslessRPCL: (_OPENJPEG, _OPENJPH),
}


def first_decoder(syntax: UID) -> Decoder:
    """The decoder of a transfer syntax; of one that is lossy or uncompressed, pydicom's own choice."""
    if syntax in CODINGS:
        return _decoder(syntax, CODINGS[syntax][0])
    return get_decoder(syntax)


def second_decoder(syntax: UID) -> Decoder | None:
    """The decoder of another code base that must agree with the first; None where there is none to ask."""
    plugin = CODINGS[syntax][1] if syntax in CODINGS else None
    return _decoder(syntax, plugin) if plugin else None


def code_bases(syntax: UID) -> tuple[str, ...]:
    """What the code that decodes a lossless coding is called, the first decoder's first."""
    return tuple(plugin.code_base for plugin in CODINGS[syntax] if plugin)


@functools.cache
def _decoder(syntax: UID, plugin: Plugin) -> Decoder:
    """A decoder of this plugin alone: pydicom's own ones hold several and go on to the next where one fails."""
    decoder = Decoder(syntax)
    decoder.add_plugin(plugin.code_base, (plugin.module, plugin.function))
    return decoder
