"""What a verification found: the checks of the record, and what came of the instances that it computed again."""

from collections import Counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.schemas.verifications import CheckShown, Verdict, VerificationShown
from shared.models import Instance, Item, Job, Verification
from shared.reasons import ALTERED, REASON_TEXTS, Reason
from shared.repositories.verifications import RECORD
from shared.states import FINAL_JOB_STATES, ItemState

RECORD_CHECKS = ("document", "audit_event", "audit_chain", "review", "documents", "predictions", "inputs", "model")
RECOMPUTED = "computed_again"
MOST_TOLD = 20


def verification_shown(session: Session, verification: Verification, job: Job) -> VerificationShown:
    """As it stands; the checks are there from the beginning, those that nobody came to without an answer."""
    checks = [*_of_record(verification), _recomputed(session, job)]
    base = f"/api/v1/jobs/{job.id}"
    return VerificationShown(
        job=job.id,
        report=verification.report_id,
        state=job.state,
        verdict=_verdict(job, checks),
        sample=verification.sample,
        checks=checks,
        created_at=job.created_at,
        finished_at=job.finished_at,
        links={"self": f"{base}/verification", "job": base, "report": f"/api/v1/reports/{verification.report_id}"},
    )


def _verdict(job: Job, checks: list[CheckShown]) -> Verdict:
    if any(check.passed is False for check in checks):
        return Verdict.DIFFERS
    if job.state not in FINAL_JOB_STATES:
        return Verdict.PENDING
    return Verdict.PASSED if all(check.passed for check in checks) else Verdict.INCOMPLETE


def _of_record(verification: Verification) -> list[CheckShown]:
    if verification.checks is None:
        return [CheckShown(name=name, passed=None, checked=0, told=["not checked yet"]) for name in RECORD_CHECKS]
    return [CheckShown.model_validate(check) for check in verification.checks]


def _recomputed(session: Session, job: Job) -> CheckShown:
    """Passed where every instance gave the same again; None where one could not be computed, or was not yet."""
    statement = select(Item.state, Item.reason, func.count()).where(Item.job_id == job.id, Item.target != RECORD)
    ended: Counter[tuple[ItemState, Reason | None]] = Counter()
    for state, reason, number in session.execute(statement.group_by(Item.state, Item.reason)):
        ended[state, reason] = number
    differs = any(reason in ALTERED for _, reason in ended)
    is_done = all(state is ItemState.DONE for state, _ in ended)
    told = _told(session, job) if not is_done else []
    if not ended:
        told = ["no instance was to be computed again"]
    passed = False if differs else True if ended and is_done else None
    return CheckShown(name=RECOMPUTED, passed=passed, checked=ended[ItemState.DONE, None], told=told)


def _told(session: Session, job: Job) -> list[str]:
    statement = (
        select(Instance.sop_instance_uid, Item.state, Item.reason, Item.detail)
        .join(Instance, Instance.id == Item.instance_id)
        .where(Item.job_id == job.id, Item.state != ItemState.DONE)
        .order_by(Item.state == ItemState.PENDING, Item.id)
        .limit(MOST_TOLD)
    )
    return [_sentence(row) for row in session.execute(statement)]


def _sentence(row: Any) -> str:
    why = row.detail or (REASON_TEXTS[row.reason] if row.reason else f"it is {row.state}")
    return f"instance {row.sop_instance_uid}: {why}"
