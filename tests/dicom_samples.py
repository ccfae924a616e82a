"""DICOM files made in memory: good ones, and each kind of hostile or damaged one."""

import functools
import io
import random
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

MIB = 1024 * 1024
UNDEFINED = 0xFFFFFFFF
_SEQUENCE_TAG = struct.pack("<HH", 0x0008, 0x1140)
_ITEM_TAG = struct.pack("<HH", 0xFFFE, 0xE000)
_ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def make_uid(*names: object) -> str:
    """The same valid UID for the same names."""
    return str(generate_uid(entropy_srcs=[str(name) for name in names]))


def ramp(rows: int = 12, columns: int = 16, dtype: str = "uint16") -> NDArray[Any]:
    """A small image whose pixels all differ: 0, 1, 2..."""
    return np.arange(rows * columns, dtype=dtype).reshape(rows, columns)


def make_dataset(pixels: NDArray[Any] | None = None, **attributes: Any) -> Dataset:
    """A CT instance with these pixels (default: `ramp()`); attributes replace what it has, None takes them away.

    pixels: (rows, columns), (rows, columns, 3), (frames, rows, columns) or (frames, rows, columns, 3).
    """
    pixels = ramp() if pixels is None else pixels
    is_colour = pixels.shape[-1] == 3
    frames = pixels.shape[0] if pixels.ndim - is_colour == 3 else 1
    bits = pixels.dtype.itemsize * 8
    given: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "StudyInstanceUID": make_uid("study"),
        "SeriesInstanceUID": make_uid("series"),
        "SOPInstanceUID": make_uid("instance", pixels.tobytes(), sorted(attributes)),
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "Modality": "CT",
        "StudyDate": "20260102",
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "SamplesPerPixel": 3 if is_colour else 1,
        "Rows": pixels.shape[-3 if is_colour else -2],
        "Columns": pixels.shape[-2 if is_colour else -1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    given |= {"PlanarConfiguration": 0} if is_colour else {}
    given |= {"NumberOfFrames": frames} if frames > 1 else {}
    dataset = _bare(**(given | attributes))
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def to_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a PS3.10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", make_uid("none"))
    if syntax == ExplicitVRBigEndian:
        pixels = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}")
        dataset.PixelData = pixels.byteswap().tobytes()
    file = io.BytesIO()
    with disable_value_validation():
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom_bytes(pixels: NDArray[Any] | None = None, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """A good file; `make_dataset` says what the arguments do."""
    return to_bytes(make_dataset(pixels, **attributes), syntax)


def compressed_bytes(codestream: bytes, syntax: str, **attributes: Any) -> bytes:
    """A file whose only frame is this codestream, good or not."""
    dataset = make_dataset(**attributes)
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    return to_bytes(dataset, syntax)


def rle_bytes(pixels: NDArray[Any], **attributes: Any) -> bytes:
    """A file in RLE Lossless, of one or more frames; attributes replace what it says, not what it holds."""
    dataset = make_dataset(pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.compress(RLELossless, pixels, generate_instance_uid=False)
    dataset.update(_bare(**attributes))
    return to_bytes(dataset, RLELossless)


def without_file_meta(data: bytes) -> bytes:
    """The bare data set of a file: no preamble, no prefix, no group 0002."""
    length = struct.unpack_from("<L", data, 140)[0]
    return data[144 + length :]


def deflate_bomb(inflated_bytes: int = 400 * MIB) -> bytes:
    """Deflated Explicit VR Little Endian: some hundred KB that inflate to a private attribute of zeros."""
    head = without_file_meta(dicom_bytes(PixelData=None))
    filler = struct.pack("<HH2sHL", 0x7FE1, 0x1001, b"OB", 0, inflated_bytes)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(head + filler) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return _file_meta(DeflatedExplicitVRLittleEndian) + start + zeros * (inflated_bytes // MIB) + packer.flush()


def nested_sequences(depth: int = 3000, *, undefined_length: bool = True) -> bytes:
    """A file with sequences nested this deep, of undefined or of stated lengths."""
    if undefined_length:
        opened = _SEQUENCE_TAG + struct.pack("<2sHL", b"SQ", 0, UNDEFINED) + _ITEM_TAG + struct.pack("<L", UNDEFINED)
        nest = opened * depth + (_ITEM_END + _SEQUENCE_END) * depth
    else:
        nest = b""
        for _ in range(depth):
            item = _ITEM_TAG + struct.pack("<L", len(nest)) + nest
            nest = _SEQUENCE_TAG + struct.pack("<2sHL", b"SQ", 0, len(item)) + item
    head = without_file_meta(dicom_bytes(PixelData=None, Modality=None))
    at = head.index(struct.pack("<HH", 0x0010, 0x0010))
    return _file_meta(ExplicitVRLittleEndian) + head[:at] + nest + head[at:]


def absurd_dimensions(rows: int = 65535, columns: int = 65535, frames: int = 10_000) -> bytes:
    """1 KiB of pixels that claims to be 85 TB."""
    return dicom_bytes(Rows=rows, Columns=columns, NumberOfFrames=frames, PixelData=bytes(1024))


def long_dimensions() -> bytes:
    """Rows and Columns written as UL (4 bytes) where the standard has US (2 bytes)."""
    dataset = make_dataset()
    data = to_bytes(dataset)
    for element, value in ((0x0010, 0x7FFFFFFF), (0x0011, 0xFFFFFFFF)):
        short = struct.pack("<HH2sHH", 0x0028, element, b"US", 2, int(dataset[0x0028, element].value))
        data = data.replace(short, struct.pack("<HH2sHL", 0x0028, element, b"UL", 4, value))
    return data


def path_like_uids() -> bytes:
    """A SOPInstanceUID of the length of the good one that climbs out of a folder."""
    uid = make_uid("to be replaced")
    climbing = ("../" * 30)[: len(uid)]
    return dicom_bytes(SOPInstanceUID=uid).replace(uid.encode(), climbing.encode())


def with_preamble(data: bytes, preamble: bytes) -> bytes:
    """The same file behind other first bytes: `MZ` and an ELF header make a program of it."""
    return preamble + data[len(preamble) :]


def truncated() -> bytes:
    """A good file that lost its second half."""
    data = dicom_bytes(ramp(64, 64))
    return data[: len(data) // 2]


def noise(size_bytes: int = 10 * MIB) -> bytes:
    """Bytes that are nothing."""
    return random.Random(7).randbytes(size_bytes)


def dicomdir() -> bytes:
    """A DICOMDIR without records."""
    return to_bytes(_bare(SOPClassUID="1.2.840.10008.1.3.10", SOPInstanceUID=make_uid("dicomdir"), FileSetID="SET"))


def without_uids() -> bytes:
    """A parseable file that names no study and no series."""
    return dicom_bytes(StudyInstanceUID=None, SeriesInstanceUID=None)


@functools.cache
def hostile_files() -> dict[str, bytes]:
    """One of each, by name; none may take a service down, and none of them can be predicted on."""
    good = dicom_bytes()
    return {
        "empty": b"",
        "text": b"not a DICOM file, only a sentence\n",
        "noise": noise(),
        "truncated": truncated(),
        "deflate_bomb": deflate_bomb(),
        "nested_undefined": nested_sequences(),
        "nested_stated": nested_sequences(undefined_length=False),
        "absurd_dimensions": absurd_dimensions(),
        "long_dimensions": long_dimensions(),
        "path_like_uids": path_like_uids(),
        "pe_preamble": with_preamble(good, b"MZ\x90\x00"),
        "elf_preamble": with_preamble(good, b"\x7fELF\x02\x01\x01"),
        "jpeg_2000_garbage": compressed_bytes(b"\xff\x4f\xff\x51" + noise(2000), "1.2.840.10008.1.2.4.90"),
        "jpeg_ls_garbage": compressed_bytes(b"\xff\xd8\xff\xf7" + noise(2000), "1.2.840.10008.1.2.4.80"),
        "jpeg_garbage": compressed_bytes(b"\xff\xd8\xff\xc0" + noise(2000), "1.2.840.10008.1.2.4.50"),
        "rle_garbage": compressed_bytes(noise(2000), "1.2.840.10008.1.2.5"),
        "dicomdir": dicomdir(),
        "without_uids": without_uids(),
    }


def _bare(**attributes: Any) -> Dataset:
    dataset = Dataset()
    with disable_value_validation():
        for keyword, value in attributes.items():
            if value is not None:
                setattr(dataset, keyword, value)
    return dataset


def _file_meta(syntax: str) -> bytes:
    """Preamble, prefix and group 0002 for this transfer syntax."""
    whole = dicom_bytes(syntax=syntax)
    length = struct.unpack_from("<L", whole, 140)[0]
    return whole[: 144 + length]
