"""(5) One transaction: what was predicted, its outcomes, and the begin of what follows, under the fences."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from shared.errors import OverreadError
from shared.reasons import Reason
from shared.repositories.claims import cancel_running, finish, hold
from shared.repositories.heat_maps import InstanceMaps
from shared.repositories.items import PendingItem, begin_items
from shared.repositories.job_moves import settle_jobs
from shared.repositories.lanes import has_due
from shared.repositories.outcomes import Outcome, end_open_items, record_outcomes
from shared.repositories.pace import add_pace
from shared.repositories.shards import Claim
from shared.states import ItemState
from worker.inference.explain import store_maps
from worker.inference.results import ItemResult, outcome_of
from worker.inference.work import Work
from worker.runtime import HeldShards, Runtime, StoppingError, YieldError

log = structlog.get_logger()


@dataclass(frozen=True)
class Begun:
    """The items that may be decoded now, and of how many frames of each blob there is a prediction."""

    items: Sequence[PendingItem]
    predicted: dict[str, int]


def commit(
    runtime: Runtime,
    held: HeldShards,
    work: Work,
    results: Sequence[ItemResult],
    *,
    following: Sequence[PendingItem] = (),
) -> Begun:
    """The leases under their fences, predictions, outcomes, the finishing moves, and the begin of what follows.

    Results of shards that are ours no more are dropped. Raises FencedOutError when none is, StoppingError or YieldError
    when the work is to be left: what it was given is committed then, and nothing begun.
    """
    maps = store_maps(runtime.store, {result.item.blob_sha256: result.frames for result in results})
    with runtime.unit_of_work() as uow:
        session = uow.session
        progressed = {result.item.shard_id for result in results}
        claims = hold(session, held.claims, runtime.settings.lease_s, progressed=progressed)
        ours = {claim.shard_id: claim for claim in claims}
        results = [result for result in results if result.item.shard_id in ours]
        _add_results(session, work, maps, results, ours)
        ended = Counter(result.item.shard_id for result in results)
        over = [claim for claim in claims if ended[claim.shard_id] == work.still_open[claim.shard_id]]
        if over:
            finish(session, over)
            settle_jobs(session, {claim.job_id for claim in over}, actor=runtime.name)
        left = [claim for claim in claims if claim not in over]
        leave = _why_leave(runtime, session, left, progress=bool(results))
        begun = _begin(session, work, [item for item in following if leave is None and item.shard_id in ours])
        # Before the commit: it may go through and still be reported as failed.
        held.begun |= {item.item_id: item.shard_id for item in begun.items}
    held.moved()
    for result in results:
        held.begun.pop(result.item.item_id, None)
    work.still_open.subtract(ended)
    lost = [claim for claim in held.claims if claim.shard_id not in ours]
    held.claims = left
    if lost:
        end_cancelled(runtime, lost)
    if leave is not None:
        raise leave
    return begun


def _add_results(
    session: Session,
    work: Work,
    maps: Sequence[InstanceMaps],
    results: Sequence[ItemResult],
    ours: Mapping[int, Claim],
) -> None:
    """Predictions, heat maps, outcomes and counters."""
    if not results:
        return
    work.keep(session, results, maps)
    by_fence: dict[int, list[Outcome]] = defaultdict(list)
    for result in results:
        by_fence[ours[result.item.shard_id].fence].append(outcome_of(result))
    record_outcomes(session, by_fence)
    (lane,) = {claim.lane for claim in ours.values()}
    add_pace(session, lane, len(results))


def _begin(session: Session, work: Work, following: Sequence[PendingItem]) -> Begun:
    predicted = work.predicted_frames(session, [item.blob_sha256 for item in following])
    begin_items(session, [item.item_id for item in following])
    return Begun(following, predicted)


def _why_leave(runtime: Runtime, session: Session, left: Sequence[Claim], *, progress: bool) -> OverreadError | None:
    """Between two windows a worker gives its shards back when it stops, or when something more urgent waits for it.

    A lane that had its turn gets a window done before its shards yield: else a constant urgent load would hold it up.
    """
    if not left:
        return None
    if runtime.stopping.is_set():
        return StoppingError("the worker is stopping; the rest of the shard goes back to its queue")
    if progress and runtime.is_full() and has_due(session, runtime.turns.more_urgent_than(left[0].lane)):
        return YieldError("a more urgent lane waits; the rest of the shard goes back to its queue")
    return None


def end_cancelled(runtime: Runtime, claims: Sequence[Claim]) -> None:
    """Fenced out by a cancel: a shard is still ours to end. Fenced out by recovery: it is not, and nothing moves."""
    with runtime.unit_of_work() as uow:
        ended = cancel_running(uow.session, claims)
        end_open_items(uow.session, [claim.shard_id for claim in ended], ItemState.CANCELLED, Reason.CANCELLED)
        settle_jobs(uow.session, {claim.job_id for claim in ended}, actor=runtime.name)
    for claim in claims:
        if claim not in ended:
            log.info("fenced_out", shard=claim.shard_id, fence=claim.fence)
