"""Dataset snapshots: which labelled instances there are, what decides about them, and the frozen lists."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.datasets.truth import Target
from shared.model_contract import ModelContract
from shared.models import (
    Dataset,
    DatasetPatient,
    Instance,
    Label,
    ModelVersion,
    Patient,
    Prediction,
    Series,
    Site,
    Study,
)
from shared.repositories.labels import decides
from shared.repositories.parts import in_parts
from shared.states import Split

INSERT_ROWS = 1000


def said_about(session: Session, findings: Sequence[str]) -> tuple[dict[Target, dict[str, bool]], list[int]]:
    """By target and finding the word that decides, and the patients that anything is said about."""
    said: dict[Target, dict[str, bool]] = defaultdict(dict)
    patients: set[int] = set()
    columns = (Label.level, Label.target_id, Label.patient_id, Label.finding, Label.value)
    statement = select(*columns).where(Label.superseded_at.is_(None), Label.finding.in_(findings), decides())
    for level, target_id, patient_id, finding, value in session.execute(statement):
        said[level, target_id][finding] = value
        patients.add(patient_id)
    return said, sorted(patients)


def instances_of(session: Session, patients: Sequence[int]) -> list[Row[Any]]:
    """Every stored instance of these patients, with all that a snapshot tells of it."""
    columns = (
        Instance.id,
        Instance.blob_sha256,
        Instance.sop_class_uid,
        Instance.photometric_interpretation,
        Instance.number_of_frames,
        Instance.has_pixel_data,
        Instance.planes,
        Series.modality,
        Series.body_part_examined,
        Series.manufacturer,
        Series.series_instance_uid,
        Study.id.label("study_id"),
        Study.study_instance_uid,
        Study.study_date,
        Patient.id.label("patient_id"),
        Patient.key.label("patient_key"),
        Site.name.label("site"),
    )
    found: list[Row[Any]] = []
    for some in in_parts(patients):
        statement = select(*columns).join(Instance.series).join(Series.study).join(Study.patient)
        statement = statement.join(Site, Site.id == Patient.site_id).where(Patient.id.in_(some))
        found += session.execute(statement.order_by(Instance.id))
    return found


def drivers(
    session: Session, version: ModelVersion, contract: ModelContract, instances: Mapping[str, int]
) -> dict[str, frozenset[int]]:
    """By finding, which of these instances (ids by blob) this version holds to be positive by its latest answers."""
    latest: dict[str, tuple[int, list[list[float]]]] = {}
    columns = (Prediction.blob_sha256, Prediction.generation, Prediction.probabilities)
    for some in in_parts(sorted(instances)):
        of_version = (Prediction.model_digest == version.digest, Prediction.blob_sha256.in_(some))
        for blob, generation, probabilities in session.execute(select(*columns).where(*of_version)):
            known = latest.get(blob, (-1, []))
            if generation > known[0]:
                latest[blob] = (generation, [probabilities])
            elif generation == known[0]:
                known[1].append(probabilities)
    return {
        finding.code: frozenset(
            instances[blob]
            for blob, (_, frames) in latest.items()
            if any(frame[at] >= finding.threshold for frame in frames)
        )
        for at, finding in enumerate(contract.findings)
    }


def add_dataset(
    session: Session, sha256: str, model: str, counts: Mapping[str, Any], patients: Mapping[int, Split]
) -> Dataset:
    """The snapshot of this digest, made where it is new; the database refuses one that learns from the holdout."""
    known = session.scalar(select(Dataset).where(Dataset.blob_sha256 == sha256))
    if known is not None:
        return known
    dataset = Dataset(blob_sha256=sha256, model=model, counts=dict(counts), created_at=utc_now())
    session.add(dataset)
    session.flush()
    rows = [
        {"dataset_id": dataset.id, "patient_id": one, "split": split, "is_holdout": split is Split.HOLDOUT}
        for one, split in sorted(patients.items())
    ]
    for start in range(0, len(rows), INSERT_ROWS):
        session.execute(insert(DatasetPatient), rows[start : start + INSERT_ROWS])
    return dataset


def list_datasets(session: Session, *, model: str | None, before: int | None, limit: int) -> Sequence[Dataset]:
    """Snapshots, newest first, older than the cursor `before`."""
    statement = select(Dataset).order_by(Dataset.id.desc()).limit(limit)
    if model is not None:
        statement = statement.where(Dataset.model == model)
    if before is not None:
        statement = statement.where(Dataset.id < before)
    return session.scalars(statement).all()


def dataset_named(session: Session, prefix: str) -> Dataset | None:
    """The snapshot whose digest begins so; None where there is none or several."""
    found = session.scalars(
        select(Dataset).where(Dataset.blob_sha256.startswith(prefix, autoescape=True)).limit(2)
    ).all()
    return found[0] if len(found) == 1 else None
