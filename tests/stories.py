"""Stories for hypothesis: workers, schedulers, users and misfortune in any order, with a model beside the database.

The model says of each write whether it must hold, and of each claim whether there is one to be had.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import func, select

from scheduler.recovery import recover_shards
from shared.db import reading
from shared.errors import FencedOutError
from shared.models import History, Item, Job, Shard
from shared.reasons import Failure
from shared.repositories.claims import claim_next, finish, hold, put_off, release
from shared.repositories.crashes import take_back_lost
from shared.repositories.items import begin_items, pending_items
from shared.repositories.job_moves import settle_jobs, start_jobs
from shared.repositories.jobs import request_cancel
from shared.repositories.lanes import brakes, has_due, pause_lane, resume_lane
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.repositories.shards import Claim
from shared.repositories.tallies import fold
from shared.states import FINAL_ITEM_STATES, FINAL_JOB_STATES, ItemState, JobState, Lane, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import LEASE_S, end_cancelled
from tests.conftest import Prepared
from tests.factories import (
    LOSS,
    add_principal,
    admin_id,
    done,
    failed,
    let_backoffs_run_out,
    let_lease_run_out,
    let_leases_run_out,
    rows_of,
    submit_job,
)
from tests.invariants import check_invariants

MAX_CRASHES = 2
MAX_JOBS = 6
LANES = st.permutations(list(Lane))
ACTS = ["claim", "claim", "begin", "commit", "commit", "heartbeat", "stop_if_cancelled", "release", "put_off", "lose"]
MISFORTUNES = ["fall_silent", "crash", "die_at_work", "recover", "time_passes", "fold_counters"]
WORKERS = ("worker-1", "worker-2")
PICK = st.integers(0, 11)


@dataclass
class _Attempt:
    """A claim, and the items begun under it that have no outcome."""

    claim: Claim
    begun: set[int] = field(default_factory=set)


class Story(RuleBasedStateMachine):
    """Each rule is one thing that happens; `pick` says to which job or attempt."""

    def __init__(self, prepared: Prepared, template: Path, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen
        self.settings = prepared.settings.model_copy(update={"retry_backoff_s": 0.0, "max_crashes": MAX_CRASHES})
        # The engine is kept from story to story, for it remembers how statements are written; its database is not.
        self.engine = prepared.engine
        self.engine.dispose()
        for leftover in self.settings.data_dir.glob("overread.sqlite*"):
            leftover.unlink()
        shutil.copy(template, self.settings.data_dir / "overread.sqlite")
        self.jobs: list[UUID] = []
        self.cancelled: set[UUID] = set()
        self.attempts: list[_Attempt] = []
        self.owner_of: dict[int, Claim] = {}
        self.silent: set[int] = set()
        self.last_fence: dict[int, int] = {}
        self.tries: dict[int, int] = {}
        self.final: dict[Any, str] = {}

    def _pick(self, pick: int) -> _Attempt:
        return self.attempts[pick % len(self.attempts)]

    def _owns(self, claim: Claim) -> bool:
        return self.owner_of.get(claim.shard_id) == claim

    def _may_write(self, claim: Claim) -> bool:
        return self._owns(claim) and claim.job_id not in self.cancelled

    def _left(self, attempt: _Attempt) -> None:
        self.owner_of.pop(attempt.claim.shard_id, None)
        self.silent.discard(attempt.claim.shard_id)

    @initialize()
    def begin_with_two_jobs(self) -> None:
        with UnitOfWork(self.engine) as uow:
            self.principals = [admin_id(uow.session), add_principal(uow.session, "researcher")]
        for number, lane in enumerate((Lane.ROUTINE, Lane.BACKGROUND)):
            self.submit(5, 2 + number, lane, number + 1)

    @precondition(lambda self: len(self.jobs) < MAX_JOBS)
    @rule(items=st.integers(0, 5), shard_items=st.integers(1, 3), lane=st.sampled_from(Lane), pick=PICK)
    def submit(self, items: int, shard_items: int, lane: Lane, pick: int) -> None:
        retry_of = self.jobs[pick % len(self.jobs)] if self.jobs and pick % 3 == 0 else None
        given = {"principal_id": self.principals[pick % 2], "retry_of": retry_of}
        self.jobs.append(submit_job(self.engine, items, patients=2, shard_items=shard_items, lane=lane, **given))

    def claim(self, worker: str, lanes: list[Lane], most_items: int) -> None:
        with UnitOfWork(self.engine) as uow:
            braked = set(brakes(uow.session))
            something_is_due = has_due(uow.session, lanes)
            claims = claim_next(uow.session, lanes, worker, LEASE_S, most_items=most_items)
            start_jobs(uow.session, {claim.job_id for claim in claims}, actor=worker)
        assert bool(claims) == something_is_due
        for claimed in claims:
            assert claimed.lane not in braked
            assert claimed.shard_id not in self.owner_of
            assert claimed.fence > self.last_fence.get(claimed.shard_id, 0)
            self.last_fence[claimed.shard_id] = claimed.fence
            self.owner_of[claimed.shard_id] = claimed
            self.attempts.append(_Attempt(claimed))

    def begin(self, pick: int) -> None:
        attempt = self._pick(pick)
        with UnitOfWork(self.engine) as uow:
            if not self._hold(uow, attempt.claim):
                return
            items = {item.item_id for item in pending_items(uow.session, [attempt.claim.shard_id])}
            fresh = sorted(items - attempt.begun)[:2]
            begin_items(uow.session, fresh)
        attempt.begun |= set(fresh)
        for item in fresh:
            self.tries[item] = self.tries.get(item, 0) + 1

    def commit(self, pick: int, most: int | None, *, fails: bool) -> None:
        """Outcomes for some items or all, then the finishing moves, which hold only where nothing is pending."""
        attempt = self._pick(pick)
        claim = attempt.claim
        with UnitOfWork(self.engine) as uow:
            if not self._hold(uow, claim, progress=True):
                return
            items = [item.item_id for item in pending_items(uow.session, [claim.shard_id])]
            outcomes: list[Outcome] = (failed if fails else done)(items[:most])
            assert record_outcomes(uow.session, {claim.fence: outcomes}) == len(outcomes)
            finished = finish(uow.session, [claim])
            settle_jobs(uow.session, [claim.job_id], actor=claim.owner)
        assert bool(finished) == (len(items) == len(outcomes))
        attempt.begun -= {outcome.item_id for outcome in outcomes}
        if finished:
            self._left(attempt)

    def _hold(self, uow: UnitOfWork, claim: Claim, *, progress: bool = False) -> bool:
        """What the guard says, which must be what the model says."""
        try:
            hold(uow.session, [claim], LEASE_S, progressed=[claim.shard_id] if progress else ())
        except FencedOutError:
            assert not self._may_write(claim)
            self.seen["fenced out"] += 1
            return False
        assert self._may_write(claim)
        self.silent.discard(claim.shard_id)
        return True

    def heartbeat(self, pick: int) -> None:
        with UnitOfWork(self.engine) as uow:
            self._hold(uow, self._pick(pick).claim)

    def stop_if_cancelled(self, pick: int) -> None:
        attempt = self._pick(pick)
        if self._may_write(attempt.claim):
            return
        owned = self._owns(attempt.claim)
        assert end_cancelled(self.engine, attempt.claim) == owned
        if owned:
            self._left(attempt)

    def give_back(self, pick: int, how: str) -> None:
        attempt = self._pick(pick)
        claim, begun = attempt.claim, dict.fromkeys(attempt.begun, attempt.claim.shard_id)
        with UnitOfWork(self.engine) as uow:
            if how == "release":
                given = release(uow.session, [claim], reason="worker is stopping", begun=begun)
            elif how == "put_off":
                transient = Failure.TRANSIENT
                given = put_off(uow.session, [claim], transient, reason="storage is away", delay_s=9.0, begun=begun)
            else:
                given = take_back_lost(
                    uow.session, claim, LOSS, max_crashes=MAX_CRASHES, delay_s=0.0, begun=sorted(begun)
                )
        assert bool(given) == self._owns(claim)
        if given:
            self._left(attempt)
            for item in attempt.begun:
                self.tries[item] -= 1
                self.seen[f"tries taken back: {how}"] += 1
            attempt.begun.clear()

    def fall_silent(self, pick: int) -> None:
        if not self.owner_of:
            return
        shard_id = sorted(self.owner_of)[pick % len(self.owner_of)]
        let_lease_run_out(self.engine, shard_id)
        self.silent.add(shard_id)

    def time_passes(self) -> None:
        let_backoffs_run_out(self.engine)

    def fold_counters(self) -> None:
        with UnitOfWork(self.engine) as uow:
            fold(uow.session)

    def recover(self) -> None:
        left_over = self._left_over()
        assert recover_shards(self.engine, self.settings) == len(self.silent) + left_over
        for shard_id in self.silent:
            self.owner_of.pop(shard_id)
        self.silent.clear()

    def _left_over(self) -> int:
        with reading(self.engine) as session:
            given_back = (Shard.job_id.in_(self.cancelled), Shard.state == ShardState.QUEUED)
            return rows_of(session, Shard, *given_back)

    def crash(self, worker: str) -> None:
        """The process is gone and remembers nothing; only its leases tell."""
        for attempt in [attempt for attempt in self.attempts if attempt.claim.owner == worker]:
            self.attempts.remove(attempt)
            if self._owns(attempt.claim):
                let_lease_run_out(self.engine, attempt.claim.shard_id)
                self.silent.add(attempt.claim.shard_id)

    def die_at_work(self, worker: str, begins: bool) -> None:
        """The same again, of a shard just claimed, and noticed: what a bad instance or model does each time."""
        num_attempts = len(self.attempts)
        self.claim(worker, list(Lane), 3)
        if begins and len(self.attempts) > num_attempts:
            self.begin(num_attempts)
        self.crash(worker)
        self.recover()

    def cancel(self, pick: int) -> None:
        job_id = self.jobs[pick % len(self.jobs)]
        with UnitOfWork(self.engine) as uow:
            accepted = request_cancel(uow.session, job_id, actor="user")
        assert accepted == (job_id not in self.final)
        if accepted:
            self.cancelled.add(job_id)

    def pause(self, lane: Lane, on: bool) -> None:
        with UnitOfWork(self.engine) as uow:
            was_on = lane in brakes(uow.session)
            if on:
                moved = pause_lane(uow.session, lane, principal_id=self.principals[0], reason="a story says so")
            else:
                moved = resume_lane(uow.session, lane)
        assert moved == (on is not was_on)

    @rule(act=st.sampled_from(ACTS), pick=PICK, most=st.sampled_from([1, 2, None]), lanes=LANES)
    def worker_acts(self, act: str, pick: int, most: int | None, lanes: list[Lane]) -> None:
        """Whoever has a claim does something under it, although it may have lost the shard since."""
        if act == "claim" or not self.attempts:
            self.claim(WORKERS[pick % 2], lanes, 1 + pick % 4)
        elif act == "commit":
            self.commit(pick, most, fails=pick % 4 == 0)
        elif act in ("release", "put_off", "lose"):
            self.begin(pick)
            self.give_back(pick, act)
        else:
            getattr(self, act)(pick)

    @rule(misfortune=st.sampled_from(MISFORTUNES), worker=st.sampled_from(WORKERS), pick=PICK, begins=st.booleans())
    def misfortune_strikes(self, misfortune: str, worker: str, pick: int, begins: bool) -> None:
        if misfortune == "fall_silent":
            self.fall_silent(pick)
        elif misfortune == "crash":
            self.crash(worker)
        elif misfortune == "die_at_work":
            self.die_at_work(worker, begins)
        else:
            getattr(self, misfortune)()

    @rule(wish=st.sampled_from(["cancel", "pause", "resume"]), lane=st.sampled_from(Lane), pick=PICK)
    def user_wishes(self, wish: str, lane: Lane, pick: int) -> None:
        if wish == "cancel":
            self.cancel(pick)
        else:
            self.pause(lane, wish == "pause")

    @invariant()
    def everything_says_the_same(self) -> None:
        check_invariants(self.engine)
        with reading(self.engine) as session:
            items = session.execute(select(Item.id, Item.state, Item.reason, Item.fence, Item.tries)).all()
            jobs = session.execute(select(Job.id, Job.state)).all()
        assert {item.id: item.tries for item in items if item.tries} == {
            item: number for item, number in self.tries.items() if number
        }
        now: dict[Any, str] = {job.id: job.state for job in jobs if job.state in FINAL_JOB_STATES}
        now |= {
            item.id: f"{item.state} {item.reason} {item.fence}" for item in items if item.state in FINAL_ITEM_STATES
        }
        assert self.final.items() <= now.items(), "what was final changed"
        assert {now[job_id] for job_id in self.cancelled if job_id in now} <= {JobState.CANCELLED}
        self.final = now

    def teardown(self) -> None:
        """Let all that is left run to its end: every job is final, once."""
        self._drain()
        self.everything_says_the_same()
        with reading(self.engine) as session:
            assert set(session.scalars(select(Job.state))) <= FINAL_JOB_STATES
            assert rows_of(session, Item, Item.state == ItemState.PENDING) == 0
            self.seen.update(session.scalars(select(History.reason).where(History.shard_id.is_not(None))))
            self.seen["shard quarantined"] += rows_of(session, Shard, Shard.state == ShardState.QUARANTINED)
            self.seen["item quarantined"] += rows_of(session, Item, Item.quarantined)
            ends = select(History.job_id, func.count()).where(History.shard_id.is_(None))
            ends = ends.where(History.to_state.in_(FINAL_JOB_STATES)).group_by(History.job_id)
            assert dict(session.execute(ends).all()) == dict.fromkeys(self.jobs, 1)

    def _drain(self) -> None:
        with UnitOfWork(self.engine) as uow:
            for lane in Lane:
                resume_lane(uow.session, lane)
        let_leases_run_out(self.engine)
        self.silent = set(self.owner_of)
        self.recover()
        let_backoffs_run_out(self.engine)
        self.attempts.clear()
        self.claim("worker-1", list(Lane), 1)
        while self.attempts:
            self.commit(0, None, fails=False)
            self.attempts.clear()
            self.claim("worker-1", list(Lane), 1)
