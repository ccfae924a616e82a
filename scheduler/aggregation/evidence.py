"""What one model version has said about patients so far: predictions, and instances left out with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from shared.db import among
from shared.dicom.planes import Planes, planes_of_document
from shared.models import Instance, Item, ModelVersion, Prediction, Series, Study
from shared.reasons import Reason
from shared.reports.provenance import inputs_digest
from shared.states import ItemState

# The probability of each finding.
Vector = tuple[float, ...]


class Computed(NamedTuple):
    """What computed a frame's probabilities; no size of batch in rows from before that was recorded."""

    engine: str
    precision: str
    batch_size: int | None


@dataclass
class _Predicted:
    """The newest generation of one blob's predictions, by the frame's number."""

    generation: int
    environment_id: int | None
    frames: dict[int, tuple[Vector, Computed]] = field(default_factory=dict)


# By the sha256 of the blob.
_Frames = dict[str, _Predicted]


class InstanceEvidence(NamedTuple):
    """One instance: its frames' probability vectors and what computed each, or why there are none."""

    blob_sha256: str
    sop_instance_uid: str
    series_instance_uid: str
    study_row: int
    conflict: bool
    frames: tuple[tuple[int, Vector], ...] = ()
    reason: Reason | None = None
    detail: str = ""
    computed_by: tuple[Computed, ...] = ()
    number_of_frames: int = 1
    instance_number: int = 0
    planes: Planes = ()
    generation: int = 0
    environment_id: int | None = None


class StudyFacts(NamedTuple):
    """A study of the patient, as far as time scope needs it."""

    row: int
    study_instance_uid: str
    study_date: str
    study_time: str
    conflict: bool
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that a report is made of."""

    studies: tuple[StudyFacts, ...]
    instances: tuple[InstanceEvidence, ...]

    def digest(self, model_digest: str) -> str:
        """sha256 of the inputs: the same inputs make no new report version."""
        studies = ((one.study_instance_uid, one.study_date, one.conflict) for one in self.studies)
        inputs = ((one.blob_sha256, one.reason or "", one.conflict, one.frames) for one in self.instances)
        return inputs_digest(model_digest, studies, inputs)


# Made once: a look at a few patients takes less time than building its statements.
INSTANCES = (
    select(
        Study.patient_id,
        Instance.id,
        Instance.blob_sha256,
        Instance.sop_instance_uid,
        Instance.sop_conflict,
        Instance.number_of_frames,
        Instance.instance_number,
        Instance.planes,
        Series.series_instance_uid,
        Series.modality,
        Study.id.label("study_row"),
        Study.study_instance_uid,
        Study.study_date,
        Study.study_time,
        Study.patient_conflict,
    )
    .join(Series, Series.id == Instance.series_id)
    .join(Study, Study.id == Series.study_id)
    .where(among(Study.patient_id, "patient_ids"))
    .order_by(Instance.id)
)
PREDICTIONS = (
    select(
        Prediction.blob_sha256,
        Prediction.frame,
        Prediction.probabilities,
        Prediction.engine,
        Prediction.precision,
        Prediction.batch_size,
        Prediction.generation,
        Prediction.environment_id,
    )
    .where(among(Prediction.blob_sha256, "blobs"), Prediction.model_digest == bindparam("model_digest"))
    .order_by(Prediction.generation)
)

# Which of an instance's outcomes by one model speaks: what was predicted stays predicted, whatever a later job that
# was cancelled or failed says; a failure tells more than a cancel, and so does that the package does not want it.
_PRECEDENCE = (ItemState.DONE, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED)
_NEWEST = (
    select(func.max(Item.id))
    .where(
        among(Item.instance_id, "instance_ids"),
        Item.model_version_id == bindparam("model_version_id"),
        Item.state.in_(_PRECEDENCE),
    )
    .group_by(Item.instance_id, Item.state)
)
OUTCOMES = select(Item.instance_id, Item.state, Item.reason, Item.detail).where(Item.id.in_(_NEWEST))


def gather(session: Session, patient_ids: Sequence[int], version: ModelVersion) -> dict[int, Evidence]:
    """Read the patients' evidence; instances this model was never asked about are not part of it."""
    rows = session.execute(INSTANCES, {"patient_ids": patient_ids}).all()
    # In this order: what is known to be done has its frames by then, also where every query sees what is new.
    outcomes = _outcomes(session, [row.id for row in rows], version.id)
    frames = _frames(session, [row.blob_sha256 for row in rows], version.digest)
    by_patient: dict[int, list[Any]] = {patient_id: [] for patient_id in patient_ids}
    for row in rows:
        by_patient[row.patient_id].append(row)
    return {patient_id: _of_patient(rows, frames, outcomes) for patient_id, rows in by_patient.items()}


def _of_patient(rows: Sequence[Any], frames: _Frames, outcomes: Mapping[int, Any]) -> Evidence:
    asked = [(row, outcomes[row.id]) for row in rows if row.id in outcomes]
    by_study: dict[int, list[Any]] = {}
    for row, _ in asked:
        by_study.setdefault(row.study_row, []).append(row)
    return Evidence(
        tuple(_study(of_study) for of_study in by_study.values()),
        tuple(_instance(row, frames.get(row.blob_sha256), outcome) for row, outcome in asked),
    )


def _study(rows: Sequence[Any]) -> StudyFacts:
    modalities = {row.modality for row in rows} - {""}
    one = rows[0]
    return StudyFacts(
        one.study_row,
        one.study_instance_uid,
        one.study_date,
        one.study_time,
        one.patient_conflict,
        tuple(sorted(modalities)),
    )


def _frames(session: Session, blobs: Sequence[str], digest: str) -> _Frames:
    """Probability vectors by blob and frame; a later generation supersedes an earlier one."""
    found: _Frames = {}
    for row in session.execute(PREDICTIONS, {"blobs": blobs, "model_digest": digest}):
        known = found.get(row.blob_sha256)
        # An instance's frames are predicted all or none, so a generation is never mixed with another.
        if known is None or known.generation < row.generation:
            known = found[row.blob_sha256] = _Predicted(row.generation, row.environment_id)
        computed = Computed(row.engine, row.precision, row.batch_size)
        known.frames[row.frame] = _vector(row.probabilities), computed
    return found


def _vector(probabilities: Sequence[float]) -> Vector:
    """Each a float, and none -0.0, which not every database gives back."""
    return tuple([float(one) or 0.0 for one in probabilities])


def _outcomes(session: Session, instance_ids: Sequence[int], model_version_id: int) -> dict[int, Any]:
    """The outcome that speaks for each instance: of the first state of `_PRECEDENCE` there is, the newest item."""
    given = {"instance_ids": instance_ids, "model_version_id": model_version_id}
    rows = sorted(session.execute(OUTCOMES, given), key=lambda row: _PRECEDENCE.index(row.state), reverse=True)
    return {row.instance_id: row for row in rows}


def _instance(row: Any, predicted: _Predicted | None, outcome: Any) -> InstanceEvidence:
    """Frames count only once an item ended well: an item that failed half-way leaves no half answer."""
    done = predicted is not None and outcome.state is ItemState.DONE
    shown = sorted(predicted.frames.items()) if predicted and done else []
    return InstanceEvidence(
        blob_sha256=row.blob_sha256,
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        study_row=row.study_row,
        conflict=row.sop_conflict,
        frames=tuple((number, vector) for number, (vector, _) in shown),
        computed_by=tuple(computed for _, (_, computed) in shown),
        reason=None if done else outcome.reason,
        detail="" if done else outcome.detail,
        number_of_frames=row.number_of_frames,
        instance_number=row.instance_number,
        planes=planes_of_document(row.planes),
        generation=predicted.generation if predicted else 0,
        environment_id=predicted.environment_id if predicted else None,
    )
