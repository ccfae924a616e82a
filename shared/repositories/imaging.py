"""The DICOM index: what was stored becomes patient, study, series and instance rows."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.dicom.read import Header
from shared.identifiers import new_patient_key
from shared.models import Blob, Instance, Patient, Series, Site, Study


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


def instance_of_blob(session: Session, sha256: str) -> Instance | None:
    """The instance whose bytes these are."""
    return session.scalar(select(Instance).where(Instance.blob_sha256 == sha256))


def index_instance(session: Session, header: Header, sha256: str, site: Site) -> Instance:
    """Rows for a stored file, made where they are new; conflicts with earlier files are flagged on both."""
    patient = _patient(session, header, site)
    study = _study(session, header, patient)
    series = _series(session, header, study)
    instance = Instance(
        series_id=series.id,
        blob_sha256=sha256,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        photometric_interpretation=header.photometric_interpretation,
        rows=header.rows,
        columns=header.columns,
        samples_per_pixel=header.samples_per_pixel,
        bits_allocated=header.bits_allocated,
        number_of_frames=max(1, header.number_of_frames),
        has_pixel_data=header.has_pixel_data,
        sop_conflict=_flag_shared_uid(session, header.sop_instance_uid),
        acquisition_at=header.acquisition_at,
        created_at=utc_now(),
    )
    session.add(instance)
    session.flush()
    return instance


def _first_or_new(session: Session, kind: Any, key: dict[str, Any], rest: dict[str, Any]) -> tuple[Any, bool]:
    found = session.scalar(select(kind).filter_by(**key))
    if found is not None:
        return found, False
    made = kind(**key, **rest)
    session.add(made)
    session.flush()
    return made, True


def _patient(session: Session, header: Header, site: Site) -> Patient:
    key = {
        "issuer": header.issuer_of_patient_id or site.name,
        "patient_id": header.patient_id,
        "anonymous_study_uid": "" if header.patient_id else header.study_instance_uid,
    }
    rest = {
        "key": new_patient_key(),
        "patient_name": header.patient_name,
        "patient_birth_date": header.patient_birth_date,
        "patient_sex": header.patient_sex,
        "site_id": site.id,
        "created_at": utc_now(),
    }
    patient, _ = _first_or_new(session, Patient, key, rest)
    return patient  # type: ignore[no-any-return]


def _study(session: Session, header: Header, patient: Patient) -> Study:
    key = {"patient_id": patient.id, "study_instance_uid": header.study_instance_uid}
    rest = {"study_date": header.study_date, "study_time": header.study_time, "created_at": utc_now()}
    study, is_new = _first_or_new(session, Study, key, rest)
    if is_new:
        same_uid = Study.study_instance_uid == header.study_instance_uid
        others = session.scalars(select(Study.id).where(same_uid, Study.id != study.id)).all()
        if others:
            session.execute(update(Study).where(same_uid).values(patient_conflict=True))
    return study  # type: ignore[no-any-return]


def _series(session: Session, header: Header, study: Study) -> Series:
    key = {"study_id": study.id, "series_instance_uid": header.series_instance_uid}
    rest = {
        "modality": header.modality,
        "body_part_examined": header.body_part_examined,
        "manufacturer": header.manufacturer,
        "created_at": utc_now(),
    }
    series, _ = _first_or_new(session, Series, key, rest)
    return series  # type: ignore[no-any-return]


def _flag_shared_uid(session: Session, sop_instance_uid: str) -> bool:
    same_uid = Instance.sop_instance_uid == sop_instance_uid
    if session.scalar(select(Instance.id).where(same_uid).limit(1)) is None:
        return False
    session.execute(update(Instance).where(same_uid).values(sop_conflict=True))
    return True
