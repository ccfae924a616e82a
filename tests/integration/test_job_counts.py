"""Sums of a job and its patients say what its items say, and final states stay final, whatever happens."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from scheduler.recovery import recover_shards
from shared.db import reading
from shared.errors import FencedOutError, IllegalTransitionError
from shared.models import History, Item, Job, JobPatient, Shard, Tally
from shared.reasons import Reason
from shared.repositories.claims import finish, hold, release
from shared.repositories.history import move_jobs
from shared.repositories.items import pending_items
from shared.repositories.job_moves import settle_jobs
from shared.repositories.jobs import Target, request_cancel
from shared.repositories.outcomes import Outcome, end_open_items, record_outcomes
from shared.repositories.shards import Claim
from shared.states import FINAL_ITEM_STATES, FINAL_JOB_STATES, ItemState, JobState
from shared.unit_of_work import UnitOfWork
from tests.claimers import end_cancelled, take, work_until_empty
from tests.conftest import Prepared
from tests.factories import LEASE_S, claim, done, failed, let_lease_run_out, submit_job
from tests.invariants import check_invariants

KNOWN = [
    Target("instance:known", state=ItemState.DONE, frames=1, reused=True),
    Target("file:1", state=ItemState.FAILED, reason=Reason.NOT_DICOM),
]


class _World:
    """Jobs, and claims new and old; each method is one thing that can happen, `pick` says to which."""

    def __init__(self, prepared: Prepared) -> None:
        self.engine = prepared.engine
        self.settings = prepared.settings.model_copy(update={"retry_backoff_s": 0.0, "max_crashes": 2})
        self.jobs: list[UUID] = []
        self.claims: list[Claim] = []
        self.final: dict[Any, str] = {}
        with UnitOfWork(self.engine) as uow:
            for table in (History, Item, JobPatient, Shard, Job, Tally):
                uow.session.execute(delete(table))

    def submit(self, pick: int) -> None:
        extra = KNOWN[: pick % 3]
        self.jobs.append(submit_job(self.engine, pick % 5, patients=1 + pick % 2, shard_items=2, extra=extra))

    def claim(self, pick: int) -> None:
        claimed = take(self.engine, f"worker-{pick}")
        if claimed is not None:
            self.claims.append(claimed)

    def commit(self, pick: int) -> None:
        """One item, under a fence that may be lost."""
        self._write(pick, done if pick % 2 else failed, most=1)

    def finish(self, pick: int) -> None:
        self._write(pick, failed if pick % 5 == 0 else done)

    def repeat(self, pick: int) -> None:
        """An outcome for an item that may have one already."""
        if self.jobs:
            job_id = self.jobs[pick % len(self.jobs)]
            with UnitOfWork(self.engine) as uow:
                ended = select(Item.id).where(Item.job_id == job_id, Item.state.in_(FINAL_ITEM_STATES))
                assert record_outcomes(uow.session, {1: failed(uow.session.scalars(ended).all())}) == 0

    def give_back(self, pick: int) -> None:
        if self.claims:
            with UnitOfWork(self.engine) as uow:
                release(uow.session, [self.claims[pick % len(self.claims)]], reason="worker is stopping")

    def lose(self, pick: int) -> None:
        if self.claims:
            let_lease_run_out(self.engine, self.claims[pick % len(self.claims)].shard_id)
        recover_shards(self.engine, self.settings)

    def cancel(self, pick: int) -> None:
        if self.jobs:
            with UnitOfWork(self.engine) as uow:
                request_cancel(uow.session, self.jobs[pick % len(self.jobs)], actor="user")

    def _write(self, pick: int, outcome: Callable[..., list[Outcome]], most: int | None = None) -> None:
        if not self.claims:
            return
        claimed = self.claims[pick % len(self.claims)]
        try:
            with UnitOfWork(self.engine) as uow:
                hold(uow.session, [claimed], LEASE_S)
                items = [item.item_id for item in pending_items(uow.session, [claimed.shard_id])][:most]
                record_outcomes(uow.session, {claimed.fence: outcome(items)})
                finish(uow.session, [claimed])
                settle_jobs(uow.session, [claimed.job_id], actor=claimed.owner)
        except FencedOutError:
            end_cancelled(self.engine, claimed)

    def check(self) -> None:
        """All invariants, and that what was final before is the same now."""
        check_invariants(self.engine)
        with reading(self.engine) as session:
            now: dict[Any, str] = {
                job_id: state
                for job_id, state in session.execute(select(Job.id, Job.state))
                if state in FINAL_JOB_STATES
            }
            now |= {
                item_id: f"{state} {reason}"
                for item_id, state, reason in session.execute(select(Item.id, Item.state, Item.reason))
                if state in FINAL_ITEM_STATES
            }
        assert self.final.items() <= now.items()
        self.final = now


HAPPENINGS = ["submit", "claim", "commit", "finish", "repeat", "give_back", "lose", "cancel"]


def test_sums_and_finals_hold_when_anything_happens_in_any_order(any_prepared: Prepared) -> None:
    happenings = st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 9)), min_size=4, max_size=14)

    # Shrinking a story takes minutes, and the stories are short as they are.
    @hypothesis_settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(happenings)
    def check(story: list[tuple[str, int]]) -> None:
        world = _World(any_prepared)
        for name, pick in [("submit", 4), ("claim", 0), *story]:
            getattr(world, name)(pick)
            world.check()
        work_until_empty(world.engine, "the last worker")
        world.check()

    check()


def test_job_without_work_is_over_when_it_is_accepted(any_prepared: Prepared) -> None:
    engine = any_prepared.engine

    jobs = [submit_job(engine, 0, extra=extra) for extra in ([], KNOWN[:1], KNOWN[1:], KNOWN)]

    with reading(engine) as session:
        states = [session.get_one(Job, job_id).state for job_id in jobs]
    assert states == [JobState.DONE, JobState.DONE, JobState.FAILED, JobState.PARTIAL]
    check_invariants(engine)


@pytest.mark.parametrize(("outcome", "state"), [(done, JobState.DONE), (failed, JobState.FAILED)])
def test_job_ends_as_its_items_did(any_prepared: Prepared, outcome: Any, state: JobState) -> None:
    engine = any_prepared.engine
    job_id = submit_job(engine, 3, patients=3)
    claimed = claim(engine)

    with UnitOfWork(engine) as uow:
        items = [item.item_id for item in pending_items(uow.session, [claimed.shard_id])]
        assert record_outcomes(uow.session, {claimed.fence: outcome(items)}) == 3
        assert finish(uow.session, [claimed])
        assert settle_jobs(uow.session, [job_id], actor="worker-1") == {job_id: state}

    check_invariants(engine)


def test_item_keeps_its_first_outcome_when_it_gets_another(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    submit_job(engine, 2)
    claimed = claim(engine)
    with UnitOfWork(engine) as uow:
        items = [item.item_id for item in pending_items(uow.session, [claimed.shard_id])]
        record_outcomes(uow.session, {claimed.fence: done(items)})

    with UnitOfWork(engine) as uow:
        changed = record_outcomes(uow.session, {claimed.fence: failed(items)})
        changed += end_open_items(uow.session, [claimed.shard_id], ItemState.FAILED, Reason.WORKER_CRASHED)

    assert changed == 0
    with reading(engine) as session:
        assert set(session.execute(select(Item.state, Item.reason))) == {(ItemState.DONE, None)}


def test_second_settling_moves_nothing(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine, 0)

    with UnitOfWork(any_prepared.engine) as uow:
        again = settle_jobs(uow.session, [job_id], actor="scheduler")

    assert again == {}
    check_invariants(any_prepared.engine)


@pytest.mark.parametrize("after", list(JobState))
def test_finished_job_refuses_every_move(prepared: Prepared, after: JobState) -> None:
    job_id = submit_job(prepared.engine, 0)

    def move() -> None:
        with UnitOfWork(prepared.engine) as uow:
            move_jobs(uow.session, [job_id], JobState.DONE, after, reason="a test says so", actor="test")

    with pytest.raises(IllegalTransitionError):
        move()


def test_job_is_not_moved_when_somebody_moved_it_first(any_prepared: Prepared) -> None:
    job_id = submit_job(any_prepared.engine)

    with UnitOfWork(any_prepared.engine) as uow:
        moves = [
            move_jobs(uow.session, [job_id], JobState.QUEUED, JobState.RUNNING, reason=reason, actor="worker-1")
            for reason in ("first", "second")
        ]

    assert moves == [[job_id], []]
    with reading(any_prepared.engine) as session:
        reasons = session.scalars(select(History.reason).where(History.shard_id.is_(None)).order_by(History.id)).all()
    assert reasons == ["accepted", "first"]
