"""Nightly batches: every owed moment becomes one row, whatever the clocks, the schedulers and downtimes do."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

import scheduler.batch
from scheduler.calendar import Calendar
from shared.cron import fires_after
from shared.db import reading
from shared.identifiers import new_id
from shared.models import Item, Job, Schedule, ScheduleRun
from shared.repositories.registry import promote
from shared.repositories.schedules import first_fire, set_next
from shared.states import Explain, JobKind, JobState, Lane, Overlap, RunState
from shared.unit_of_work import UnitOfWork
from tests.claimers import work_until_empty
from tests.conftest import Api, Prepared
from tests.dicom_samples import make_uid
from tests.factories import MODEL, add_instance, add_model, admin_id, rows_of

SCHEDULES = "/api/v1/schedules"
START = datetime(2026, 3, 27, 12, tzinfo=UTC)
NIGHTLY = "30 2 * * *"
JOB = {"model": MODEL, "priority": "routine", "label": "night", "explain": "positives", "every_version": False}
HOUR_S = 3600


class NoHints:
    """Hints that are lost, as hints may be."""

    def send(self, lane: Lane, count: int = 1) -> bool:
        return False


class Night:
    """A database with one schedule and a clock of its own."""

    def __init__(self, prepared: Prepared, *, now: datetime = START, **given: Any) -> None:
        self.prepared, self.now = prepared, now
        with UnitOfWork(prepared.engine) as uow:
            add_model(uow.session)
            self.schedule_id = add_schedule(uow, now, **given)

    def calendar(self) -> Calendar:
        settings = self.prepared.settings
        return Calendar(self.prepared.engine, NoHints(), settings, now=lambda session: self.now)  # type: ignore[arg-type]

    def at(self, moment: str) -> "Night":
        """Later, until nothing more is due."""
        self.now = datetime.fromisoformat(moment)
        calendar = self.calendar()
        while calendar.run():
            pass
        return self

    def store(self, count: int = 1, **given: Any) -> None:
        with UnitOfWork(self.prepared.engine) as uow:
            for _ in range(count):
                add_instance(uow.session, **given)

    def runs(self) -> list[tuple[str, str, str]]:
        with reading(self.prepared.engine) as session:
            rows = session.scalars(
                select(ScheduleRun).where(ScheduleRun.schedule_id == self.schedule_id).order_by(ScheduleRun.id)
            )
            return [(f"{run.fires_at:%m-%d %H:%M}", run.state.value, run.reason) for run in rows]

    def states(self) -> list[str]:
        return [state for _, state, _ in self.runs()]

    def jobs(self) -> list[tuple[int, JobState]]:
        with reading(self.prepared.engine) as session:
            jobs = session.scalars(select(Job).order_by(Job.id))
            return [(job.items_total, job.state) for job in jobs]

    def schedule(self) -> Schedule:
        with reading(self.prepared.engine) as session:
            return session.get_one(Schedule, self.schedule_id)


def add_schedule(uow: UnitOfWork, now: datetime, **given: Any) -> UUID:
    usual = {
        "name": "nightly",
        "cron": NIGHTLY,
        "time_zone": "Europe/Berlin",
        "overlap": Overlap.SKIP,
        "catch_up_s": 12 * HOUR_S,
        "jitter_s": 0,
        "min_new": 1,
    }
    schedule = Schedule(
        id=new_id(),
        kind=JobKind.INFERENCE,
        request=JOB,
        principal_id=admin_id(uow.session),
        created_at=now,
        **usual | given,
    )
    set_next(schedule, first_fire(schedule.cron, schedule.time_zone, now))
    uow.session.add(schedule)
    return schedule.id


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
        assert promote(uow.session, add_model(uow.session))
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


def wanted(**changes: Any) -> dict[str, Any]:
    return {"name": "nightly", "cron": NIGHTLY, "time_zone": "Europe/Berlin", "job": {"model": MODEL}} | changes


def states_of(answers: Sequence[Any]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_schedule_is_added_shown_paused_resumed_and_removed(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)

    added = any_api.post(SCHEDULES, json=wanted())
    assert (added.status_code, len(added.json["next_fires"]), added.json["last_run"]) == (201, 5, None)
    assert {at[11:19] for at in added.json["next_fires"]} <= {"02:30:00", "03:00:00"}
    assert {at[19:] for at in added.json["next_fires"]} <= {"+01:00", "+02:00"}
    assert any_api.get(SCHEDULES).json["items"] == [added.json]
    assert any_api.get(f"{SCHEDULES}/nightly").json == added.json

    reason = {"reason": "the scanner is down"}
    paused = any_api.post(f"{SCHEDULES}/nightly/pause", json=reason)
    assert (paused.json["pause_reason"], paused.json["next_fires"]) == ("the scanner is down", [])
    again = [any_api.post(f"{SCHEDULES}/nightly/pause", json=reason), any_api.post(SCHEDULES, json=wanted())]
    resumed = any_api.post(f"{SCHEDULES}/nightly/resume")
    again.append(any_api.post(f"{SCHEDULES}/nightly/resume"))
    assert states_of(again) == [409, 409, 409]
    assert resumed.json["next_fires"] == added.json["next_fires"]

    gone = any_api.call("DELETE", f"{SCHEDULES}/nightly")
    after = [any_api.get(f"{SCHEDULES}/nightly"), any_api.post(SCHEDULES, json=wanted())]
    assert (gone.status_code, states_of(after)) == (204, [404, 201])


def test_trigger_starts_a_run_also_of_a_paused_schedule(any_api: Api) -> None:
    prepared = any_api.prepared
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session)
    any_api.post(SCHEDULES, json=wanted())
    any_api.post(f"{SCHEDULES}/nightly/pause", json={"reason": "by hand only"})

    first = any_api.post(f"{SCHEDULES}/nightly/trigger")
    second = any_api.post(f"{SCHEDULES}/nightly/trigger")
    Calendar(prepared.engine, NoHints(), prepared.settings).run()  # type: ignore[arg-type]

    assert states_of([first, second]) == [202, 409]
    (run,) = any_api.get(f"{SCHEDULES}/nightly/runs").json["items"]
    assert (run["origin"], run["state"], run["id"]) == ("hand", "fired", first.json["id"])
    assert any_api.get(f"/api/v1/jobs/{run['job_id']}").json["counts"]["total"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "61 2 * * *"}, "not valid"),
        ({"cron": "30 2 * *"}, "five"),
        ({"time_zone": "Mars/Olympus"}, "time zone"),
        ({"job": {"model": "unknown"}}, "no such model"),
        ({"name": "../x"}, "name"),
        ({"catch_up_s": -1}, "catch_up_s"),
        ({"overlap": "both"}, "overlap"),
        ({"training": {"model": MODEL}}, "a schedule does one of them"),
        ({"job": {"model": MODEL, "priority": "training"}}, "priority"),
        ({"crno": "x"}, "crno"),
    ],
)
def test_schedule_that_cannot_be_is_refused(api: Api, changes: dict[str, Any], says: str) -> None:
    with UnitOfWork(api.prepared.engine) as uow:
        add_model(uow.session)

    answer = api.post(SCHEDULES, json=wanted(**changes))

    assert answer.status_code == 422
    assert says in answer.json["detail"]
    assert api.get(SCHEDULES).json["items"] == []


def test_training_starts_when_enough_labels_are_new(any_api: Api) -> None:
    prepared = any_api.prepared
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
        uids = [add_instance(uow.session).sop_instance_uid for _ in range(5)]

    def label(*names: str) -> None:
        rows = [{"sop_instance_uid": name, "finding": "lesion", "value": 1, "source": "ward"} for name in names]
        assert any_api.post("/api/v1/labels", json={"labels": rows}).json["added"] == len(names)

    def trigger() -> tuple[str, str]:
        any_api.post(f"{SCHEDULES}/retraining/trigger")
        Calendar(prepared.engine, NoHints(), prepared.settings).run()  # type: ignore[arg-type]
        run = any_api.get(f"{SCHEDULES}/retraining/runs").json["items"][0]
        return run["state"], run["reason"]

    training = {"model": MODEL, "options": {"epochs": 7}, "label": "night"}
    added = any_api.post(
        SCHEDULES,
        json={"name": "retraining", "cron": NIGHTLY, "min_new": 2, "training": training},
    )
    assert (added.status_code, added.json["kind"]) == (201, "training")

    label(uids[0])
    assert trigger() == ("skipped", "1 labels are new since its last training; it starts from 2 on")
    label(*uids[1:3])
    assert trigger() == ("fired", "3 new labels")
    (job,) = any_api.get("/api/v1/jobs?kind=training").json["items"]
    any_api.post(f"/api/v1/jobs/{job['id']}/cancel")
    label(uids[3])
    assert trigger()[0] == "skipped"
    label(uids[4])
    assert trigger() == ("fired", "2 new labels")

    last, first = any_api.get("/api/v1/jobs?kind=training").json["items"]
    assert (first["state"], last["state"]) == ("cancelled", "queued")
    assert (last["priority"], last["label"], last["training"]["options"]["epochs"]) == ("training", "night", 7)
