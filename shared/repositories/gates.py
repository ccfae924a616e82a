"""Gate decisions: what a comparison needs to know, what came of it, and whether the candidate serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session, aliased, joinedload, undefer

from shared.clock import utc_now
from shared.model_contract import ModelContract
from shared.models import Dataset, DatasetPatient, GateDecision, Job, ModelVersion, Patient, TrainingRun
from shared.repositories.audit import add_audit_event
from shared.repositories.parts import in_parts
from shared.repositories.registry import promote
from shared.states import GateOutcome, ModelState, Split


@dataclass(frozen=True)
class HoldoutUse:
    """How often a model's candidates were judged before, and how many patients are judged on for the first time."""

    times_before: int
    new_patients: int


def holdout_use(session: Session, dataset: Dataset) -> HoldoutUse:
    """Of the holdout of this snapshot."""
    earlier = select(GateDecision.dataset_id).join(GateDecision.dataset).where(Dataset.model == dataset.model)
    earlier = earlier.where(GateDecision.is_measured)
    times = session.scalar(select(func.count()).select_from(earlier.subquery()))
    known = aliased(DatasetPatient)
    was_used = select(known.patient_id).where(
        known.patient_id == DatasetPatient.patient_id, known.split == Split.HOLDOUT, known.dataset_id.in_(earlier)
    )
    mine = (DatasetPatient.dataset_id == dataset.id, DatasetPatient.split == Split.HOLDOUT)
    new = session.scalar(select(func.count()).select_from(DatasetPatient).where(*mine, ~was_used.exists()))
    return HoldoutUse(times or 0, new or 0)


def people_named(session: Session, keys: Sequence[str]) -> dict[str, Row[Any]]:
    """`patient_sex` and `patient_birth_date` by a patient's key."""
    columns = (Patient.key, Patient.patient_sex, Patient.patient_birth_date)
    found: dict[str, Row[Any]] = {}
    for some in in_parts(sorted(keys)):
        found |= {row.key: row for row in session.execute(select(*columns).where(Patient.key.in_(some)))}
    return found


def is_of_known_origin(session: Session, version_id: int) -> bool:
    """Whether all that a version learnt from is in snapshots: it began with new weights, or with such a version's.

    Nothing is all that a package learnt from which says that it is untrained.
    """
    seen: set[int] = set()
    while version_id not in seen:
        seen.add(version_id)
        began = select(TrainingRun.options, Job.model_version_id).join(Job, Job.id == TrainingRun.job_id)
        run = session.execute(began.where(TrainingRun.model_version_id == version_id).limit(1)).first()
        if run is None:
            contract = session.get_one(ModelVersion, version_id).contract
            return ModelContract.model_validate(contract).is_untrained
        if run.options["start"] == "scratch":
            return True
        version_id = run.model_version_id
    return False


def decide(
    session: Session,
    job: Job,
    version: ModelVersion,
    champion: ModelVersion,
    dataset: Dataset,
    reasons: Sequence[str],
    record: Mapping[str, Any],
) -> GateDecision:
    """Write the decision and do what it says; call `lock_name` first, and see that this is the champion still.

    Without reasons against it the candidate serves, or waits for a person where the `policy` does not promote, or
    where it is no candidate: what served before was taken back by someone, who knew why.
    """
    is_candidate = version.state in (ModelState.CANDIDATE, ModelState.HELD)
    outcome = GateOutcome.HELD
    if not reasons:
        outcome = GateOutcome.PROMOTED if record["policy"]["promotes"] and is_candidate else GateOutcome.PASSED
    decision = GateDecision(
        job_id=job.id,
        model_version_id=version.id,
        champion_id=champion.id,
        dataset_id=dataset.id,
        outcome=outcome,
        reasons=list(reasons),
        is_measured=bool(record["measures"]),
        record=dict(record),
        created_at=utc_now(),
    )
    session.add(decision)
    session.flush()
    if outcome is GateOutcome.PROMOTED:
        promote(session, version, job.principal_id, gate_decision_id=decision.id)
    elif outcome is GateOutcome.HELD and version.state is ModelState.CANDIDATE:
        version.state = ModelState.HELD
    detail = {"gate": decision.id, "outcome": outcome, "champion": champion.version}
    add_audit_event(session, job.principal_id, "model.judge", "model_version", version.id, **detail)
    return decision


# One against itself is what a training that gave the same version once more ends with, and says nothing.
_COMPARED = GateDecision.champion_id != GateDecision.model_version_id


def decision_on(session: Session, version: ModelVersion) -> GateDecision | None:
    """The latest decision on a version, whole."""
    statement = select(GateDecision).where(GateDecision.model_version_id == version.id, _COMPARED)
    together = (joinedload(GateDecision.champion), joinedload(GateDecision.dataset), undefer(GateDecision.record))
    return session.scalar(statement.options(*together).order_by(GateDecision.id.desc()).limit(1))


def list_decisions(session: Session, *, before: int | None, limit: int) -> Sequence[GateDecision]:
    """Decisions without their records, the last first, older than the cursor `before`."""
    statement = select(GateDecision).where(_COMPARED)
    if before is not None:
        statement = statement.where(GateDecision.id < before)
    together = (joinedload(GateDecision.champion), joinedload(GateDecision.model_version))
    return session.scalars(statement.options(*together).order_by(GateDecision.id.desc()).limit(limit)).all()
