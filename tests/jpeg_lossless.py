"""JPEG Lossless (ITU-T T.81, annex H) written for tests: an encoder of what other encoders do not write, and back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CATEGORIES = 17  # of differences: their number of bits, 0 to 16 (T.81, table H.2)
_CODE_BITS = 5  # one length for all Huffman codes, so that a category is its own code
_MODULUS = 1 << 16  # of differences and reconstructions (T.81, H.1.2.1)


@dataclass(frozen=True)
class LosslessJpeg:
    """What the codestream is made with.

    `selection` is the predictor, 1 to 7; with `wraps`, large steps up are written as steps down past 0, as ultrasound
    systems are known to; `restart_rows` puts a restart marker after so many rows; `point_transform` drops low bits.
    """

    precision: int
    selection: int = 1
    wraps: bool = False
    restart_rows: int = 0
    point_transform: int = 0

    def encode(self, frame: NDArray[Any]) -> bytes:
        """A codestream of unsigned (rows, columns) or (rows, columns, samples)."""
        samples = np.atleast_3d(frame).astype(int) >> self.point_transform
        rows, columns, components = samples.shape
        scan = _Bits()
        for row in range(rows):
            if self.restart_rows and row and row % self.restart_rows == 0:
                scan.restart()
            for column in range(columns):
                for component in range(components):
                    predicted = self._predicted(samples[:, :, component], row, column)
                    scan.write_difference(self._difference(int(samples[row, column, component]) - predicted))
        return self._header(rows, columns, components) + scan.whole() + b"\xff\xd9"

    def _predicted(self, plane: NDArray[Any], row: int, column: int) -> int:
        is_first_row = row % self.restart_rows == 0 if self.restart_rows else row == 0
        if is_first_row:
            return int(plane[row, column - 1]) if column else 1 << (self.precision - self.point_transform - 1)
        above = int(plane[row - 1, column])
        if column == 0:
            return above
        left, corner = int(plane[row, column - 1]), int(plane[row - 1, column - 1])
        return (
            left,
            above,
            corner,
            left + above - corner,
            left + ((above - corner) >> 1),
            above + ((left - corner) >> 1),
            (left + above) >> 1,
        )[self.selection - 1]

    def _difference(self, difference: int) -> int:
        if self.wraps and difference >= 1 << (self.precision - 2):
            difference -= 1 << self.precision
        wrapped = difference % _MODULUS
        return wrapped - _MODULUS if wrapped > _MODULUS // 2 else wrapped

    def _header(self, rows: int, columns: int, components: int) -> bytes:
        frame = struct.pack(">BHHB", self.precision, rows, columns, components)
        frame += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
        lengths = bytes(_CATEGORIES if bits == _CODE_BITS else 0 for bits in range(1, 17))
        scan = bytes([components, *(value for number in range(components) for value in (number + 1, 0))])
        parts = [b"\xff\xd8", _segment(0xC3, frame), _segment(0xC4, b"\0" + lengths + bytes(range(_CATEGORIES)))]
        if self.restart_rows:
            parts.append(_segment(0xDD, struct.pack(">H", self.restart_rows * columns)))
        return b"".join([*parts, _segment(0xDA, scan + bytes([self.selection, 0, self.point_transform]))])


def decode_sv1(codestream: bytes, rows: int, columns: int, *, clamps: bool) -> NDArray[Any]:
    """The (rows, columns) of a codestream that LosslessJpeg made with selection 1 and nothing else.

    `clamps` makes the mistake of pylibjpeg-libjpeg #90: a sum beyond the range becomes its end and does not wrap round.
    """
    precision = codestream[codestream.index(b"\xff\xc3") + 4]
    scan = codestream[codestream.index(b"\xff\xda") + 10 : -2].replace(b"\xff\0", b"\xff")
    differences = _differences("".join(f"{byte:08b}" for byte in scan))
    values = np.zeros((rows, columns), int)
    for row, column in np.ndindex(rows, columns):
        predicted = values[row, column - 1] if column else values[row - 1, 0] if row else 1 << (precision - 1)
        value = int(predicted) + next(differences)
        highest = (1 << precision) - 1
        values[row, column] = min(max(value, 0), highest) if clamps else value & highest
    return values.astype(np.uint8 if precision <= 8 else np.uint16)


def _differences(bits: str) -> Iterator[int]:
    at = 0
    while True:
        category, at = int(bits[at : at + _CODE_BITS], 2), at + _CODE_BITS
        if category in (0, 16):
            yield category and _MODULUS // 2
            continue
        value, at = int(bits[at : at + category], 2), at + category
        yield value if value >> (category - 1) else value - (1 << category) + 1


@dataclass
class _Bits:
    """Entropy coded bits, most significant first; a byte 0xFF is followed by 0 (T.81, B.1.1.5)."""

    done: bytearray = field(default_factory=bytearray)
    waiting: str = ""
    restarts: int = 0

    def write_difference(self, difference: int) -> None:
        category = abs(difference).bit_length() if difference != _MODULUS // 2 else 16
        self.waiting += f"{category:0{_CODE_BITS}b}"
        if 0 < category < _CATEGORIES - 1:
            value = difference if difference > 0 else difference + (1 << category) - 1
            self.waiting += f"{value:0{category}b}"

    def restart(self) -> None:
        self._align()
        self.done += bytes([0xFF, 0xD0 + self.restarts % 8])
        self.restarts += 1

    def whole(self) -> bytes:
        self._align()
        return bytes(self.done)

    def _align(self) -> None:
        bits = self.waiting + "1" * (-len(self.waiting) % 8)
        self.done += bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
        self.waiting = ""


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body
