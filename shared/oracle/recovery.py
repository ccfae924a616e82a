"""How long after each fault the work that it interrupted moved again."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.models import Item
from shared.oracle.claims import claims
from shared.oracle.findings import stream


@dataclass(frozen=True)
class Fault:
    """Something done to the system; `owner`: the worker whose shards it hit (empty: all that ran).

    `recovered_s` is how long what was hit took to answer again, where whoever did it has measured that.
    """

    kind: str
    at: datetime
    owner: str = ""
    recovered_s: float | None = None


@dataclass(frozen=True)
class _Held:
    shard_id: int
    owner: str
    began_at: datetime
    ended_at: datetime | None


def recovery(session: Session, faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """A row a kind of fault: how many, how much work each interrupted, p50 and p99 of the time until it moved."""
    held = [_Held(row.shard_id, row.owner, row.began_at, row.ended_at) for row in stream(session, claims())]
    moves = _moves(session, held) if faults else {}
    by_kind: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    return [_row(kind, some, held, moves) for kind, some in sorted(by_kind.items())]


def _moves(session: Session, held: Sequence[_Held]) -> dict[int, list[datetime]]:
    """When each shard moved on: an outcome of an item, a claim. That a lease ran out moves nothing."""
    moves: dict[int, list[datetime]] = defaultdict(list)
    for claim in held:
        moves[claim.shard_id].append(claim.began_at)
    outcomes = select(Item.shard_id, Item.finished_at).where(Item.shard_id.is_not(None), Item.finished_at.is_not(None))
    for shard_id, finished_at in stream(session, outcomes):
        moves[shard_id].append(finished_at)
    for times in moves.values():
        times.sort()
    return moves


def _row(kind: str, faults: Sequence[Fault], held: Sequence[_Held], moves: dict[int, list[datetime]]) -> dict[str, Any]:
    waits = sorted(wait for fault in faults for wait in _waits(fault, held, moves))
    answers = sorted(fault.recovered_s for fault in faults if fault.recovered_s is not None)
    return {
        "kind": kind,
        "faults": len(faults),
        "interrupted": len(waits),
        "work_p50_s": quantile(waits, 0.5),
        "work_p99_s": quantile(waits, 0.99),
        "answer_p50_s": quantile(answers, 0.5),
        "answer_p99_s": quantile(answers, 0.99),
    }


def _waits(fault: Fault, held: Sequence[_Held], moves: dict[int, list[datetime]]) -> Iterator[float]:
    """For each shard that ran at the fault: the seconds until it moved."""
    for claim in held:
        ran = claim.began_at <= fault.at and (claim.ended_at is None or fault.at < claim.ended_at)
        if ran and fault.owner in ("", claim.owner):
            times = moves[claim.shard_id]
            following = bisect_right(times, fault.at)
            if following < len(times):
                yield (times[following] - fault.at).total_seconds()


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest of the sorted values that so large a share do not exceed; None of none."""
    return round(values[max(ceil(share * len(values)) - 1, 0)], 3) if values else None
