"""The DICOM hierarchy as indexed from what was stored (PS3.3 A.1): patient, study, series, instance."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.models.base import Base, RowId, Sha256, Uid


class Patient(Base):
    """One person as (issuer, patient_id); without a PatientID, each study is a patient of its own."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("issuer", "patient_id", "anonymous_study_uid"),)

    id: Mapped[RowId]
    key: Mapped[str] = mapped_column(String(32), unique=True)
    issuer: Mapped[str] = mapped_column(String(64))
    patient_id: Mapped[str] = mapped_column(String(64))
    anonymous_study_uid: Mapped[Uid] = mapped_column(default="")
    patient_name: Mapped[str] = mapped_column(String(324), default="")
    patient_birth_date: Mapped[str] = mapped_column(String(16), default="")
    patient_sex: Mapped[str] = mapped_column(String(16), default="")
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    created_at: Mapped[datetime]


class Study(Base):
    """A study of one patient; the same UID under two patients is two rows, both flagged.

    `study_id` is DICOM's Study ID (0020,0010), not a row; `timezone_offset` from UTC is that of its date and time.
    """

    __tablename__ = "study"
    __table_args__ = (UniqueConstraint("patient_id", "study_instance_uid"),)

    id: Mapped[RowId]
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    study_instance_uid: Mapped[Uid] = mapped_column(index=True)
    study_date: Mapped[str] = mapped_column(String(16), default="")
    study_time: Mapped[str] = mapped_column(String(16), default="")
    study_id: Mapped[str] = mapped_column(String(16), default="", server_default=text("''"))
    accession_number: Mapped[str] = mapped_column(String(16), default="", server_default=text("''"))
    study_description: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))
    timezone_offset: Mapped[str] = mapped_column(String(16), default="", server_default=text("''"))
    patient_conflict: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime]

    patient: Mapped[Patient] = relationship(lazy="raise")


class Series(Base):
    """A series of one study."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: Mapped[RowId]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    series_instance_uid: Mapped[Uid]
    modality: Mapped[str] = mapped_column(String(16), default="")
    body_part_examined: Mapped[str] = mapped_column(String(64), default="")
    laterality: Mapped[str] = mapped_column(String(16), default="", server_default=text("''"))
    manufacturer: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]

    study: Mapped[Study] = relationship(lazy="raise")


class Instance(Base):
    """One stored file; files that share a SOPInstanceUID but not their bytes are several rows, all flagged.

    `planes` are those of its frames (shared.dicom.planes); none where the file has none, and in rows from before
    they were recorded, whose `instance_number` is 0.
    """

    __tablename__ = "instance"
    __table_args__ = (
        Index("ix_instance_series_id", "series_id"),
        Index("ix_instance_sop_instance_uid", "sop_instance_uid"),
    )

    id: Mapped[RowId]
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    blob_sha256: Mapped[Sha256] = mapped_column(ForeignKey("blob.sha256"), unique=True)
    sop_instance_uid: Mapped[Uid]
    sop_class_uid: Mapped[Uid]
    transfer_syntax_uid: Mapped[Uid]
    photometric_interpretation: Mapped[str] = mapped_column(String(16), default="")
    rows: Mapped[int]
    columns: Mapped[int]
    samples_per_pixel: Mapped[int]
    bits_allocated: Mapped[int]
    number_of_frames: Mapped[int]
    has_pixel_data: Mapped[bool] = mapped_column(Boolean)
    sop_conflict: Mapped[bool] = mapped_column(Boolean, default=False)
    acquisition_at: Mapped[str] = mapped_column(String(32), default="")
    instance_number: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    planes: Mapped[list[Any] | None]
    created_at: Mapped[datetime]

    series: Mapped[Series] = relationship(lazy="raise")
