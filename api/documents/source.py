"""What the documents of a report version are made of, read before any of them is made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from api.pictures import Wanted
from api.views.heat_maps import explained_document
from shared.models import Instance, ModelVersion, Patient, Report, Series, Site, Study

# Another number where the same report would look otherwise: what was cached of an unsigned one is made again.
EDITION = 3
_SITE = select(Site.name).join(Patient, Patient.site_id == Site.id).where(Patient.key == bindparam("key"))


@dataclass(frozen=True)
class IndexedStudy:
    """What a study's objects say of it beside what the document does; texts are empty where its files do not say."""

    study_time: str = ""
    study_id: str = ""
    accession_number: str = ""
    study_description: str = ""
    timezone_offset: str = ""


@dataclass(frozen=True)
class IndexedInstance:
    """What other systems name an instance by, as the index has it; it never changes, for it is the file's own word."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    body_part_examined: str
    laterality: str
    sop_instance_uid: str
    sop_class_uid: str
    number_of_frames: int


@dataclass(frozen=True)
class Source:
    """The version's document, whose rows of evidence name their heat maps, and what those maps' pictures are made of.

    `document["version"]` has its id, number and status, so a version can have documents before its row is committed.
    `pictures` are by the id of the heat map, `instances`, those that the evidence names, by the sha256 of their bytes,
    `studies`, all that the document names, by their UID; `previous` is the document of the version before this one,
    `site` the name that stands for the issuer of the patient's number where the files name none.
    """

    document: dict[str, Any]
    content_digest: str
    pictures: Mapping[int, Wanted]
    instances: Mapping[str, IndexedInstance] = field(default_factory=dict)
    studies: Mapping[str, IndexedStudy] = field(default_factory=dict)
    previous: dict[str, Any] | None = None
    site: str = ""

    @property
    def issuer(self) -> str:
        """Who gave the patient's number, as the files say; empty where they do not."""
        issuer = str(self.document["patient"]["issuer"])
        return "" if issuer == self.site else issuer

    @property
    def digest(self) -> str:
        """sha256 of all that the documents depend on."""
        maps = {
            number: [wanted.map_path.rpartition("/")[2], wanted.position] for number, wanted in self.pictures.items()
        }
        whole = json.dumps([EDITION, self.content_digest, maps], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


def source_of(session: Session, document: dict[str, Any], content_digest: str, version: ModelVersion) -> Source:
    """The source of a report version, of which there need not be a row yet."""
    told = document
    if "version" not in document:
        told = document | {"version": _told_by_row(session, document, content_digest, version)}
    explained, pictures = explained_document(session, told, version)
    instances, studies = _instances(session, explained), _studies(session, explained)
    site = session.scalars(_SITE, {"key": told["patient"]["key"]}).one()
    return Source(explained, content_digest, pictures, instances, studies, _previous(session, told), site)


def _told_by_row(
    session: Session, document: dict[str, Any], content_digest: str, version: ModelVersion
) -> dict[str, Any]:
    """What a document from before documents said it says of its version now: all were of machines, and preliminary."""
    of_chain = (Patient.key == document["patient"]["key"], Report.model_version_id == version.id)
    found = select(Report).join(Report.patient).where(*of_chain, Report.content_digest == content_digest)
    return _told_of(session.scalars(found.limit(1)).one())


def _previous(session: Session, document: dict[str, Any]) -> dict[str, Any] | None:
    """The document of the version before; none before the first, and of documents that do not say what it was."""
    since = (document.get("changes") or {}).get("since")
    row = session.get(Report, UUID(since["id"])) if since else None
    return {"version": _told_of(row)} | row.document if row else None


def _told_of(row: Report) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "number": row.number,
        "status": row.status.value,
        "origin": row.origin.value,
        "created_at": row.created_at.isoformat(),
        "by": None,
        "signs": None,
    }


def _instances(session: Session, document: dict[str, Any]) -> dict[str, IndexedInstance]:
    blobs = {one["blob_sha256"] for finding in document["findings"] for one in finding["evidence"]}
    statement = (
        select(
            Instance.blob_sha256,
            Study.study_instance_uid,
            Series.series_instance_uid,
            Series.modality,
            Series.body_part_examined,
            Series.laterality,
            Instance.sop_instance_uid,
            Instance.sop_class_uid,
            Instance.number_of_frames,
        )
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .where(Instance.blob_sha256.in_(sorted(blobs)))
    )
    names = [one.name for one in fields(IndexedInstance)]
    rows = session.execute(statement)
    return {row.blob_sha256: IndexedInstance(**{name: getattr(row, name) for name in names}) for row in rows}


def _studies(session: Session, document: dict[str, Any]) -> dict[str, IndexedStudy]:
    names = [one.name for one in fields(IndexedStudy)]
    columns = [getattr(Study, name) for name in names]
    statement = select(Study.study_instance_uid, *columns).join(Study.patient)
    rows = session.execute(statement.where(Patient.key == document["patient"]["key"]))
    return {uid: IndexedStudy(*said) for uid, *said in rows}
