"""Nightly batches: every owed moment becomes one row, whatever the clocks, the schedulers and downtimes do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from sqlalchemy import select, update

import scheduler.batch
from shared.cron import fires_after
from shared.db import reading
from shared.models import Item, Job, Schedule, ScheduleRun
from shared.repositories.registry import promote
from shared.states import Explain, JobState, Lane, Overlap, RunState
from shared.unit_of_work import UnitOfWork
from tests.claimers import work_until_empty
from tests.conftest import Prepared
from tests.dicom_samples import make_uid
from tests.factories import add_model, rows_of
from tests.nights import HOUR_S, JOB, START, Night, add_schedule


def test_night_predicts_on_what_is_new_and_no_night_on_it_again(any_prepared: Prepared) -> None:
    night = Night(any_prepared)
    night.store(3)
    night.store(1, has_pixel_data=False)

    assert night.at("2026-03-28T01:29:59Z").runs() == []
    night.at("2026-03-28T01:30:00Z")
    with reading(any_prepared.engine) as session:
        job = session.scalars(select(Job)).one()
        assert (job.lane, job.label, job.explain) == (Lane.ROUTINE, "night", Explain.POSITIVES)
    night.at("2026-03-29T12:00:00Z")
    night.store(2)
    night.at("2026-03-30T12:00:00Z")

    assert night.runs() == [
        ("03-28 01:30", "fired", "3 of 3 new instances"),
        ("03-29 01:00", "skipped", "the job of the run before is still open"),
        ("03-30 00:30", "skipped", "the job of the run before is still open"),
    ]
    work_until_empty(any_prepared.engine, "worker-1")
    night.at("2026-03-31T12:00:00Z")
    night.at("2026-04-01T12:00:00Z")
    work_until_empty(any_prepared.engine, "worker-1")
    night.at("2026-04-02T12:00:00Z")
    assert night.states()[3:] == ["fired", "skipped", "skipped"]
    assert night.runs()[-1][2] == "0 instances are new; it starts from 1 on"
    assert night.jobs() == [(3, JobState.DONE), (2, JobState.DONE)]


def test_only_what_the_model_accepts_is_new(any_prepared: Prepared) -> None:
    night = Night(any_prepared)
    with UnitOfWork(any_prepared.engine) as uow:
        add_model(uow.session, "only-mr", accepts={"modalities": ["mr"], "body_parts": None})
        uow.session.execute(update(Schedule).values(request=JOB | {"model": "only-mr"}))
    night.store(2)
    night.store(1, modality="MR", series_instance_uid=make_uid("of another modality"))

    night.at("2026-03-28T12:00:00Z")

    assert night.jobs() == [(1, JobState.QUEUED)]


@pytest.mark.parametrize(("every_version", "jobs"), [(False, 1), (True, 2)])
def test_promotion_has_nothing_predicted_again_unless_it_is_asked_for(
    any_prepared: Prepared, every_version: bool, jobs: int
) -> None:
    night = Night(any_prepared)
    night.store(2)
    night.at("2026-03-28T12:00:00Z")
    work_until_empty(any_prepared.engine, "worker-1")
    with UnitOfWork(any_prepared.engine) as uow:
        assert promote(uow.session, add_model(uow.session), None)
        uow.session.execute(update(Schedule).values(request=JOB | {"every_version": every_version}))

    night.at("2026-03-29T12:00:00Z")

    assert [total for total, _ in night.jobs()] == [2] * jobs


@pytest.mark.parametrize(
    ("zone", "cron", "change"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-29"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25"),
        ("America/New_York", "30 1 * * *", "2026-11-01"),
        ("America/New_York", "30 2 * * *", "2026-03-08"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04"),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-05"),
    ],
)
@pytest.mark.parametrize("outage_h", [0, 36])
def test_each_owed_night_has_one_row_over_clock_changes_and_downtime(
    prepared: Prepared, zone: str, cron: str, change: str, outage_h: int
) -> None:
    begin = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(hours=60)
    end = begin + timedelta(hours=144)
    owed = [one for one in islice(fires_after(cron, zone, begin), 10) if one <= end]
    outage = (begin + timedelta(hours=48), begin + timedelta(hours=48 + outage_h))
    night = Night(prepared, now=begin, cron=cron, time_zone=zone)

    now = begin
    while now < end:
        now += timedelta(minutes=30)
        if not outage[0] < now < outage[1]:
            night.at(now.isoformat())

    runs = night.runs()
    assert [moment for moment, _, _ in runs] == [f"{one:%m-%d %H:%M}" for one in owed]
    assert len(owed) in (5, 6)
    late = [one for one in owed if outage[0] < one and outage[1] - one > timedelta(hours=12) and one < outage[1]]
    assert [state for _, state, _ in runs].count("missed") == len(late)
    if outage_h:
        assert late


def test_of_a_long_downtime_only_the_last_moment_fires(prepared: Prepared) -> None:
    night = Night(prepared, cron="* * * * *", catch_up_s=60 * 60, now=datetime(2026, 3, 27, 0, 0, 30, tzinfo=UTC))
    night.store(1)

    night.at("2026-03-27T20:00:30Z")

    states = night.states()
    assert len(states) == 1200
    assert (states.count("missed"), states.count("skipped"), states[-1]) == (1140, 59, "fired")


def test_schedulers_beside_each_other_fire_each_moment_once(any_prepared: Prepared) -> None:
    night = Night(any_prepared)
    with UnitOfWork(any_prepared.engine) as uow:
        for number in range(7):
            add_schedule(uow, START, name=f"other-{number}", catch_up_s=1000 * HOUR_S)
    night.store(1)
    night.now = datetime(2026, 3, 28, 12, tzinfo=UTC)

    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda _: night.calendar().run(), range(12)))

    assert sum(settled) == 8
    with reading(any_prepared.engine) as session:
        assert rows_of(session, ScheduleRun) == 8
        assert rows_of(session, ScheduleRun, ScheduleRun.state == RunState.FIRED) == 1
        assert rows_of(session, Job) == 1
        assert rows_of(session, Item) == 1


def test_run_waits_for_the_one_before_when_the_policy_is_queue(any_prepared: Prepared) -> None:
    night = Night(any_prepared, overlap=Overlap.QUEUE)
    night.store(1)
    night.at("2026-03-28T12:00:00Z")
    night.store(1)
    night.at("2026-03-29T12:00:00Z").at("2026-03-30T12:00:00Z")
    assert night.states() == ["fired", "waiting", "skipped"]

    work_until_empty(any_prepared.engine, "worker-1")
    night.at("2026-03-30T13:00:00Z")

    assert night.states() == ["fired", "fired", "skipped"]
    assert [state for _, state in night.jobs()] == [JobState.DONE, JobState.QUEUED]


def test_job_before_is_cancelled_when_the_policy_is_cancel(any_prepared: Prepared) -> None:
    night = Night(any_prepared, overlap=Overlap.CANCEL)
    night.store(1)
    night.at("2026-03-28T12:00:00Z")
    night.store(2)

    night.at("2026-03-29T12:00:00Z")

    assert night.states() == ["fired", "fired"]
    assert night.jobs() == [(1, JobState.CANCELLED), (2, JobState.QUEUED)]


def test_run_starts_from_so_many_new_instances_on(prepared: Prepared) -> None:
    night = Night(prepared, min_new=3)
    night.store(2)

    night.at("2026-03-28T12:00:00Z")
    night.store(1)
    night.at("2026-03-29T12:00:00Z")

    assert [(state, why) for _, state, why in night.runs()] == [
        ("skipped", "2 instances are new; it starts from 3 on"),
        ("fired", "3 of 3 new instances"),
    ]


def test_jitter_delays_a_run_by_the_same_time_for_every_scheduler(prepared: Prepared) -> None:
    night = Night(prepared, jitter_s=HOUR_S, catch_up_s=0)
    due_at = night.schedule().due_at
    assert due_at is not None
    delay = due_at - night.schedule().fires_at
    assert timedelta(0) < delay < timedelta(hours=1)

    assert night.at((due_at - timedelta(seconds=1)).isoformat()).runs() == []
    assert night.at(due_at.isoformat()).states() == ["skipped"]


def test_schedule_that_only_fails_is_paused_with_the_reason(prepared: Prepared) -> None:
    night = Night(prepared)
    with UnitOfWork(prepared.engine) as uow:
        uow.session.execute(update(Schedule).values(request=JOB | {"model": "gone"}))

    for day in (28, 29, 30, 31):
        night.at(f"2026-03-{day}T12:00:00Z")

    assert night.states() == ["failed"] * 3
    assert "no such model version" in night.schedule().pause_reason


def test_what_is_too_much_for_a_job_comes_when_it_is_over(
    any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler.batch, "MOST_INSTANCES", 2)
    night = Night(any_prepared)
    night.store(5)

    night.at("2026-03-28T01:30:00Z")
    assert [(state, why) for _, state, why in night.runs()] == [
        ("fired", "2 of 5 new instances"),
        ("waiting", "the rest of what the run before found"),
    ]
    for minute in (31, 32, 33):
        work_until_empty(any_prepared.engine, "worker-1")
        night.at(f"2026-03-28T01:{minute}:00Z")

    assert night.jobs() == [(2, JobState.DONE), (2, JobState.DONE), (1, JobState.DONE)]
    assert night.states() == ["fired"] * 3
