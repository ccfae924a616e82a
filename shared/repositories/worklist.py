"""The worklist: follow-ups in the order in which they are wanted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session, joinedload, load_only, selectinload

from shared.db import database_time
from shared.models import FollowUp, FollowUpMove, Patient, Report
from shared.states import STANDING_FOLLOW_UPS, FollowUpState, Urgency

_URGENCIES = tuple(Urgency)
_SEPARATOR = "_"
# The patient, who acted last, and the model of the report: each version of it once, and no document.
_WHOLE = (
    joinedload(FollowUp.patient),
    joinedload(FollowUp.principal),
    joinedload(FollowUp.report).options(load_only(Report.model_version_id), selectinload(Report.model_version)),
)


@dataclass(frozen=True)
class Place:
    """A place in the worklist, as a cursor that holds although the item there is moved meanwhile."""

    rank: int
    due_at: datetime
    id: UUID

    @classmethod
    def of(cls, item: FollowUp) -> Self:
        """Where an item stands."""
        return cls(_URGENCIES.index(item.urgency), item.due_at, item.id)

    def __str__(self) -> str:
        due_at = self.due_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        return _SEPARATOR.join((str(self.rank), due_at, self.id.hex))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that was written so; raises ValueError."""
        rank, due_at, item_id = text.split(_SEPARATOR)
        return cls(int(rank) % len(Urgency), datetime.fromisoformat(due_at).replace(tzinfo=UTC), UUID(item_id))


@dataclass(frozen=True)
class Wish:
    """Which items are asked for; None: any."""

    states: Collection[FollowUpState] = STANDING_FOLLOW_UPS
    patient_key: str | None = None
    finding: str | None = None
    due_before: datetime | None = None
    overdue: bool | None = None


def worklist(session: Session, wish: Wish, *, after: Place | None = None, limit: int = 50) -> Sequence[FollowUp]:
    """The urgent ones first, then by the date at which they are due; those behind the place `after`."""
    found: list[FollowUp] = []
    for rank, urgency in enumerate(_URGENCIES):
        if len(found) < limit and (after is None or rank >= after.rank):
            beginning = after if after is not None and rank == after.rank else None
            found += _of_urgency(session, wish, urgency, beginning, limit - len(found))
    return found


def _of_urgency(session: Session, wish: Wish, urgency: Urgency, after: Place | None, limit: int) -> Sequence[FollowUp]:
    """In the order of an index: a long list costs no more than a short one."""
    statement = select(FollowUp).options(*_WHOLE).where(_in(wish.states), FollowUp.urgency == urgency)
    if wish.patient_key is not None:
        patient = select(Patient.id).where(Patient.key == wish.patient_key)
        statement = statement.where(FollowUp.patient_id == patient.scalar_subquery())
    if wish.finding is not None:
        statement = statement.where(FollowUp.finding == wish.finding)
    if wish.due_before is not None:
        statement = statement.where(FollowUp.due_at < wish.due_before)
    if wish.overdue is not None:
        now = database_time(session)
        statement = statement.where((FollowUp.due_at < now) if wish.overdue else (FollowUp.due_at >= now))
    if after is not None:
        later = or_(FollowUp.due_at > after.due_at, and_(FollowUp.due_at == after.due_at, FollowUp.id > after.id))
        statement = statement.where(FollowUp.due_at >= after.due_at, later)
    return session.scalars(statement.order_by(FollowUp.due_at, FollowUp.id).limit(limit)).all()


def _in(states: Collection[FollowUpState]) -> ColumnElement[bool]:
    """Written out in the statement: the index of the worklist has only what stands, and the planner must see that."""
    given: BindParameter[Any] = bindparam("states", sorted(states), expanding=True, literal_execute=True)
    return FollowUp.state.in_(given)


def get_follow_up(session: Session, item_id: UUID) -> FollowUp | None:
    """An item with its patient, who acted on it last, and the model of its report."""
    return session.scalar(select(FollowUp).options(*_WHOLE).where(FollowUp.id == item_id))


def moves_of(session: Session, item_id: UUID) -> Sequence[FollowUpMove]:
    """All that became of an item, the first move first."""
    statement = select(FollowUpMove).options(joinedload(FollowUpMove.principal))
    return session.scalars(statement.where(FollowUpMove.follow_up_id == item_id).order_by(FollowUpMove.id)).all()


def count_overdue(session: Session) -> dict[Urgency, int]:
    """How many standing items should have been done by now."""
    is_overdue = (_in(STANDING_FOLLOW_UPS), FollowUp.due_at < database_time(session))
    statement = select(FollowUp.urgency, func.count()).where(*is_overdue)
    counts: dict[Urgency, int] = dict(session.execute(statement.group_by(FollowUp.urgency)).all())
    return {urgency: counts.get(urgency, 0) for urgency in Urgency}
