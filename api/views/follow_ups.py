"""A follow-up as it stands, and all that became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.schemas.follow_ups import FollowUpMoveShown, FollowUpShown, FollowUpWhole
from shared.models import FollowUp, FollowUpMove
from shared.repositories.worklist import moves_of
from shared.states import STANDING_FOLLOW_UPS


def follow_up_shown(item: FollowUp, now: datetime) -> FollowUpShown:
    """For a list."""
    return FollowUpShown.model_validate(_fields(item, now))


def follow_up_whole(session: Session, item: FollowUp, now: datetime) -> FollowUpWhole:
    """With its history."""
    history = [_move_shown(move) for move in moves_of(session, item.id)]
    return FollowUpWhole.model_validate(_fields(item, now) | {"history": history})


def _fields(item: FollowUp, now: datetime) -> dict[str, Any]:
    same = ("id", "patient", "finding", "action", "urgency", "text", "study_instance_uid", "state", "due_at", "reason")
    return {name: getattr(item, name) for name in (*same, "created_at", "changed_at")} | {
        "model": item.model_name,
        "display": _display(item),
        "is_overdue": item.state in STANDING_FOLLOW_UPS and item.due_at < now,
        "by": item.principal.name if item.principal else None,
        "report": item.report_id,
        "links": {"self": f"/api/v1/follow-ups/{item.id}", "report": f"/api/v1/reports/{item.report_id}"},
    }


def _display(item: FollowUp) -> str:
    """The newest report may be of a version that has no such finding."""
    findings = item.report.model_version.contract["findings"]
    return str(next((one["display"] for one in findings if one["code"] == item.finding), item.finding))


def _move_shown(move: FollowUpMove) -> FollowUpMoveShown:
    return FollowUpMoveShown(
        at=move.at,
        before=move.from_state,
        after=move.to_state,
        reason=move.reason,
        by=move.principal.name if move.principal else None,
        due_at=move.due_at,
        report=move.report_id,
    )
