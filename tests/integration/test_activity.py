"""What was done, what waited, what failed and who works, as the API tells it: the figures behind the page Tonight."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.event import listen

from api.routes import activity
from scheduler.loop import make_duties
from scheduler.sweep import sweep
from scheduler.tallies import note_depths
from shared.clock import step_of, utc_now
from shared.db import db_now, reading
from shared.models import Depth, Item, WorkerProcess
from shared.reasons import Reason
from shared.repositories import pace
from shared.repositories.failures import failed_lately
from shared.repositories.jobs import Target
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.repositories.workers import stop
from shared.states import ItemState, Lane
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import claim, items_of, rows_of, submit_job
from tests.waiting import add_worker

NOTHING = {str(lane): 0 for lane in Lane}
HOUR_S = 3600


def deepen(engine: Engine, at: datetime, **queued: int) -> None:
    with UnitOfWork(engine) as uow:
        uow.session.add(Depth(at=at, queued=NOTHING | queued))


def fail(engine: Engine, *reasons: Reason) -> UUID:
    """A job whose images failed, each for one of these reasons."""
    job_id = submit_job(engine, len(reasons))
    claimed = claim(engine)
    outcomes = [
        Outcome(item, ItemState.FAILED, reason) for item, reason in zip(items_of(engine, claimed), reasons, strict=True)
    ]
    with UnitOfWork(engine) as uow:
        record_outcomes(uow.session, {claimed.fence: outcomes})
    return job_id


def failures(api: Api, hours: int = 24) -> Any:
    return api.get(f"/api/v1/failures?hours={hours}").json


def test_scheduler_notes_what_waits_in_each_lane(any_api: Api) -> None:
    prepared = any_api.prepared
    submit_job(prepared.engine, 5)
    submit_job(prepared.engine, 2, lane=Lane.URGENT)
    store = ContentStore(prepared.settings.store_dir)
    duties = make_duties(prepared.engine, None, store, prepared.settings)  # type: ignore[arg-type]
    before = any_api.get("/api/v1/activity").json

    (duty,) = [one for one in duties if one.name == "depths"]
    assert duty.run() == 1

    after = any_api.get("/api/v1/activity").json
    assert (before["looked_at"], {step["queued"] for step in before["items"]}) == (None, {None})
    assert utc_now() - datetime.fromisoformat(after["looked_at"]) < timedelta(minutes=2)
    told = [step["queued"] for step in after["items"] if step["queued"] is not None]
    assert told == [NOTHING | {"routine": 5, "urgent": 2}], "nobody looked before: that is a gap, not a zero"


def test_schedulers_beside_each_other_note_a_minute_once(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, now = any_api.prepared.engine, utc_now()
    monkeypatch.setattr(pace, "database_time", lambda session: now)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(note_depths, [engine] * 4))

    assert sum(made) == 1
    with reading(engine) as session:
        assert rows_of(session, Depth) == 1


def test_step_tells_of_the_minute_in_which_most_waited(any_api: Api) -> None:
    engine = any_api.prepared.engine
    begun = step_of(utc_now(), activity.STEP_S) - timedelta(seconds=activity.STEP_S)
    for minute, queued in enumerate(({"urgent": 3}, {"urgent": 1, "routine": 7}, {"routine": 6})):
        deepen(engine, begun + timedelta(minutes=minute), **queued)
    deepen(engine, begun - timedelta(hours=3))
    deepen(engine, begun - timedelta(hours=24), urgent=900)

    told = any_api.get("/api/v1/activity").json["items"]

    found = {datetime.fromisoformat(step["at"]): step["queued"] for step in told if step["queued"]}
    assert found == {begun - timedelta(hours=3): NOTHING, begun: NOTHING | {"urgent": 1, "routine": 7}}
    assert (len(told), Counter(step["queued"] is None for step in told)[True]) == (96, 94)


def test_depths_older_than_a_day_are_forgotten(any_api: Api) -> None:
    prepared = any_api.prepared
    for hours in (1, 25):
        deepen(prepared.engine, utc_now() - timedelta(hours=hours))

    sweep(prepared.engine, ContentStore(prepared.settings.store_dir))

    with reading(prepared.engine) as session:
        assert rows_of(session, Depth) == 1


def test_failures_are_counted_by_reason_with_where_the_last_was(any_api: Api) -> None:
    engine = any_api.prepared.engine
    first = fail(engine, Reason.DECODE_FAILED, Reason.DECODE_FAILED, Reason.ENGINE_TIMEOUT)
    second = fail(engine, Reason.DECODE_FAILED)
    rejected = submit_job(
        engine, 1, extra=[Target("file:1", state=ItemState.FAILED, reason=Reason.NOT_DICOM), Target("file:2")]
    )

    found = failures(any_api)

    told = [(one["reason"], one["failure"], one["items"], one["last_job"]) for one in found["items"]]
    assert told == [
        ("decode_failed", "permanent", 3, str(second)),
        ("engine_timeout", "timeout", 1, str(first)),
        ("not_dicom", "permanent", 1, str(rejected)),
    ]
    assert (found["counted"], found["is_all"]) == (5, True)
    assert found["items"][0]["reason_text"] == "The pixel data cannot be decoded."
    where = f"/api/v1/jobs/{first}/items?state=failed&reason=engine_timeout"
    assert len(any_api.get(where).json["items"]) == 1


def test_failures_of_before_are_not_counted(any_api: Api) -> None:
    engine = any_api.prepared.engine
    old, new = fail(engine, Reason.DECODE_FAILED), fail(engine, Reason.DECODE_FAILED)
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(Item).where(Item.job_id == old).values(finished_at=db_now(-2.0 * HOUR_S)))

    (one,), both = failures(any_api, hours=1)["items"], failures(any_api)["counted"]

    assert (one["items"], one["last_job"], both) == (1, str(new), 2)


def test_only_the_last_failures_are_counted_when_there_are_very_many(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "MOST_COUNTED", 2)
    fail(any_api.prepared.engine, Reason.DECODE_FAILED)
    fail(any_api.prepared.engine, Reason.NO_PIXEL_DATA, Reason.NO_PIXEL_DATA)

    found = failures(any_api)

    assert [(one["reason"], one["items"]) for one in found["items"]] == [("no_pixel_data", 2)]
    assert not found["is_all"]


def test_failures_are_read_from_their_own_index(any_api: Api) -> None:
    """Otherwise all items would be read, of which there are ten for each job."""
    engine = any_api.prepared.engine
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    plan: list[str] = []

    def look(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        cursor.execute(f"{explain} {statement}", parameters)
        plan.extend(str(row) for row in cursor.fetchall())

    with reading(engine) as session:
        if engine.dialect.name == "postgresql":
            # Of a table without rows all is read sooner than an index.
            session.execute(text("SET LOCAL enable_seqscan = off"))
        listen(session.connection(), "before_cursor_execute", look)
        failed_lately(session, 60.0, 10)

    assert "ix_item_failed" in "".join(plan)


def test_workers_say_what_they_have_in_hand_and_since_when(any_api: Api) -> None:
    engine = any_api.prepared.engine
    add_worker(engine, "host-1", concurrency=4, engines=["keras/abc"], rss_bytes=5)
    job = submit_job(engine, 24, shard_items=2)
    for _ in range(11):
        claim(engine, "host-1")

    (worker,) = any_api.get("/api/v1/workers").json["items"]

    assert (worker["running_shards"], len(worker["shards"])) == (11, 10)
    oldest = worker["shards"][0]
    assert (oldest["job"], oldest["lane"]) == (str(job), "routine")
    assert oldest["id"] == min(shard["id"] for shard in worker["shards"])
    assert abs(utc_now() - datetime.fromisoformat(oldest["since"])) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("age_s", "then", "is_missed"),
    [
        (60.0, "", True),
        (60.0, "it ended", False),
        (60.0, "another of its host began", False),
        (60.0, "another host's began", True),
        (2.0 * HOUR_S, "", False),
        (0.0, "", False),
    ],
)
def test_worker_is_missed_when_it_fell_silent_and_was_not_replaced(
    any_api: Api, age_s: float, then: str, is_missed: bool
) -> None:
    engine = any_api.prepared.engine
    add_worker(engine, "a-host-7", lanes=["urgent"])
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(WorkerProcess).values(heartbeat_at=db_now(-age_s), started_at=db_now(-age_s)))
        if then == "it ended":
            stop(uow.session, "a-host-7")
    if then.startswith("another"):
        add_worker(engine, "a-host-8" if "its host" in then else "b-host-8")

    silent = any_api.get("/api/v1/workers").json["silent"]

    assert [(one["name"], one["lanes"]) for one in silent] == ([("a-host-7", ["urgent"])] if is_missed else [])


@pytest.mark.parametrize("path", ["activity", "failures", "workers", "disk", "gate-decisions"])
def test_figures_are_for_readers_only(api: Api, path: str) -> None:
    made = api.post("/api/v1/tokens", json={"principal": "sender", "scopes": ["submit"]}).json

    answer = api.app.test_client().get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {made['token']}"})

    assert answer.status_code == 403
