"""What becomes of a shard whose worker or engine was lost: tried again with care, and what kills is set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Instance, Item, Job, Shard
from shared.reasons import Failure, Reason
from shared.repositories.claims import held
from shared.repositories.history import changed_rows, check_shard_move
from shared.repositories.items import take_back_tries
from shared.repositories.job_moves import settle_jobs
from shared.repositories.outcomes import Outcome, end_open_items, record_outcomes
from shared.repositories.shards import Claim, record_moves
from shared.states import ItemState, ShardState

# A host that restarts again and again must not condemn what it never began on.
OUTSIDE_PATIENCE = 5


@dataclass(frozen=True)
class Loss:
    """How a shard lost who worked on it, and what is known of it (plain JSON, no patient data).

    `from_outside`: it may well have been somebody else's doing (a kill, a power cut), as far as is known.
    """

    failure: Failure
    reason: str
    actor: str
    evidence: Mapping[str, Any]
    from_outside: bool = False


def expired(session: Session, limit: int) -> Sequence[Shard]:
    """Running shards whose lease ran out by the database's clock."""
    statement = (
        select(Shard)
        .where(Shard.state == ShardState.RUNNING, Shard.lease_until < db_now())
        .order_by(Shard.id)
        .limit(limit)
    )
    return session.scalars(statement).all()


def take_back_expired(session: Session, shard: Shard, loss: Loss, *, max_crashes: int, delay_s: float) -> bool:
    """Recovery's move of a shard whose lease ran out; False when it moved meanwhile."""
    return _take_back(session, shard, loss, max_crashes, delay_s, Shard.lease_until < db_now())


def take_back_lost(
    session: Session, claim: Claim, loss: Loss, *, max_crashes: int, delay_s: float, begun: Sequence[int] = ()
) -> bool:
    """The owner's own move where what it works with was lost; False when the shard is no longer its.

    The attempt on the items `begun` does not count: it was not their fault.
    """
    shard = session.scalar(
        select(Shard).where(held([claim])).with_for_update().execution_options(populate_existing=True)
    )
    if shard is None:
        return False
    take_back_tries(session, begun)
    return _take_back(session, shard, loss, max_crashes, delay_s)


def _take_back(session: Session, shard: Shard, loss: Loss, max_crashes: int, delay_s: float, *where: Any) -> bool:
    """One conditional UPDATE; the raised fence makes whatever the late owner still writes void.

    An item that `max_crashes` attempts began on without a word is what kills: it is quarantined, its neighbours go
    on. Where no item had begun, the shard itself is at fault after as many crashes, or after several times as many
    that may have come from outside.
    """
    killers = _killers(session, shard, max_crashes)
    most = max_crashes * (OUTSIDE_PATIENCE if loss.from_outside else 1)
    after = _state_after(session, shard, killers, most)
    check_shard_move(ShardState.RUNNING, after)
    values: dict[str, Any] = {"state": after, "fence": Shard.fence + 1, "crash_count": Shard.crash_count + 1}
    values |= {"owner": None, "lease_until": None, "not_before": db_now(delay_s)}
    values |= {"failure": loss.failure, "evidence": dict(loss.evidence)}
    statement = (
        update(Shard)
        .where(Shard.id == shard.id, Shard.fence == shard.fence, Shard.state == ShardState.RUNNING, *where)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if changed_rows(session.execute(statement)) == 0:
        return False
    quarantined = [_quarantined(item, sha256, loss) for item, sha256 in killers]
    record_outcomes(session, {shard.fence: quarantined})
    claim = Claim(shard.id, shard.job_id, shard.lane, shard.fence, shard.attempt, loss.actor)
    record_moves(session, [claim], ShardState.RUNNING, after, reason=loss.reason)
    if after is ShardState.CANCELLED:
        end_open_items(session, [shard.id], ItemState.CANCELLED, Reason.CANCELLED)
    elif after is ShardState.QUARANTINED:
        end_open_items(session, [shard.id], ItemState.FAILED, Reason.WORKER_CRASHED)
    settle_jobs(session, [shard.job_id], actor=loss.actor)
    return True


def _killers(session: Session, shard: Shard, max_crashes: int) -> list[tuple[Item, str]]:
    statement = (
        select(Item, Instance.blob_sha256)
        .join(Instance, Instance.id == Item.instance_id)
        .where(Item.shard_id == shard.id, Item.state == ItemState.PENDING, Item.tries >= max_crashes)
    )
    return [(item, sha256) for item, sha256 in session.execute(statement)]


def _state_after(session: Session, shard: Shard, killers: Sequence[tuple[Item, str]], most: int) -> ShardState:
    if session.get_one(Job, shard.job_id).cancel_requested_at is not None:
        return ShardState.CANCELLED
    pending = select(Item.tries).where(Item.shard_id == shard.id, Item.state == ItemState.PENDING)
    tries = session.scalars(pending).all()
    if len(tries) == len(killers):
        return ShardState.DONE
    if shard.crash_count + 1 >= most and not any(tries):
        return ShardState.QUARANTINED
    return ShardState.QUEUED


def _quarantined(item: Item, sha256: str, loss: Loss) -> Outcome:
    evidence = {"signal": str(loss.evidence.get("signal", "")), "tries": item.tries, "sha256": sha256}
    evidence["log"] = str(loss.evidence.get("log", ""))
    return Outcome(item.id, ItemState.FAILED, Reason.WORKER_CRASHED, loss.reason, evidence=evidence)
