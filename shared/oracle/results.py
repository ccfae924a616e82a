"""Every done item has its frames' predictions once each, and every prediction belongs to a done item."""

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.models import Instance, Item, Job, ModelVersion, Prediction, TrainingRun, Verification
from shared.oracle.findings import Finding, Verdict, found
from shared.states import FINAL_ITEM_STATES, ItemState, JobKind, JobState


def check_results(session: Session) -> Iterator[Finding]:
    """Items against predictions, both ways, and the reasons of what has none."""
    yield from _missing(session)
    yield from _untrained(session)
    yield from _unverified(session)
    yield from _doubled(session)
    yield from _unaccounted(session)
    yield from _reasons(session)


def _missing(session: Session) -> Iterator[Finding]:
    """A reused item has the predictions that another job of its generation made."""
    frames = func.count(func.distinct(Prediction.frame))
    # A package that selects frames leaves holes between their numbers.
    takes_all = func.coalesce(ModelVersion.contract["slices"]["select"]["kind"].as_string(), "all") == "all"
    has_holes = (func.min(Prediction.frame) != 1) | (func.max(Prediction.frame) != frames)
    statement = (
        select(Item.id)
        .join(Job, Job.id == Item.job_id)
        .join(ModelVersion, ModelVersion.id == Item.model_version_id)
        .outerjoin(Instance, Instance.id == Item.instance_id)
        .outerjoin(
            Prediction,
            (Prediction.blob_sha256 == Instance.blob_sha256)
            & (Prediction.model_digest == ModelVersion.digest)
            & (Prediction.generation == Job.generation),
        )
        .where(Item.state == ItemState.DONE, Job.kind == JobKind.INFERENCE)
        .group_by(Item.id, Item.frames, ModelVersion.id)
        .having((frames < Item.frames) | (frames < 1) | (takes_all & has_holes))
    )
    yield from found(session, Verdict.LOST, "a done item lacks predictions of its frames", "item", statement)


def _untrained(session: Session) -> Iterator[Finding]:
    without = (
        select(Item.id)
        .join(Job, Job.id == Item.job_id)
        .outerjoin(TrainingRun, TrainingRun.job_id == Job.id)
        .where(Item.state == ItemState.DONE, Job.kind == JobKind.TRAINING, TrainingRun.model_version_id.is_(None))
    )
    yield from found(session, Verdict.LOST, "a training that is done has no model version", "item", without)


def _unverified(session: Session) -> Iterator[Finding]:
    without = (
        select(Job.id)
        .outerjoin(Verification, Verification.job_id == Job.id)
        .where(Job.state == JobState.DONE, Job.kind == JobKind.VERIFICATION, Verification.checks.is_(None))
    )
    yield from found(session, Verdict.LOST, "a verification that is done says nothing of the record", "job", without)


def _doubled(session: Session) -> Iterator[Finding]:
    key = (Prediction.blob_sha256, Prediction.model_digest, Prediction.frame, Prediction.generation)
    statement = select(func.max(Prediction.id)).group_by(*key).having(func.count() > 1)
    yield from found(session, Verdict.DOUBLED, "a frame was predicted twice by one model", "prediction", statement)


def _unaccounted(session: Session) -> Iterator[Finding]:
    done = (
        select(Item.id)
        .join(Instance, Instance.id == Item.instance_id)
        .join(Job, Job.id == Item.job_id)
        .join(ModelVersion, ModelVersion.id == Item.model_version_id)
        .where(
            Instance.blob_sha256 == Prediction.blob_sha256,
            ModelVersion.digest == Prediction.model_digest,
            Job.generation == Prediction.generation,
            Item.state == ItemState.DONE,
            Job.kind == JobKind.INFERENCE,
        )
    )
    statement = select(Prediction.id).where(~done.exists())
    yield from found(session, Verdict.DOUBLED, "a prediction belongs to no done item", "prediction", statement)


def _reasons(session: Session) -> Iterator[Finding]:
    unexplained = select(Item.id).where(
        Item.state.in_([ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED]), Item.reason.is_(None)
    )
    yield from found(session, Verdict.WRONG, "an item without a result has no reason", "item", unexplained)
    undated = select(Item.id).where(Item.state.in_(FINAL_ITEM_STATES), Item.finished_at.is_(None))
    yield from found(session, Verdict.WRONG, "an item with an outcome has no time of it", "item", undated)
    bare = select(Item.id).where(Item.quarantined, Item.evidence.is_(None))
    yield from found(session, Verdict.WRONG, "a quarantined item has no evidence", "item", bare)
