"""Each guard is needed: a scenario holds with it, and fails once it is taken out of the SQL that is sent."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import DBAPIError

from scheduler.recovery import recover_shards
from shared.db import reading
from shared.errors import FencedOutError
from shared.models import Item, Job, Prediction, Shard
from shared.repositories.claims import finish, release
from shared.repositories.crashes import expired, take_back_expired
from shared.repositories.items import pending_items
from shared.repositories.job_moves import start_jobs
from shared.repositories.jobs import request_cancel
from shared.repositories.outcomes import record_outcomes
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.repositories.shards import Claim
from shared.states import ItemState, JobState, ShardState
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, end_cancelled, take
from tests.conftest import Prepared
from tests.factories import (
    LOSS,
    add_instance,
    add_model,
    claim,
    done,
    failed,
    let_leases_run_out,
    rows_of,
    submit_job,
    take_back_all,
)
from tests.invariants import check_invariants

UNIQUE_KEY = "uq_prediction_blob_sha256_model_digest_frame_generation"
VALUE = r"(\?|%\(\w+\)s(::\w+)?)"
SQLITE_NOW, POSTGRESQL_NOW = r"strftime\([^)]*\) \|\| '000'", r"\(clock_timestamp\(\) \+ [^*]*\* interval '[^']*'\)"


def _is_fenced_out(engine: Engine, claimed: Claim) -> bool:
    try:
        commit(engine, claimed)
    except FencedOutError:
        return True
    return False


def late_owner_writes_nothing(prepared: Prepared) -> None:
    """Its shard was taken back and runs under the claim of another."""
    engine = prepared.engine
    submit_job(engine, 3)
    late = claim(engine, "late")
    let_leases_run_out(engine)
    assert take_back_all(engine) == 1
    present = claim(engine, "present")

    assert _is_fenced_out(engine, late)
    with UnitOfWork(engine) as uow:
        assert not release(uow.session, [late], reason="worker is stopping")

    commit(engine, present)
    with reading(engine) as session:
        assert set(session.scalars(select(Item.fence))) == {present.fence}
    check_invariants(engine)


def running_shard_is_claimed_by_nobody(prepared: Prepared) -> None:
    submit_job(prepared.engine, 2)
    assert take(prepared.engine, "worker-1") is not None

    assert take(prepared.engine, "worker-2") is None
    check_invariants(prepared.engine)


def finished_shard_stays_finished(prepared: Prepared) -> None:
    """Its fence is still that of the claim that finished it."""
    engine = prepared.engine
    submit_job(engine, 2)
    claimed = claim(engine)
    commit(engine, claimed)

    with UnitOfWork(engine) as uow:
        assert not release(uow.session, [claimed], reason="worker is stopping")
        assert not finish(uow.session, [claimed])

    with reading(engine) as session:
        assert session.scalars(select(Shard.state)).all() == [ShardState.DONE]
    check_invariants(engine)


def shard_with_open_items_is_not_finished(prepared: Prepared) -> None:
    submit_job(prepared.engine, 2)
    claimed = claim(prepared.engine)
    commit(prepared.engine, claimed, most=1)

    with UnitOfWork(prepared.engine) as uow:
        assert not finish(uow.session, [claimed])

    check_invariants(prepared.engine)


def item_keeps_its_first_outcome(prepared: Prepared) -> None:
    engine = prepared.engine
    submit_job(engine, 3)
    claimed = claim(engine)
    with UnitOfWork(engine) as uow:
        items = [item.item_id for item in pending_items(uow.session, [claimed.shard_id])]
        record_outcomes(uow.session, {claimed.fence: done(items)})
    with UnitOfWork(engine) as uow:
        assert record_outcomes(uow.session, {claimed.fence: failed(items)}) == 0

    commit(engine, claimed)
    with reading(engine) as session:
        assert set(session.scalars(select(Item.state))) == {ItemState.DONE}
    check_invariants(engine)


def job_starts_once(prepared: Prepared) -> None:
    job_id = submit_job(prepared.engine, 4, shard_items=2)

    with UnitOfWork(prepared.engine) as uow:
        started = [start_jobs(uow.session, [job_id], actor=f"worker-{number}") for number in range(2)]

    assert [bool(one) for one in started] == [True, False]
    check_invariants(prepared.engine)


def cancelled_job_gets_no_more_results(prepared: Prepared) -> None:
    engine = prepared.engine
    job_id = submit_job(engine, 4)
    claimed = claim(engine)
    with UnitOfWork(engine) as uow:
        assert request_cancel(uow.session, job_id, actor="user")

    assert _is_fenced_out(engine, claimed)

    assert end_cancelled(engine, claimed)
    with reading(engine) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.items_done, job.items_cancelled) == (JobState.CANCELLED, 0, 4)
    check_invariants(engine)


def live_shard_is_not_taken_back(prepared: Prepared) -> None:
    submit_job(prepared.engine, 2)
    claimed = claim(prepared.engine, lease_s=60.0)

    assert recover_shards(prepared.engine, prepared.settings) == 0

    assert not _is_fenced_out(prepared.engine, claimed)
    check_invariants(prepared.engine)


def shard_whose_lease_was_extended_is_not_taken_back(prepared: Prepared) -> None:
    """Recovery saw it as lost; its owner wrote once more before recovery did."""
    submit_job(prepared.engine, 2)
    claimed = claim(prepared.engine)
    let_leases_run_out(prepared.engine)
    with reading(prepared.engine) as session:
        (seen_as_lost,) = expired(session, 10)
    commit(prepared.engine, claimed, most=1)

    with UnitOfWork(prepared.engine) as uow:
        assert not take_back_expired(uow.session, seen_as_lost, LOSS, max_crashes=3, delay_s=0.0)

    assert not _is_fenced_out(prepared.engine, claimed)
    check_invariants(prepared.engine)


def prediction_is_stored_once(prepared: Prepared) -> None:
    """Two jobs over the same bytes, computed at the same time: the first wins."""
    with UnitOfWork(prepared.engine) as uow:
        sha256 = add_instance(uow.session).blob_sha256
        provenance = Provenance(add_model(uow.session).digest, "keras", "float32")
        for probability in (0.25, 0.75):
            add_predictions(uow.session, [NewPrediction(sha256, 1, [probability])], provenance)

    with reading(prepared.engine) as session:
        assert session.scalars(select(Prediction.probabilities)).all() == [[0.25]]
        assert rows_of(session, Prediction) == 1


@dataclass(frozen=True)
class _Guard:
    """A condition of the statements that begin with `verb`, and the scenario that shows what it is for."""

    name: str
    scenario: Callable[[Prepared], None]
    condition: str
    verb: str = "UPDATE"


LEASE = rf"shard\.lease_until < ({SQLITE_NOW}|{POSTGRESQL_NOW})"
CANCELLED = r"NOT \(EXISTS \(SELECT job\.id.*?cancel_requested_at IS NOT NULL\)\)"
OPEN_ITEMS = rf"NOT \(EXISTS \(SELECT item\.id.*?item\.state = {VALUE}\)\)"
FENCES = r"\(shard\.id, shard\.fence\) IN \((VALUES )?\(.*?\)\)"
GUARDS = [
    _Guard("fence", late_owner_writes_nothing, FENCES, "UPDATE shard"),
    _Guard("state_at_claim", running_shard_is_claimed_by_nobody, rf"shard\.state = {VALUE}", ""),
    _Guard("state_at_leaving", finished_shard_stays_finished, rf"shard\.state = {VALUE}", "UPDATE shard"),
    _Guard("open_items", shard_with_open_items_is_not_finished, OPEN_ITEMS, "UPDATE shard"),
    _Guard("state_of_item", item_keeps_its_first_outcome, rf"item\.state = {VALUE}", "UPDATE item"),
    _Guard("state_of_job", job_starts_once, rf"job\.state = {VALUE}", ""),
    _Guard("cancel_flag", cancelled_job_gets_no_more_results, CANCELLED, "UPDATE shard"),
    _Guard("lease", live_shard_is_not_taken_back, LEASE, ""),
    _Guard("lease_at_the_move", shard_whose_lease_was_extended_is_not_taken_back, LEASE, "UPDATE shard"),
]


@contextmanager
def _without(guard: _Guard, engine: Engine) -> Iterator[None]:
    """The condition holds whatever the row says; fails where no statement had it, for then nothing was shown."""
    condition, times = re.compile(guard.condition, re.DOTALL), 0

    def weaken(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        nonlocal times
        if statement.startswith(guard.verb):
            statement, number = condition.subn(r"(\g<0> OR 1 = 1)", statement)
            times += number
        return statement, parameters

    event.listen(engine, "before_cursor_execute", weaken, retval=True)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", weaken)
    assert times > 0


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_scenario_holds_with_its_guard(any_prepared: Prepared, guard: _Guard) -> None:
    guard.scenario(any_prepared)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_scenario_fails_without_its_guard(any_prepared: Prepared, guard: _Guard) -> None:
    failures = []
    with _without(guard, any_prepared.engine):
        try:
            guard.scenario(any_prepared)
        except AssertionError as failure:
            failures.append(failure)

    assert len(failures) == 1


def test_prediction_is_stored_once_with_its_unique_key(any_prepared: Prepared) -> None:
    prediction_is_stored_once(any_prepared)


def test_prediction_is_not_stored_without_its_unique_key(any_prepared: Prepared) -> None:
    with any_prepared.engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("prediction") as table:
            table.drop_constraint(UNIQUE_KEY, type_="unique")

    # The statement names the key by which the first wins: a database that lost it takes nothing.
    with pytest.raises(DBAPIError, match="ON CONFLICT"):
        prediction_is_stored_once(any_prepared)
