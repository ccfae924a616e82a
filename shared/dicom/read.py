"""(1) A file's header, read in a limited child process: what intake indexes and what decoding checks first."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from shared.config import Settings
from shared.dicom.parse import ReadLimits, parse
from shared.dicom.planes import Planes, planes_of_dataset, planes_of_document
from shared.dicom.quiet import quiet_pydicom
from shared.dicom.values import MAX_PERSON_NAME, number, text, uid
from shared.errors import ChildCrashedError, InvalidDicomError, LimitExceededError
from shared.reasons import Reason
from shared.sandbox import ChildLimits, ChildReasons, LimitedPool

__all__ = ["Header", "HeaderReader", "ReadLimits", "check_dimensions", "read_dataset", "read_header"]

HEADER_TARGET = "shared.dicom.read:read_header_in_child"


@dataclass(frozen=True)
class Header:
    """What the index keeps of one instance: text is "", a number 0 and planes () when the file does not say."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    study_id: str
    accession_number: str
    study_description: str
    timezone_offset: str
    acquisition_at: str
    modality: str
    body_part_examined: str
    laterality: str
    manufacturer: str
    station_name: str
    photometric_interpretation: str
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    number_of_frames: int
    series_number: int
    instance_number: int
    has_pixel_data: bool
    planes: Planes


def read_dataset(path: Path, limits: ReadLimits, *, with_pixels: bool) -> Dataset:
    """Read a data set within the limits; only for limited child processes."""
    return parse(path, limits, with_pixels=with_pixels)[0]


def read_header(path: Path, limits: ReadLimits) -> Header:
    """Read what the index keeps; only for limited child processes.

    Raises InvalidDicomError or LimitExceededError with a reason when the file cannot be stored.
    """
    dataset, has_pixel_data = parse(path, limits, with_pixels=False)
    with quiet_pydicom():
        return _header_of(dataset, has_pixel_data=has_pixel_data)


def _header_of(dataset: FileDataset, *, has_pixel_data: bool) -> Header:
    """The header of a parsed data set; raises InvalidDicomError when a UID is missing or is none."""
    return Header(
        **_uids(dataset),
        patient_id=text(dataset, "PatientID"),
        issuer_of_patient_id=text(dataset, "IssuerOfPatientID"),
        patient_name=text(dataset, "PatientName", MAX_PERSON_NAME),
        patient_birth_date=text(dataset, "PatientBirthDate"),
        patient_sex=text(dataset, "PatientSex"),
        study_date=text(dataset, "StudyDate"),
        study_time=text(dataset, "StudyTime"),
        study_id=text(dataset, "StudyID"),
        accession_number=text(dataset, "AccessionNumber"),
        study_description=text(dataset, "StudyDescription"),
        timezone_offset=text(dataset, "TimezoneOffsetFromUTC"),
        acquisition_at=_acquisition_at(dataset),
        modality=text(dataset, "Modality"),
        body_part_examined=text(dataset, "BodyPartExamined"),
        laterality=text(dataset, "Laterality"),
        manufacturer=text(dataset, "Manufacturer"),
        station_name=text(dataset, "StationName"),
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        samples_per_pixel=number(dataset, "SamplesPerPixel"),
        bits_allocated=number(dataset, "BitsAllocated"),
        bits_stored=number(dataset, "BitsStored"),
        pixel_representation=number(dataset, "PixelRepresentation"),
        number_of_frames=number(dataset, "NumberOfFrames"),
        series_number=number(dataset, "SeriesNumber"),
        instance_number=number(dataset, "InstanceNumber"),
        has_pixel_data=has_pixel_data,
        planes=planes_of_dataset(dataset, number(dataset, "NumberOfFrames")),
    )


class Dimensions(Protocol):
    """What a file claims of its pixels; a Header has it too."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def samples_per_pixel(self) -> int: ...
    @property
    def bits_allocated(self) -> int: ...
    @property
    def number_of_frames(self) -> int: ...


def check_dimensions(claimed: Dimensions, limits: ReadLimits) -> None:
    """Refuse, before anything is allocated, an instance that claims more pixels than is accepted.

    Raises LimitExceededError with PIXELS_TOO_LARGE.
    """
    bits = max(1, claimed.bits_allocated) * max(1, claimed.samples_per_pixel)
    frame_bytes = max(0, claimed.rows) * max(0, claimed.columns) * bits // 8
    pixel_bytes = frame_bytes * max(1, claimed.number_of_frames)
    for what, size_bytes, name in (
        ("a frame", frame_bytes, "max_frame_bytes"),
        ("the pixels", pixel_bytes, "max_pixel_bytes"),
    ):
        allowed = getattr(limits, name)
        if size_bytes > allowed:
            raise LimitExceededError(
                f"{what} would take {size_bytes} bytes; at most {allowed} are accepted ({name})",
                reason=Reason.PIXELS_TOO_LARGE,
            )


def read_header_in_child(request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Sandbox target: {"path", "limits"} -> one reply whose meta is the Header."""
    yield asdict(read_header(Path(request["path"]), ReadLimits(**request["limits"]))), b""


class HeaderReader:
    """Reads headers in a pool of limited child processes; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._limits = asdict(ReadLimits.of_settings(settings))
        self._pool = LimitedPool(
            HEADER_TARGET,
            processes=settings.parse_processes,
            limits=ChildLimits(settings.child_memory_bytes, settings.parse_timeout_s),
            reasons=ChildReasons(Reason.PARSE_CRASHED, Reason.PARSE_TIMEOUT, Reason.PARSE_CRASHED),
        )

    def read(self, path: Path) -> Header:
        """The header of a stored file; raises as `read_header` does, or ChildCrashedError."""
        replies = list(islice(self._pool.call({"path": str(path), "limits": self._limits}), 2))
        if len(replies) != 1:
            raise ChildCrashedError("the header's reader gave no single answer", reason=Reason.PARSE_CRASHED)
        return _checked(replies[0].meta)

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()


def _uids(dataset: FileDataset) -> dict[str, str]:
    file_meta = dataset.file_meta
    sop_class_uid = uid(dataset, "SOPClassUID") or uid(file_meta, "MediaStorageSOPClassUID")
    if sop_class_uid == MediaStorageDirectoryStorage:
        raise InvalidDicomError("a DICOMDIR lists other files; send the files themselves", reason=Reason.DICOMDIR)
    uids = {
        "study_instance_uid": uid(dataset, "StudyInstanceUID"),
        "series_instance_uid": uid(dataset, "SeriesInstanceUID"),
        "sop_instance_uid": uid(dataset, "SOPInstanceUID") or uid(file_meta, "MediaStorageSOPInstanceUID"),
        "sop_class_uid": sop_class_uid,
    }
    missing = [name for name, value in uids.items() if not value]
    if missing and dataset.preamble is None and len(missing) == len(uids):
        raise InvalidDicomError("the file has no DICM prefix and no UIDs; expected a PS3.10 file")
    if missing:
        raise InvalidDicomError(
            f"the file lacks {', '.join(missing)}; expected all four UIDs: ask the sender to complete it",
            reason=Reason.MISSING_UID,
        )
    return uids | {"transfer_syntax_uid": uid(file_meta, "TransferSyntaxUID") or _found_encoding(dataset)}


def _found_encoding(dataset: FileDataset) -> str:
    """The uncompressed transfer syntax that fits how a file without file meta was read."""
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian)


def _acquisition_at(dataset: Dataset) -> str:
    """When the image was taken, as a DICOM DT value: YYYYMMDDHHMMSS.FFFFFF, as far as it is known."""
    at = text(dataset, "AcquisitionDateTime")
    date = text(dataset, "AcquisitionDate")
    return at or (date and date + text(dataset, "AcquisitionTime"))


def _checked(meta: dict[str, Any]) -> Header:
    """The child is not trusted: take the fields we know, of the types and lengths we expect."""
    planes = planes_of_document(meta.get("planes"))
    meta = {name: value for name, value in meta.items() if name != "planes"}
    kinds = {field.name: field.type for field in fields(Header) if field.name != "planes"}
    if meta.keys() != kinds.keys() or any(type(meta[name]) is not kind for name, kind in kinds.items()):
        raise ChildCrashedError("the header's reader gave fields we do not know", reason=Reason.PARSE_CRASHED)
    if any(isinstance(value, str) and len(value) > MAX_PERSON_NAME for value in meta.values()):
        raise ChildCrashedError("the header's reader gave a text too long", reason=Reason.PARSE_CRASHED)
    return Header(**meta, planes=planes)
