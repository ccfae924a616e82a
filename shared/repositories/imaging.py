"""The DICOM index: what was stored becomes patient, study, series and instance rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, func, insert, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.clock import utc_now
from shared.db import AdvisoryLock, take_lock
from shared.dicom.read import Header
from shared.identifiers import new_patient_key
from shared.models import Blob, Instance, Patient, Series, Site, Study
from shared.repositories.parts import in_parts

Row = dict[str, Any]


@dataclass(frozen=True)
class NewInstance:
    """A stored file that is to be indexed; its bytes have no row yet."""

    sha256: str
    size_bytes: int
    media_type: str
    header: Header


def site_named(session: Session, name: str) -> Site:
    """The site of this name, made when it is new."""
    site = session.scalar(select(Site).where(Site.name == name))
    if site is None:
        site = Site(name=name)
        session.add(site)
        session.flush()
    return site


def add_blob(session: Session, sha256: str, size_bytes: int, media_type: str) -> bool:
    """Make the row of stored bytes; False when it was there."""
    if session.get(Blob, sha256) is not None:
        return False
    session.add(Blob(sha256=sha256, size_bytes=size_bytes, media_type=media_type, created_at=utc_now()))
    session.flush()
    return True


def lock_index(session: Session) -> None:
    """Let one transaction at a time index.

    Two that meet the same UID must see each other's rows, or neither flags the conflict; and two that make the same
    patients in another order would deadlock.
    """
    take_lock(session.connection(), AdvisoryLock.INDEX)


def index_instances(session: Session, new: Sequence[NewInstance], site: Site) -> dict[str, int]:
    """Instance ids by digest; rows are made where they are new, conflicts with other files flagged on all sides.

    Each digest comes once. Call `lock_index` first.
    """
    headers = [one.header for one in new]
    patients = [_patient_row(header, site) for header in headers]
    patient_ids = _row_ids(session, Patient, ("issuer", "patient_id", "anonymous_study_uid"), patients)
    studies = [_study_row(header, parent) for header, parent in zip(headers, patient_ids, strict=True)]
    study_ids = _row_ids(session, Study, ("patient_id", "study_instance_uid"), studies)
    series = [_series_row(header, parent) for header, parent in zip(headers, study_ids, strict=True)]
    series_ids = _row_ids(session, Series, ("study_id", "series_instance_uid"), series)
    _add_blobs(session, new)
    instances = [_instance_row(one, parent) for one, parent in zip(new, series_ids, strict=True)]
    instance_ids = _row_ids(session, Instance, ("blob_sha256",), instances)
    _flag_shared(session, Study.study_instance_uid, Study.patient_conflict, studies)
    _flag_shared(session, Instance.sop_instance_uid, Instance.sop_conflict, instances)
    return {one.sha256: instance_id for one, instance_id in zip(new, instance_ids, strict=True)}


def _add_blobs(session: Session, new: Sequence[NewInstance]) -> None:
    known: set[str] = set()
    for some in in_parts([one.sha256 for one in new]):
        known.update(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(some))))
    rows = [
        {"sha256": one.sha256, "size_bytes": one.size_bytes, "media_type": one.media_type, "created_at": utc_now()}
        for one in new
        if one.sha256 not in known
    ]
    if rows:
        session.execute(insert(Blob), rows)


def _row_ids(session: Session, table: Any, key: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """The id of each row: of the one with its natural key, made where there is none; of equals the first is made."""
    columns = [getattr(table, name) for name in key]
    wanted: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        wanted.setdefault(tuple(row[name] for name in key), row)
    found: dict[tuple[Any, ...], int] = {}
    for some in in_parts(list(wanted)):
        statement = select(table.id, *columns).where(tuple_(*columns).in_(some))
        found.update({tuple(values): row_id for row_id, *values in session.execute(statement)})
    fresh = [row for values, row in wanted.items() if values not in found]
    if fresh:
        made = session.execute(insert(table).returning(table.id, *columns), fresh)
        found.update({tuple(values): row_id for row_id, *values in made})
    return [found[tuple(row[name] for name in key)] for row in rows]


def _flag_shared(
    session: Session, uid: InstrumentedAttribute[str], flag: InstrumentedAttribute[bool], rows: Sequence[Row]
) -> None:
    """Set the flag on all rows whose UID another row has too."""
    for some in in_parts(sorted({row[uid.key] for row in rows})):
        shared = select(uid).where(uid.in_(some)).group_by(uid).having(func.count() > 1)
        uids = session.scalars(shared).all()
        if uids:
            session.execute(update(uid.class_).where(uid.in_(uids), flag.is_(False)).values({flag.key: True}))


def _fitting(table: Any, row: Row) -> Row:
    """Cut texts to what their columns hold: a file may say more than its VR allows, which PostgreSQL refuses."""
    columns = table.__table__.columns
    return {
        name: value[: columns[name].type.length]
        if isinstance(value, str) and isinstance(columns[name].type, String)
        else value
        for name, value in row.items()
    }


def _patient_row(header: Header, site: Site) -> Row:
    row = {
        "issuer": header.issuer_of_patient_id or site.name,
        "patient_id": header.patient_id,
        "anonymous_study_uid": "" if header.patient_id else header.study_instance_uid,
        "key": new_patient_key(),
        "patient_name": header.patient_name,
        "patient_birth_date": header.patient_birth_date,
        "patient_sex": header.patient_sex,
        "site_id": site.id,
        "created_at": utc_now(),
    }
    return _fitting(Patient, row)


def _study_row(header: Header, patient_id: int) -> Row:
    row = {
        "patient_id": patient_id,
        "study_instance_uid": header.study_instance_uid,
        "study_date": header.study_date,
        "study_time": header.study_time,
        "study_id": header.study_id,
        "accession_number": header.accession_number,
        "study_description": header.study_description,
        "timezone_offset": header.timezone_offset,
        "created_at": utc_now(),
    }
    return _fitting(Study, row)


def _series_row(header: Header, study_id: int) -> Row:
    row = {
        "study_id": study_id,
        "series_instance_uid": header.series_instance_uid,
        "modality": header.modality,
        "body_part_examined": header.body_part_examined,
        "laterality": header.laterality,
        "manufacturer": header.manufacturer,
        "created_at": utc_now(),
    }
    return _fitting(Series, row)


def _instance_row(new: NewInstance, series_id: int) -> Row:
    header = new.header
    row = {
        "series_id": series_id,
        "blob_sha256": new.sha256,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "photometric_interpretation": header.photometric_interpretation,
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": header.samples_per_pixel,
        "bits_allocated": header.bits_allocated,
        "number_of_frames": max(1, header.number_of_frames),
        "has_pixel_data": header.has_pixel_data,
        "acquisition_at": header.acquisition_at,
        "instance_number": header.instance_number,
        "planes": list(header.planes) or None,
        "created_at": utc_now(),
    }
    return _fitting(Instance, row)
