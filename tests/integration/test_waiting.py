"""Each job that is not over says what it waits for, its place in line and when it is likely to be over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, update

from api.views import situation
from shared.db import db_now
from shared.models import Shard
from shared.reasons import Failure
from shared.repositories.claims import put_off
from shared.states import Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import take, work_until_empty
from tests.conftest import Api
from tests.factories import (
    MODEL,
    add_model,
    add_principal,
    claim,
    let_backoffs_run_out,
    let_leases_run_out,
    submit_job,
    take_back_all,
)
from tests.waiting import add_pace, add_worker, running_valkey

JOBS = "/api/v1/jobs"


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[None]:
    with running_valkey(data_dir):
        yield


@pytest.fixture
def live_api(valkey: None, any_api: Api) -> Api:
    """The API with a broker that answers and a worker that lives: nothing but the line to wait for."""
    add_worker(any_api.prepared.engine)
    return any_api


def shown(api: Api, job_id: UUID) -> dict[str, Any]:
    """The job by itself; the list must say the same of it."""
    job: dict[str, Any] = api.get(f"{JOBS}/{job_id}").json
    listed = {one["id"]: one for one in api.get(JOBS).json["items"]}
    for name in ("position", "waiting", "waits_for"):
        assert listed[job["id"]][name] == job[name]
    return job


def test_job_says_how_many_shards_are_ahead(live_api: Api) -> None:
    engine = live_api.prepared.engine
    first, second = submit_job(engine, 3, shard_items=1), submit_job(engine)

    before = [shown(live_api, job_id) for job_id in (first, second)]
    take(engine, "worker-1")
    take(engine, "worker-1")
    after = [shown(live_api, job_id) for job_id in (first, second)]

    assert [job["position"] for job in before + after] == [0, 3, 0, 1]
    assert [job["waits_for"] for job in before + after] == [
        ["free_worker"],
        ["shards_ahead"],
        ["free_worker"],
        ["shards_ahead"],
    ]
    assert before[0]["waiting"] == "first in its lane; a worker takes it as soon as one is free"
    assert before[1]["waiting"] == "3 shards are ahead in the routine lane"
    assert (after[0]["state"], after[0]["waiting"][:23]) == ("running", "its next shard is first")
    assert after[1]["waiting"] == "1 shard is ahead in the routine lane"


def test_job_waits_for_nothing_when_all_of_it_runs_or_is_over(live_api: Api) -> None:
    engine = live_api.prepared.engine
    job_id = submit_job(engine)
    take(engine, "worker-1")

    running = shown(live_api, job_id)
    live_api.post(f"{JOBS}/{job_id}/cancel")
    cancelled = shown(live_api, job_id)
    let_leases_run_out(engine)
    take_back_all(engine)
    over = shown(live_api, job_id)

    assert [job["state"] for job in (running, cancelled, over)] == ["running", "running", "cancelled"]
    assert [job["waits_for"] for job in (running, cancelled, over)] == [[], ["cancel_requested"], []]
    assert (running["waiting"], running["position"], over["waiting"]) == (None, None, None)


def test_job_says_that_no_worker_serves_its_lane(valkey: None, any_api: Api) -> None:
    engine = any_api.prepared.engine
    add_worker(engine, lanes=["urgent"])
    waiting = submit_job(engine)
    held = submit_job(engine, lane=Lane.BACKGROUND)
    take(engine, "worker-2", Lane.BACKGROUND)

    queued, running = shown(any_api, waiting), shown(any_api, held)

    assert queued["waiting"] == "no live worker serves the routine lane"
    assert queued["waits_for"] == ["no_live_worker", "free_worker"]
    assert running["waits_for"] == ["no_live_worker"]


def test_job_says_when_a_lost_shard_is_tried_again(live_api: Api) -> None:
    engine = live_api.prepared.engine
    job_id = submit_job(engine)
    take(engine, "worker-1")
    let_leases_run_out(engine)
    take_back_all(engine, delay_s=600.0)

    waiting = shown(live_api, job_id)
    let_backoffs_run_out(engine)
    due = shown(live_api, job_id)

    assert waiting["waiting"].startswith("a worker or engine was lost (crash); tried again at ")
    assert waiting["waits_for"] == ["retry_later"] + due["waits_for"]
    assert due["waits_for"] == ["free_worker"]


def test_job_says_that_storage_failed_only_while_none_of_its_shards_is_due(live_api: Api) -> None:
    engine = live_api.prepared.engine
    job_id = submit_job(engine, 2, shard_items=1)
    resting = claim(engine)
    with UnitOfWork(engine) as uow:
        put_off(uow.session, [resting], Failure.TRANSIENT, reason="transient: OSError", delay_s=600.0)

    one_due = shown(live_api, job_id)
    claim(engine)
    none_due = shown(live_api, job_id)

    assert one_due["waits_for"] == ["shards_ahead"]
    assert none_due["waiting"].startswith("storage or database failed (transient); tried again at ")


def test_job_says_that_its_model_is_being_loaded_until_a_worker_has_it(live_api: Api) -> None:
    engine = live_api.prepared.engine
    with UnitOfWork(engine) as uow:
        short = add_model(uow.session).digest[:12]
    job_id = submit_job(engine)
    take(engine, "worker-1")

    add_worker(engine, loading=[short])
    loading = shown(live_api, job_id)
    add_worker(engine, "worker-2", engines=[f"keras/float32/{short}"])
    loaded = shown(live_api, job_id)

    assert loading["model"]["name"] == MODEL
    assert loading["waiting"] == "the model is still being loaded and compiled"
    assert loading["waits_for"] == ["model_loading"]
    assert loaded["waits_for"] == []


def test_eta_is_what_is_ahead_and_its_own_at_the_measured_pace(live_api: Api) -> None:
    engine = live_api.prepared.engine
    submit_job(engine, 30, shard_items=10)
    job_id = submit_job(engine, 20)

    unmeasured = shown(live_api, job_id)
    add_pace(engine, [99, 40, 60])
    measured = shown(live_api, job_id)

    assert (unmeasured["eta_s"], unmeasured["eta_error_s"]) == (None, None)
    # 10 items a second, standard error 2; three shards ahead, of 50 items in 4 shards on average.
    assert measured["eta_s"] == pytest.approx((3 * 12.5 + 20) / 10, abs=0.1)
    assert measured["eta_error_s"] == pytest.approx(measured["eta_s"] * 0.2, abs=0.1)


def test_eta_is_not_told_when_nobody_can_know(live_api: Api) -> None:
    engine = live_api.prepared.engine
    job_id = submit_job(engine)
    add_pace(engine, [9, 10, 10])
    live_api.post("/api/v1/queues/routine/pause", json={"reason": "upgrade"})

    assert shown(live_api, job_id)["eta_s"] is None


def test_place_in_a_list_is_at_least_so_far_when_the_line_is_long(
    live_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(situation, "HEAD_SHARDS", 3)
    engine = live_api.prepared.engine
    add_pace(engine, [9, 10, 10])
    jobs = [submit_job(engine, 2, shard_items=1) for _ in range(3)]

    listed = {one["id"]: one for one in live_api.get(JOBS).json["items"]}
    alone = live_api.get(f"{JOBS}/{jobs[2]}").json

    places = [(listed[str(job_id)]["position"], listed[str(job_id)]["position_is_least"]) for job_id in jobs]
    assert places == [(0, False), (2, False), (3, True)]
    assert listed[str(jobs[2])]["waiting"].startswith("at least 3 shards")
    assert (listed[str(jobs[1])]["eta_s"] is None, listed[str(jobs[2])]["eta_s"]) == (False, None)
    assert (alone["position"], alone["position_is_least"]) == (4, False)


def test_list_of_waiting_jobs_takes_a_few_statements(live_api: Api) -> None:
    engine = live_api.prepared.engine
    for number in range(20):
        submit_job(engine, 2, shard_items=1, lane=list(Lane)[number % 3])
    statements: list[str] = []
    used = live_api.app.extensions["overread"].engine
    event.listen(used, "before_cursor_execute", lambda *given: statements.append(given[2]))

    live_api.get(JOBS)

    assert len(statements) < 14, statements


def test_jobs_of_two_principals_stand_in_the_order_in_which_they_are_claimed(live_api: Api) -> None:
    engine = live_api.prepared.engine
    long = submit_job(engine, 20, shard_items=5)
    with UnitOfWork(engine) as uow:
        other = add_principal(uow.session, "other")
    short = submit_job(engine, 5, principal_id=other)

    place = shown(live_api, short)["position"]
    claimed = [claim(engine).job_id for _ in range(place + 1)]

    assert claimed == [long] * place + [short]
    assert place < 4


def test_jobs_are_filtered_by_lane_and_owner(any_api: Api) -> None:
    engine = any_api.prepared.engine
    with UnitOfWork(engine) as uow:
        other = add_principal(uow.session, "other")
    theirs = submit_job(engine, principal_id=other)
    mine = submit_job(engine, lane=Lane.URGENT)

    found = {query: any_api.get(f"{JOBS}?{query}").json["items"] for query in ("mine=true", "priority=routine", "")}

    ids = [[job["id"] for job in jobs] for jobs in found.values()]
    assert ids == [[str(mine)], [str(theirs)], [str(mine), str(theirs)]]


def test_shards_of_an_idle_lane_are_first_again_when_the_line_is_worked_off(live_api: Api) -> None:
    engine = live_api.prepared.engine
    submit_job(engine, 3, shard_items=1)
    last = submit_job(engine)
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(Shard).where(Shard.job_id == last).values(not_before=db_now(600.0)))
    work_until_empty(engine, "worker-1")

    assert shown(live_api, last)["position"] == 0
