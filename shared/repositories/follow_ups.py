"""Follow-ups: what report versions suggest, one standing item for each finding and action of a patient."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.errors import IllegalTransitionError
from shared.identifiers import new_id
from shared.models import FollowUp, FollowUpMove, Report
from shared.repositories.audit import add_audit_events
from shared.repositories.history import changed_rows
from shared.states import (
    FOLLOW_UP_MOVES,
    STANDING_FOLLOW_UPS,
    FollowUpAction,
    FollowUpState,
    ReportOrigin,
    Urgency,
)

Row = Mapping[str, Any]
_URGENCIES = tuple(Urgency)
# What only report versions do.
BY_REPORTS = frozenset({FollowUpState.WITHDRAWN})

# Made once: it runs with every few reports. Locked, so that no person moves one between this look and what it leads to.
_OF_PATIENTS = (
    select(FollowUp)
    .where(FollowUp.patient_id.in_(bindparam("patient_ids", expanding=True)), FollowUp.model_name == bindparam("model"))
    .order_by(FollowUp.id)
    .with_for_update()
)


def note_suggestions(session: Session, reports: Sequence[Row]) -> None:
    """Bring the items up to what these new versions of one model suggest, in the transaction that writes them.

    Call it after their rows are written: who writes the same version at the same moment fails at its unique number, so
    only one of several schedulers gets here with it.
    """
    given = {"patient_ids": sorted({report["patient_id"] for report in reports}), "model": reports[0]["model_name"]}
    known: dict[int, list[FollowUp]] = defaultdict(list)
    for item in session.scalars(_OF_PATIENTS, given):
        known[item.patient_id].append(item)
    added: list[FollowUp] = []
    for report in reports:
        suggested = {(one["finding"], one["action"]): one for one in report["document"]["follow_ups"]}
        items = known[report["patient_id"]]
        if items or suggested:
            new = _bring_up(session, report, items, suggested)
            items += new
            added += new
    session.flush()
    add_audit_events(session, None, "follow_up.suggest", "follow_up", {one.id: {} for one in added})


def _bring_up(
    session: Session, report: Row, items: list[FollowUp], suggested: Mapping[tuple[str, str], Row]
) -> list[FollowUp]:
    """Move the patient's items; the new ones are in the session, and written with those of the other reports."""
    standing = {(one.finding, one.action.value): one for one in items if one.state in STANDING_FOLLOW_UPS}
    over = [one for key, one in standing.items() if key not in suggested and one.state is FollowUpState.OPEN]
    if over:
        session.flush()
        _withdraw(session, report, over, "the newest report does not suggest it")
    added = []
    for key, said in suggested.items():
        if key in standing:
            _suggest_again(session, report, standing[key], said)
        elif not _was_closed(session, [one for one in items if (one.finding, one.action.value) == key], said):
            added.append(_new(report, said))
    session.add_all(_move(one, None, FollowUpState.OPEN) for one in added)
    return added


def _new(report: Row, said: Row) -> FollowUp:
    return FollowUp(
        id=new_id(),
        patient_id=report["patient_id"],
        model_name=report["model_name"],
        report_id=report["id"],
        finding=said["finding"],
        action=FollowUpAction(said["action"]),
        urgency=Urgency(said["urgency"]),
        text=said["text"],
        study_instance_uid=said["study_instance_uid"],
        state=FollowUpState.OPEN,
        due_at=datetime.fromisoformat(said["due_at"]),
        reason="",
        created_at=report["created_at"],
        changed_at=report["created_at"],
    )


def _suggest_again(session: Session, report: Row, item: FollowUp, said: Row) -> None:
    """Move the item to this version; what a person postponed keeps its date, unless this is about another study."""
    is_new = said["study_instance_uid"] != item.study_instance_uid
    before = item.due_at, item.urgency
    if is_new or item.state is not FollowUpState.POSTPONED:
        item.due_at = min(item.due_at, datetime.fromisoformat(said["due_at"]))
        item.urgency = min(item.urgency, Urgency(said["urgency"]), key=_URGENCIES.index)
    item.report_id, item.text, item.study_instance_uid = report["id"], said["text"], said["study_instance_uid"]
    item.changed_at = report["created_at"]
    if before != (item.due_at, item.urgency):
        session.add(_move(item, item.state, item.state, "suggested again, to be done sooner"))


def _was_closed(session: Session, same: Iterable[FollowUp], said: Row) -> bool:
    """Whether a person closed it, knowing the study that this is about."""
    report_ids = [one.report_id for one in same if one.state is FollowUpState.CLOSED]
    documents = session.scalars(select(Report.document).where(Report.id.in_(report_ids))) if report_ids else ()
    known = {study["study_instance_uid"] for document in documents for study in document["studies"]}
    return said["study_instance_uid"] in known


def _withdraw(session: Session, report: Row, items: Sequence[FollowUp], reason: str) -> None:
    for item in items:
        after = {"report_id": report["id"], "changed_at": report["created_at"]}
        if _change(session, item.id, FollowUpState.OPEN, FollowUpState.WITHDRAWN, **after):
            session.refresh(item)
            session.add(_move(item, FollowUpState.OPEN, FollowUpState.WITHDRAWN, reason))
    add_audit_events(session, None, "follow_up.withdraw", "follow_up", {one.id: {} for one in items})


def note_signature(session: Session, report: Row, by: str) -> None:
    """Close what a signed version settles: what asked for a review, and what is of a finding that it holds absent.

    What it holds absent no more, where it amends, is to be done again.
    """
    absent = _held_absent(report["document"])
    closed: dict[object, Row] = {}
    for item in _standing(session, report):
        is_review = item.action is FollowUpAction.REVIEW
        if is_review or item.finding in absent:
            reason = f"signed by {by}" if is_review else f"{by} holds it absent"
            closed[item.id] = {"before": item.state.value, "due_at": item.due_at.isoformat()}
            move_follow_up(session, item, FollowUpState.CLOSED, principal_id=report["principal_id"], reason=reason)
    add_audit_events(session, report["principal_id"], "follow_up.closed", "follow_up", closed)
    if report["origin"] is ReportOrigin.AMENDMENT:
        amended = session.get_one(Report, report["supersedes"])
        _suggest_anew(session, report, _held_absent(amended.document) - absent)


def _held_absent(document: Row) -> set[str]:
    return {one["finding"] for one in document["review"]["verdicts"] if one["value"] is False}


def _suggest_anew(session: Session, report: Row, findings: Collection[str]) -> None:
    """What the results suggest for these findings; a review of them there has just been."""
    standing = {(one.finding, one.action.value) for one in _standing(session, report)}
    said = [one for one in report["document"].get("follow_ups", ()) if one["finding"] in findings]
    said = [one for one in said if one["action"] != FollowUpAction.REVIEW]
    added = [_new(report, one) for one in said if (one["finding"], one["action"]) not in standing]
    session.add_all(_move(one, None, FollowUpState.OPEN, by=report["principal_id"]) for one in added)
    session.flush()
    add_audit_events(session, report["principal_id"], "follow_up.suggest", "follow_up", {one.id: {} for one in added})


def note_retraction(session: Session, report: Row) -> None:
    """Withdraw what nobody has taken on."""
    items = [one for one in _standing(session, report) if one.state is FollowUpState.OPEN]
    _withdraw(session, report, items, "the report was retracted")


def _standing(session: Session, report: Row) -> list[FollowUp]:
    given = {"patient_ids": [report["patient_id"]], "model": report["model_name"]}
    return [item for item in session.scalars(_OF_PATIENTS, given) if item.state in STANDING_FOLLOW_UPS]


def _move(
    item: FollowUp, before: FollowUpState | None, after: FollowUpState, reason: str = "", by: int | None = None
) -> FollowUpMove:
    return FollowUpMove(
        follow_up=item,
        from_state=before,
        to_state=after,
        reason=reason,
        due_at=item.due_at,
        report_id=item.report_id,
        principal_id=by,
        at=item.changed_at,
    )


def _change(session: Session, item_id: UUID, before: FollowUpState, after: FollowUpState, **values: Any) -> bool:
    statement = update(FollowUp).where(FollowUp.id == item_id, FollowUp.state == before).values(state=after, **values)
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False))) > 0


def move_follow_up(
    session: Session,
    item: FollowUp,
    after: FollowUpState,
    *,
    principal_id: int,
    reason: str,
    due_at: datetime | None = None,
) -> bool:
    """A person's act; False where somebody else moved it since it was read.

    Raises IllegalTransitionError where it cannot go there from where it is.
    """
    before = item.state
    if after not in FOLLOW_UP_MOVES[before]:
        raise IllegalTransitionError(
            f"It is {before}, so it cannot become {after}; it can become "
            f"{', '.join(sorted(FOLLOW_UP_MOVES[before] - BY_REPORTS)) or 'nothing else any more'}."
        )
    values: dict[str, Any] = {"reason": reason, "principal_id": principal_id, "changed_at": db_now()}
    if due_at is not None:
        values["due_at"] = due_at
    if not _change(session, item.id, before, after, **values):
        return False
    session.refresh(item)
    session.add(_move(item, before, after, reason, principal_id))
    session.flush()
    return True
