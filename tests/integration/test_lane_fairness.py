"""Whose shard is claimed next: principals share a lane by instances, lanes share a worker by weight."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from uuid import UUID

import pytest
from sqlalchemy import select

from shared.db import reading
from shared.models import Job, Shard
from shared.reasons import Failure
from shared.repositories.claims import claim_next, put_off, release
from shared.repositories.lanes import brakes, has_due, pause_lane, resume_lane
from shared.repositories.shards import Claim, shards_ahead
from shared.states import JobState, Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import LEASE_S, commit, take
from tests.conftest import Prepared
from tests.factories import (
    add_principal,
    admin_id,
    claim,
    let_backoffs_run_out,
    let_leases_run_out,
    submit_job,
    take_back_all,
)
from tests.invariants import check_invariants
from worker.turns import LaneTurns


@pytest.fixture
def principals(any_prepared: Prepared) -> list[int]:
    """Three users."""
    with UnitOfWork(any_prepared.engine) as uow:
        return [add_principal(uow.session, name) for name in ("hospital", "researcher", "auditor")]


def _claim_all(prepared: Prepared, most: int = 1000) -> list[Claim]:
    """Claims of the routine lane, one after the other."""
    claims: list[Claim] = []
    while len(claims) < most and (claimed := take(prepared.engine, "worker-1")) is not None:
        claims.append(claimed)
    return claims


def _jobs(claims: Sequence[Claim]) -> list[UUID]:
    return [claimed.job_id for claimed in claims]


def test_principals_alternate_when_both_submit_in_bulk(any_prepared: Prepared, principals: list[int]) -> None:
    first, second = (
        submit_job(any_prepared.engine, 8, shard_items=1, principal_id=principal) for principal in principals[:2]
    )

    assert _jobs(_claim_all(any_prepared)) == [first, second] * 8
    check_invariants(any_prepared.engine)


def test_principals_get_as_many_instances_when_their_shards_differ_in_size(
    any_prepared: Prepared, principals: list[int]
) -> None:
    large = submit_job(any_prepared.engine, 24, shard_items=6, principal_id=principals[0])
    small = submit_job(any_prepared.engine, 24, shard_items=2, principal_id=principals[1])

    claims = _claim_all(any_prepared)

    ahead = accumulate(6 if job_id == large else -2 for job_id in _jobs(claims))
    assert all(-6 <= instances <= 6 for instances in ahead)
    assert Counter(_jobs(claims)) == {large: 4, small: 12}


def test_newcomer_waits_for_one_shard_when_another_has_many_queued(
    any_prepared: Prepared, principals: list[int]
) -> None:
    bulk = submit_job(any_prepared.engine, 60, shard_items=1, principal_id=principals[0])
    assert _jobs(_claim_all(any_prepared, most=20)) == [bulk] * 20

    few = submit_job(any_prepared.engine, 2, shard_items=1, principal_id=principals[1])
    late = submit_job(any_prepared.engine, 1, principal_id=principals[2])

    with reading(any_prepared.engine) as session:
        ahead = {
            job_id: shards_ahead(session, session.scalars(select(Shard).where(Shard.job_id == job_id)).first(), 1000)
            for job_id in (few, late)
        }
    assert ahead == {few: 1, late: 2}
    assert _jobs(_claim_all(any_prepared, most=6)) == [bulk, few, late, bulk, few, bulk]


def test_newcomer_is_not_preferred_for_having_been_away(any_prepared: Prepared, principals: list[int]) -> None:
    """Who did not use the lane saves nothing up: it begins at the lane's present turn."""
    bulk = submit_job(any_prepared.engine, 20, shard_items=1, principal_id=principals[0])
    for claimed in _claim_all(any_prepared, most=10):
        commit(any_prepared.engine, claimed)

    newcomer = submit_job(any_prepared.engine, 10, shard_items=1, principal_id=principals[1])

    assert Counter(_jobs(_claim_all(any_prepared, most=6))) == {bulk: 3, newcomer: 3}


def test_jobs_of_one_principal_run_in_the_order_they_came(any_prepared: Prepared, principals: list[int]) -> None:
    jobs = [submit_job(any_prepared.engine, 4, shard_items=2, principal_id=principals[0]) for _ in range(3)]

    assert _jobs(_claim_all(any_prepared)) == [job_id for job_id in jobs for _ in range(2)]


def test_job_submitted_while_the_last_one_runs_comes_after_it(any_prepared: Prepared, principals: list[int]) -> None:
    first = submit_job(any_prepared.engine, 8, shard_items=2, principal_id=principals[0])
    running = _claim_all(any_prepared, most=3)

    second = submit_job(any_prepared.engine, 2, principal_id=principals[0])
    for claimed in running:
        with UnitOfWork(any_prepared.engine) as uow:
            release(uow.session, [claimed], reason="worker is stopping")

    assert _jobs(_claim_all(any_prepared)) == [first] * 4 + [second]


@pytest.mark.parametrize("how", ["released", "put_off", "lost"])
def test_shard_keeps_its_place_when_it_comes_back(any_prepared: Prepared, principals: list[int], how: str) -> None:
    engine = any_prepared.engine
    for principal in principals[:2]:
        submit_job(engine, 6, shard_items=1, principal_id=principal)
    first = claim(engine)

    with UnitOfWork(engine) as uow:
        if how == "released":
            assert release(uow.session, [first], reason="worker is stopping")
        if how == "put_off":
            assert put_off(uow.session, [first], Failure.TRANSIENT, reason="storage is away", delay_s=60.0)
    if how == "lost":
        let_leases_run_out(engine)
        assert take_back_all(engine, delay_s=60.0) == 1
    let_backoffs_run_out(engine)

    assert claim(engine).shard_id == first.shard_id
    check_invariants(engine)


def test_lane_goes_on_with_the_next_shard_when_the_first_rests(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 2, shard_items=1)
    first = claim(any_prepared.engine)
    with UnitOfWork(any_prepared.engine) as uow:
        put_off(uow.session, [first], Failure.TRANSIENT, reason="storage is away", delay_s=60.0)

    second = claim(any_prepared.engine)

    assert second.shard_id != first.shard_id
    assert take(any_prepared.engine, "worker-1") is None


def _claim_by_turns(prepared: Prepared, turns: LaneTurns, number: int) -> list[Lane]:
    lanes = []
    for _ in range(number):
        with UnitOfWork(prepared.engine) as uow:
            (claimed,) = claim_next(uow.session, turns.next_order(), "worker-1", LEASE_S, most_items=1)
        lanes.append(claimed.lane)
    return lanes


def test_lanes_are_claimed_by_weight_when_all_are_full(any_prepared: Prepared) -> None:
    for lane in Lane:
        submit_job(any_prepared.engine, 16, shard_items=1, lane=lane)

    claimed = _claim_by_turns(any_prepared, LaneTurns.of_settings(any_prepared.settings), 21)

    assert Counter(claimed) == {Lane.URGENT: 16, Lane.ROUTINE: 4, Lane.BACKGROUND: 1}
    assert claimed[0] is Lane.URGENT


def test_background_moves_when_urgent_shards_never_end(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 3, shard_items=1, lane=Lane.BACKGROUND)
    submit_job(any_prepared.engine, 60, shard_items=1, lane=Lane.URGENT)

    claimed = _claim_by_turns(any_prepared, LaneTurns.of_settings(any_prepared.settings), 42)

    assert Counter(claimed) == {Lane.URGENT: 40, Lane.BACKGROUND: 2}
    assert Counter(claimed[:21])[Lane.BACKGROUND] == 1


def test_empty_lanes_cost_the_others_no_turn(any_prepared: Prepared) -> None:
    submit_job(any_prepared.engine, 30, shard_items=1, lane=Lane.BACKGROUND)

    claimed = _claim_by_turns(any_prepared, LaneTurns.of_settings(any_prepared.settings), 30)

    assert claimed == [Lane.BACKGROUND] * 30


def test_paused_lane_is_not_claimed_until_it_is_resumed(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    paused, other = submit_job(engine, 4, shard_items=2), submit_job(engine, 2, lane=Lane.URGENT)
    running = take(engine, "worker-1")
    assert running is not None

    with UnitOfWork(engine) as uow:
        admin = admin_id(uow.session)
        assert pause_lane(uow.session, Lane.ROUTINE, principal_id=admin, reason="the store is moved")
        assert not pause_lane(uow.session, Lane.ROUTINE, principal_id=admin, reason="again")
    with reading(engine) as session:
        assert {lane: brake.reason for lane, brake in brakes(session).items()} == {Lane.ROUTINE: "the store is moved"}
        assert not has_due(session, [Lane.ROUTINE, Lane.BACKGROUND])
        assert has_due(session, list(Lane))
    assert take(engine, "worker-2") is None
    assert claim(engine, lane=Lane.URGENT).job_id == other
    commit(engine, running)

    with UnitOfWork(engine) as uow:
        assert resume_lane(uow.session, Lane.ROUTINE)
        assert not resume_lane(uow.session, Lane.ROUTINE)

    commit(engine, claim(engine))
    with reading(engine) as session:
        assert session.get_one(Job, paused).state is JobState.DONE
    check_invariants(engine)
