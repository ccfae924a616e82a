"""What a job is about: the instances and rejected files it names, checked against its model, then one transaction."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.errors import ConflictError, InvalidRequestError
from shared.model_package import ModelContract, refusal_of
from shared.models import Instance, Item, Job, ModelVersion, Patient, Prediction, Series, Study, Upload, UploadFile
from shared.planning.slices import Chosen, choose
from shared.reasons import REASON_TEXTS, Reason
from shared.repositories.jobs import Target
from shared.repositories.parts import in_parts
from shared.repositories.predictions import predicted_frames
from shared.repositories.registry import champion, champion_names, numbered
from shared.repositories.retries import POINTLESS, retried_reasons, unfinished
from shared.states import Explain, FileOutcome, ItemState

# Of a long list with many faults, so many are told.
MAX_ERRORS = 100
VERSION_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Selection:
    """What is named: or, to try them again, a job's items that ended without a result for these reasons."""

    uploads: Sequence[UUID] = ()
    studies: Sequence[str] = ()
    patients: Sequence[str] = ()
    instances: Sequence[int] = ()
    jobs: Sequence[UUID] = ()
    unfinished_of: UUID | None = None
    reasons: frozenset[Reason] = field(default_factory=retried_reasons)


@dataclass
class Plan:
    """The items a job would have, and why some need no work."""

    generation: int
    targets: list[Target] = field(default_factory=list)
    duplicates: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        """What would run, for people to look at before they ask for it."""
        failed = Counter(target.reason for target in self.targets if target.state is ItemState.FAILED)
        return {
            "total": len(self.targets),
            "new": sum(target.state is ItemState.PENDING for target in self.targets),
            "duplicate": self.duplicates,
            "already_predicted": sum(target.reused for target in self.targets),
            "not_accepted": failed[Reason.NOT_ACCEPTED_BY_MODEL],
            "not_accepted_why": dict(self.refusals),
            "no_pixel_data": failed[Reason.NO_PIXEL_DATA],
            "not_selected": sum(target.state is ItemState.SKIPPED for target in self.targets),
            "rejected": sum(target.instance_id is None for target in self.targets),
        }


def resolve_model(session: Session, wanted: str) -> ModelVersion:
    """`name`: its champion; `name:3`: that version; empty: the only model there is."""
    names = champion_names(session)
    if not wanted:
        if len(names) != 1:
            known = ", ".join(names) or "none: add one with POST /api/v1/models"
            raise InvalidRequestError(
                f"The job names no model; give `model` with one of: {known}.", errors=_at("/model")
            )
        wanted = names[0]
    found = find_version(session, wanted)
    if found is None:
        known = ", ".join(names) or "none"
        raise InvalidRequestError(
            f"There is no such model version; known models: {known}.", errors=_at("/model", "unknown model")
        )
    return found


def find_version(session: Session, wanted: str) -> ModelVersion | None:
    """A model version by `name` (its champion) or `name:version`."""
    name, colon, number = wanted.partition(":")
    if not colon:
        return champion(session, name)
    return numbered(session, name, int(number)) if VERSION_NUMBER.fullmatch(number) else None


def _at(pointer: str, detail: str = "is missing") -> list[dict[str, str]]:
    return [{"pointer": pointer, "detail": detail}]


def plan_job(
    session: Session, selection: Selection, version: ModelVersion, *, generation: int, explain: Explain
) -> Plan:
    """One target per instance or rejected file, each pending or with its known outcome.

    What has predictions of this generation, explained as far as is asked for, is reused; a forced job has one that is
    new.
    """
    _check_known(session, selection)
    contract = ModelContract.model_validate(version.contract)
    plan = Plan(generation)
    rows = list(_instances(session, selection))
    blobs = [row.blob_sha256 for row in rows]
    predicted = predicted_frames(session, version.digest, blobs, generation=generation, explain=explain)
    files = _file_of_instance(session, selection.uploads)
    unfit = {row.id: found for row in rows if (found := _unfit(row, contract, plan.refusals))}
    chosen = _chosen(session, selection, contract, [row.id for row in rows if row.id not in unfit])
    for row in rows:
        outcome = unfit.get(row.id) or _outcome(row, chosen, predicted.get(row.blob_sha256, 0))
        plan.targets.append(
            Target(
                target=f"instance:{row.id}",
                instance_id=row.id,
                upload_file_id=files.get(row.id),
                patient_id=row.patient_id,
                **outcome,
            )
        )
    for upload_id in dict.fromkeys(selection.uploads):
        _add_rejected(session, upload_id, plan)
    if not plan.targets and selection.unfinished_of is not None:
        raise ConflictError(_nothing_to_retry(session, selection.unfinished_of))
    if not plan.targets:
        raise InvalidRequestError("The job names nothing that is stored; send files first, or check the ids.")
    return plan


def _nothing_to_retry(session: Session, job_id: UUID) -> str:
    refused = select(Item.reason, func.count()).where(
        Item.job_id == job_id, Item.instance_id.is_not(None), unfinished(POINTLESS)
    )
    counts = {reason: number for reason, number in session.execute(refused.group_by(Item.reason)) if reason}
    if not counts:
        return "Only files that were rejected failed, and their bytes were not kept; send them again."
    told = "; ".join(f"{number}: {REASON_TEXTS[reason]}" for reason, number in counts.items())
    return f"What failed would fail again the same way ({told})"


def _check_known(session: Session, selection: Selection) -> None:
    """Refuse a request that names what does not exist: leaving it out would go unnoticed."""
    unknown = [
        *_unknown(session, "uploads", selection.uploads, Upload.id),
        *_unknown(session, "studies", selection.studies, Study.study_instance_uid),
        *_unknown(session, "patients", selection.patients, Patient.key),
        *_unknown(session, "jobs", selection.jobs, Job.id),
    ]
    if unknown:
        raise InvalidRequestError(
            f"The job names {len(unknown)} things that are not stored, the first at {unknown[0]}; send their files "
            "first, or leave them out.",
            errors=[error for pointer in unknown[:MAX_ERRORS] for error in _at(pointer, "is not stored")],
        )


def _unknown(session: Session, field_name: str, named: Sequence[Any], column: InstrumentedAttribute[Any]) -> list[str]:
    known: set[Any] = set()
    for some in in_parts(named):
        known.update(session.scalars(select(column).where(column.in_(some))))
    return [f"/{field_name}/{at}" for at, value in enumerate(named) if value not in known]


def next_generation(session: Session, model_digest: str) -> int:
    """The generation of a forced run: above all there are."""
    predicted = select(func.max(Prediction.generation)).where(Prediction.model_digest == model_digest)
    asked = select(func.max(Job.generation)).join(Job.model_version).where(ModelVersion.digest == model_digest)
    return max(session.scalar(predicted) or 0, session.scalar(asked) or 0) + 1


def _file_of_instance(session: Session, uploads: Sequence[UUID]) -> dict[int, int]:
    """Under which uploaded file an instance first came, so that its item can be shown by the file's name."""
    statement = select(UploadFile.instance_id, func.min(UploadFile.id)).where(
        UploadFile.upload_id.in_(uploads), UploadFile.instance_id.is_not(None)
    )
    rows = session.execute(statement.group_by(UploadFile.instance_id))
    return {instance_id: file_id for instance_id, file_id in rows if instance_id is not None}


def _unfit(row: Any, contract: ModelContract, refusals: Counter[str]) -> dict[str, Any] | None:
    """The outcome of an instance that the model cannot be asked about."""
    refusal = refusal_of(contract, row)
    if refusal is not None:
        refusals[refusal] += 1
        return {"state": ItemState.FAILED, "reason": Reason.NOT_ACCEPTED_BY_MODEL, "detail": refusal}
    if not row.has_pixel_data:
        return {"state": ItemState.FAILED, "reason": Reason.NO_PIXEL_DATA}
    return None


def _chosen(session: Session, selection: Selection, contract: ModelContract, instance_ids: Sequence[int]) -> Chosen:
    """What the package takes of them; a retry's instances were chosen when its first job was accepted."""
    chosen = choose(session, contract.slices.select, instance_ids)
    return chosen if selection.unfinished_of is None else replace(chosen, left_out={})


def _outcome(row: Any, chosen: Chosen, frames_predicted: int) -> dict[str, Any]:
    """What is known of the others beforehand; nothing of those that are to be predicted on."""
    if row.id in chosen.left_out:
        return {"state": ItemState.SKIPPED, "reason": Reason.NOT_SELECTED, "detail": chosen.left_out[row.id]}
    if frames_predicted >= chosen.num_frames.get(row.id, row.number_of_frames):
        return {"state": ItemState.DONE, "frames": frames_predicted, "reused": True}
    return {}


def _instances(session: Session, selection: Selection) -> Iterable[Any]:
    """The named instances once each, ordered so that a patient's instances stand together."""
    columns = (
        select(
            Instance.id,
            Instance.blob_sha256,
            Instance.sop_class_uid,
            Instance.photometric_interpretation,
            Instance.number_of_frames,
            Instance.has_pixel_data,
            Series.modality,
            Series.body_part_examined,
            Study.patient_id,
        )
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
    )
    rows: dict[int, Any] = {}
    for statement in _selected(columns, selection):
        rows.update({row.id: row for row in session.execute(statement)})
    return sorted(rows.values(), key=lambda row: (row.patient_id, row.id))


def _selected(columns: Select[*tuple[Any, ...]], selection: Selection) -> Iterable[Select[*tuple[Any, ...]]]:
    for upload_id in selection.uploads:
        named = select(UploadFile.instance_id).where(UploadFile.upload_id == upload_id)
        yield columns.where(Instance.id.in_(named))
    for uids in in_parts(selection.studies):
        yield columns.where(Study.study_instance_uid.in_(uids))
    for keys in in_parts(selection.patients):
        yield columns.join(Patient, Patient.id == Study.patient_id).where(Patient.key.in_(keys))
    for ids in in_parts(selection.instances):
        yield columns.where(Instance.id.in_(ids))
    for job_id in selection.jobs:
        yield columns.where(Instance.id.in_(select(Item.instance_id).where(Item.job_id == job_id)))
    if selection.unfinished_of is not None:
        wanted = select(Item.instance_id).where(Item.job_id == selection.unfinished_of, unfinished(selection.reasons))
        yield columns.where(Instance.id.in_(wanted))


def _add_rejected(session: Session, upload_id: UUID, plan: Plan) -> None:
    """Files that were refused are items too: a submission's sums must tell of every file.

    Equal bytes are one item, as they are where they are stored: a file that was sent twice counts once.
    """
    statement = select(UploadFile).where(UploadFile.upload_id == upload_id).order_by(UploadFile.id)
    known = {target.target for target in plan.targets}
    for file in session.scalars(statement):
        plan.duplicates += file.outcome is FileOutcome.DUPLICATE
        target = f"file:{file.sha256 or file.id}"
        if file.outcome is FileOutcome.REJECTED and target not in known:
            known.add(target)
            plan.targets.append(
                Target(
                    target=target,
                    upload_file_id=file.id,
                    state=ItemState.FAILED,
                    reason=file.reason,
                    detail=file.detail,
                )
            )
