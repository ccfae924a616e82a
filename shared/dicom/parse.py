"""Bytes -> pydicom data set, with every claim of the file bounded; any fault is a named reason."""

import io
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydicom import filereader
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from shared.config import Settings
from shared.dicom.quiet import quiet_pydicom
from shared.dicom.source import DicomFile, inflate
from shared.errors import InvalidDicomError, LimitExceededError, OverreadError, StorageUnavailableError
from shared.reasons import Reason

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FILE_META_GROUP = 2
_DEFER_BYTES = 1024 * 1024  # a header is read without its larger values
_LEAST_LEVEL_BYTES = 16  # a sequence's and an item's tag and length: no level of nesting takes less


@dataclass(frozen=True)
class ReadLimits:
    """Bounds on one DICOM file, named as in Settings."""

    max_file_bytes: int
    max_inflated_bytes: int
    max_nesting: int
    max_pixel_bytes: int
    max_frame_bytes: int

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """The limits that the settings state."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


class _PixelStop:
    """Notices the pixel data, and stops pydicom there when only the header is wanted."""

    def __init__(self, *, with_pixels: bool) -> None:
        self.found = False
        self.element_bytes = 0
        self._stop = not with_pixels

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag not in PIXEL_TAGS:
            return False
        self.found = True
        if length != _UNDEFINED_LENGTH:
            self.element_bytes = length + (12 if vr in EXPLICIT_VR_LENGTH_32 else 8)
        return self._stop


def parse(path: Path, limits: ReadLimits, *, with_pixels: bool) -> tuple[FileDataset, bool]:
    """Read a file's data set up to the pixel data, or with it, and say whether there is pixel data.

    Raises InvalidDicomError or LimitExceededError with a reason. The texts of pydicom's own errors and warnings
    are dropped: they quote values.
    """
    stop = _PixelStop(with_pixels=with_pixels)
    with DicomFile(path, limits.max_file_bytes) as file, _named_faults(file):
        file_meta = _read_file_meta(file)
        source: DicomFile | io.BytesIO = file
        if file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            source = inflate(file, limits.max_inflated_bytes)
            inner = filereader.read_dataset(source, False, True, stop_when=stop)
            dataset = FileDataset(str(path), inner, None, file_meta, False, True)
        else:
            file.seek(0)
            defer = None if with_pixels else _DEFER_BYTES
            dataset = filereader.read_partial(file, stop, defer_size=defer, force=True)
        needed_bytes = _needed_bytes(dataset)
        if stop.found and not with_pixels:
            needed_bytes = max(needed_bytes, source.tell() + stop.element_bytes)
        if needed_bytes > source.seek(0, io.SEEK_END) or _needed_bytes(file_meta) > file.size_bytes:
            raise _cut_short(file)
        _check_nesting(dataset, limits.max_nesting)
    return dataset, stop.found


@contextmanager
def _named_faults(file: DicomFile) -> Iterator[None]:
    """Turn whatever pydicom raises for hostile bytes into an error of ours."""
    try:
        with quiet_pydicom():
            warnings.filterwarnings("error", message="End of file reached")
            yield
    except (OverreadError, MemoryError):
        raise
    except RecursionError:
        raise _nested_too_deep() from None
    except OSError as error:
        if error.errno is not None:
            raise StorageUnavailableError(f"the content store failed: {error.strerror}") from error
        raise _cut_short(file) from None
    except (EOFError, UserWarning, struct.error):
        raise _cut_short(file) from None
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever the bytes make it raise
        raise _not_dicom(type(error).__name__) from None


def _read_file_meta(file: DicomFile) -> FileMetaDataset:
    """Read the preamble and group 0002, leaving the file at the data set."""
    filereader.read_preamble(file, force=True)
    return FileMetaDataset(filereader.read_dataset(file, False, True, stop_when=_is_after_file_meta))


def _is_after_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
    return tag >> 16 != _FILE_META_GROUP


def _needed_bytes(dataset: Dataset) -> int:
    """Where the furthest top-level value ends, as its length field says."""
    ends = [
        raw.value_tell + raw.length
        for raw in dataset.values()
        if isinstance(raw, RawDataElement) and raw.length != _UNDEFINED_LENGTH
    ]
    return max(ends, default=0)


def _check_nesting(dataset: Dataset, max_nesting: int) -> None:
    """Walk the sequences level by level, never by recursion, and only those with room for a nest too deep."""
    waiting: list[tuple[Dataset, int]] = [(dataset, 0)]
    while waiting:
        level, depth = waiting.pop()
        worth_bytes = (max_nesting - depth) * _LEAST_LEVEL_BYTES
        for element in list(level.values()):
            if isinstance(element, RawDataElement) and element.length < worth_bytes:
                continue
            items = _items(level, element)
            if items and depth >= max_nesting:
                raise _nested_too_deep()
            waiting.extend((item, depth + 1) for item in items)


def _items(level: Dataset, element: DataElement | RawDataElement) -> Iterable[Dataset]:
    """The items of a sequence; () for any other element."""
    if not _is_sequence(element):
        return ()
    try:
        value = level[element.tag].value
    except (RecursionError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - a damaged sequence stays bytes, which nobody reads
        return ()
    return value if isinstance(value, Sequence) else ()


def _is_sequence(element: DataElement | RawDataElement) -> bool:
    if element.VR in (None, VR.UN):  # implicit VR, or a standard attribute that its writer did not know
        return dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == VR.SQ
    return element.VR == VR.SQ


def _cut_short(file: DicomFile) -> InvalidDicomError:
    if not file.is_part10:  # any bytes read as DICOM seem to end early
        return _not_dicom("no DICM prefix")
    return InvalidDicomError("the file ends before its contents do; send it again", reason=Reason.TRUNCATED)


def _not_dicom(detail: str) -> InvalidDicomError:
    return InvalidDicomError(f"the file cannot be parsed as DICOM ({detail}); expected a PS3.10 file")


def _nested_too_deep() -> LimitExceededError:
    return LimitExceededError(
        "sequences are nested deeper than is accepted (max_nesting)", reason=Reason.NESTED_TOO_DEEP
    )
