"""What the DICOM objects made of a report share: cleaned values, patient and study, bytes. Pure."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from threading import Lock
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from api.documents.identity import made_at
from api.documents.source import IndexedStudy, Source
from shared.dicom.values import MAX_TEXT, clean
from shared.errors import NotFoundError

Document = dict[str, Any]

MANUFACTURER = "Overread"
UTF_8 = "ISO_IR 192"
SEXES = frozenset({"M", "F", "O"})
MAX_TIME = len("HHMMSS")
MAX_SHORT = 16  # characters of a VR SH
MAX_GROUPS, MAX_COMPONENTS = 3, 5  # of a person's name (PS3.5, 6.2.1)
_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
_OFFSET = re.compile(r"(\+(0[0-9]|1[0-4])|-(0[1-9]|1[0-2]))([0-5][0-9])|-00(0[1-9]|[1-5][0-9])")
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")
_one_at_a_time = Lock()


@contextmanager
def as_given() -> Iterator[None]:
    """While DICOM is made: UIDs stand in it as the files have them, well formed or not, and no warning quotes them.

    pydicom's switch for that is one for the process, hence the lock.
    """
    with _one_at_a_time, disable_value_validation():
        yield


def long_string(value: str, limit: int = MAX_TEXT) -> str:
    """As one value of VR LO: no control characters, no delimiter of values."""
    return clean(value.replace("\\", "/"), limit)


def short_string(value: str) -> str:
    """As one value of VR SH."""
    return long_string(value, MAX_SHORT)


def long_text(value: str) -> str:
    """As VR UT: lines without control characters."""
    lines = (clean(line, len(line)) for line in value.splitlines())
    return "\r\n".join(line for line in lines if line)


def person_name(value: str) -> str:
    """As VR PN; a single component ends in its delimiter, which tells it from the form of before 1993."""
    groups = [_name_group(group) for group in long_string(value, len(value)).split("=")[:MAX_GROUPS]]
    return "=".join(groups).rstrip("=")


def principal_name(value: str) -> str:
    """A principal's name as VR PN: of one group, for who registered it meant none."""
    return person_name(value.replace("=", " "))


def _name_group(value: str) -> str:
    first = [part.strip() for part in value.split("^")]
    components = [*first[: MAX_COMPONENTS - 1], " ".join(first[MAX_COMPONENTS - 1 :])]
    name = "^".join(components)[:MAX_TEXT].rstrip("^ ")
    return name if "^" in name or not name else f"{name[: MAX_TEXT - 1]}^"


def date_of(value: str) -> date | None:
    """A date as DICOM writes it (VR DA); none where it is none."""
    if not _DATE.fullmatch(value):
        return None
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return None


def date_time(moment: datetime) -> str:
    """A moment as VR DT, with its offset from UTC."""
    return moment.strftime("%Y%m%d%H%M%S.%f%z")


def time_of(value: str) -> time | None:
    """A time as DICOM writes it (VR TM), to the second; none where it is none."""
    return time.fromisoformat(value[:MAX_TIME]) if _TIME.fullmatch(value) else None


def zone_of(study: IndexedStudy) -> timezone | None:
    """The zone of the study's date and time, where its files say."""
    offset = study.timezone_offset
    if not _OFFSET.fullmatch(offset):
        return None
    away = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    return timezone(away if offset[0] == "+" else -away)


def content_moment(source: Source, study_instance_uid: str) -> datetime:
    """When the version was made, in the zone that an object of the study has for all its times; UTC if none is known.

    PS3.3, C.12.1.1.8: one Timezone Offset From UTC holds for Content Date and Study Date both, so where the files
    name none for the latter, no object made can name one either.
    """
    return made_at(source).astimezone(zone_of(indexed(source, study_instance_uid)) or UTC)


def modality_of(value: str) -> str:
    """A modality as VR CS; OT, other, where it is none."""
    return value if _MODALITY.fullmatch(value) and value == value.strip() else "OT"


def newest_study(source: Source) -> Document:
    """The study that the report belongs to: the newest of those that the result is about."""

    def order(study: Document) -> tuple[bool, str, str, str]:
        uid = study["study_instance_uid"]
        return study["in_scope"], study["study_date"], indexed(source, uid).study_time, uid

    studies: list[Document] = source.document["studies"]
    if not studies:
        raise NotFoundError("The report names no study, so no DICOM object of it can belong to one.")
    newest: Document = max(studies, key=order)
    return newest


def header_of(source: Source, study_instance_uid: str) -> Dataset:
    """Patient and study as every object of that study has them; what the index does not know is empty."""
    patient = source.document["patient"]
    days = {one["study_instance_uid"]: one["study_date"] for one in source.document["studies"]}
    known = indexed(source, study_instance_uid)
    header = Dataset()
    header.SpecificCharacterSet = UTF_8
    header.PatientName = person_name(patient["patient_name"])
    header.PatientID = long_string(patient["patient_id"])
    if patient["patient_id"] and source.issuer:
        header.IssuerOfPatientID = long_string(source.issuer)
    header.PatientBirthDate = patient["patient_birth_date"] if date_of(patient["patient_birth_date"]) else ""
    header.PatientSex = patient["patient_sex"] if patient["patient_sex"] in SEXES else ""
    header.StudyInstanceUID = study_instance_uid
    day = days.get(study_instance_uid, "")
    header.StudyDate = day if date_of(day) else ""
    header.StudyTime = known.study_time if _TIME.fullmatch(known.study_time) else ""
    header.StudyID = short_string(known.study_id)
    header.AccessionNumber = short_string(known.accession_number)
    header.ReferringPhysicianName = ""
    if long_string(known.study_description):
        header.StudyDescription = long_string(known.study_description)
    if zone_of(known):
        header.TimezoneOffsetFromUTC = known.timezone_offset
    return header


def indexed(source: Source, study_instance_uid: str) -> IndexedStudy:
    """What the index knows of a study beside what the document does."""
    return source.studies.get(study_instance_uid, IndexedStudy())


def to_bytes(dataset: Dataset) -> bytes:
    """The object as a file (PS3.10)."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
