"""What happened, in numbers: outcomes, executions, claims that were taken away."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.models import History, Item, Job, Prediction, Report, Shard
from shared.oracle.claims import claims
from shared.states import ShardState


def figures(session: Session) -> dict[str, Any]:
    """Counts by state, executions per shard, and how many claims ended by another hand than their owner's."""
    held = claims().subquery()
    taken = select(func.count()).select_from(held).where(held.c.ended_by != held.c.owner)
    executions = (
        select(func.count().label("number"))
        .where(History.shard_id.is_not(None), History.to_state == ShardState.RUNNING)
        .group_by(History.shard_id)
        .subquery()
    )
    mean, most = session.execute(select(func.avg(executions.c.number), func.max(executions.c.number))).one()
    return {
        "jobs": _by_state(session, Job.state),
        "items": _by_state(session, Item.state),
        "shards": _by_state(session, Shard.state),
        "predictions": session.scalar(select(func.count()).select_from(Prediction)) or 0,
        "reports": session.scalar(select(func.count()).select_from(Report)) or 0,
        "fenced_out": session.scalar(taken) or 0,
        "executions": {"mean": round(float(mean or 0), 3), "max": int(most or 0)},
    }


def _by_state(session: Session, state: InstrumentedAttribute[Any]) -> dict[str, int]:
    rows = session.execute(select(state, func.count()).group_by(state)).all()
    return {str(name): number for name, number in sorted(rows)}
