"""How fast the lists and the pages answer when the database holds a million jobs and ten million items."""

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from api.app import create_app
from bench.copied_rows import columns_of, copy_row, job_id, vacuum, without_foreign_keys
from shared.collector import leave_out_of_collections
from shared.config import Settings
from shared.db import make_engine
from shared.migrate import prepare_database
from shared.repositories.pace import BUCKET_S, DEPTH_S
from tests.factories import submit_job

ITEMS_A_JOB = 10
# One job in so many waits, each with one shard; a handful run; the others are over.
ONE_QUEUED_IN = 7
WARM_REQUESTS = 5
DAY_S = 86_400

STATE = (
    f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 'queued' WHEN n % 1000 = 1 THEN 'running' "
    "WHEN n % 50 = 2 THEN 'failed' WHEN n % 20 = 3 THEN 'partial' WHEN n % 100 = 4 THEN 'cancelled' ELSE 'done' END"
)
# Of what failed, all items did; of what is partial, one.
FAILED = (
    f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 0 WHEN n % 50 = 2 THEN {ITEMS_A_JOB} WHEN n % 20 = 3 THEN 1 ELSE 0 END"
)
JOB_OF_ITEM = f"((n - 1) / {ITEMS_A_JOB} + 1)"
ITEM_FAILED = f"({JOB_OF_ITEM} % 50 = 2 OR {JOB_OF_ITEM} % 20 = 3 AND n % {ITEMS_A_JOB} = 1)"
LANE = "CASE WHEN n % 3 = 0 THEN 'urgent' WHEN n % 3 = 1 THEN 'routine' ELSE 'background' END"


def fill(engine: Engine, jobs: int) -> None:
    """Rows by the server itself, as many jobs as asked and ten items each, with what the product keeps beside them."""
    with engine.begin() as connection:
        without_foreign_keys(connection)
        columns = columns_of(connection)
        _fill_jobs(connection, columns, jobs)
        _fill_shards_and_items(connection, columns, jobs)
        _fill_counters(connection)
        _fill_day(connection)
    vacuum(engine)


def _fill_jobs(connection: Connection, columns: dict[str, list[str]], jobs: int) -> None:
    changed = {
        "id": job_id("n"),
        "state": STATE,
        "lane": LANE,
        "label": "'Night ' || n % 300",
        "label_folded": "'night ' || n % 300",
        "items_total": str(ITEMS_A_JOB),
        "items_done": f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 0 ELSE {ITEMS_A_JOB} - {FAILED} END",
        "items_failed": FAILED,
        "created_at": "now() - n * interval '1 second'",
    }
    copy_row(connection, columns["job"], "job", jobs, changed)


def _fill_shards_and_items(connection: Connection, columns: dict[str, list[str]], jobs: int) -> None:
    state = f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 'queued' ELSE 'done' END"
    shard = {
        "id": "n + 1000",
        "job_id": job_id("n"),
        "state": state,
        "lane": LANE,
        "turn": f"n * {ITEMS_A_JOB}",
        "items_total": str(ITEMS_A_JOB),
    }
    copy_row(connection, columns["shard"], "shard", jobs, shard)
    item = {
        "id": "n + 1000",
        "job_id": job_id(JOB_OF_ITEM),
        "shard_id": f"{JOB_OF_ITEM} + 1000",
        "target": "'instance:' || n",
        "state": f"CASE WHEN {JOB_OF_ITEM} % {ONE_QUEUED_IN} = 0 THEN 'pending' WHEN {ITEM_FAILED} THEN 'failed' "
        "ELSE 'done' END",
        "reason": f"CASE WHEN {JOB_OF_ITEM} % {ONE_QUEUED_IN} <> 0 AND {ITEM_FAILED} "
        "THEN CASE n % 2 WHEN 0 THEN 'decode_crashed' ELSE 'no_pixel_data' END END",
        "finished_at": f"now() - ({JOB_OF_ITEM} - 1) * interval '1 second'",
    }
    copy_row(connection, columns["item"], "item", jobs * ITEMS_A_JOB, item)


def _fill_counters(connection: Connection) -> None:
    for statement in (
        "DELETE FROM tally",
        "INSERT INTO tally (name, value) SELECT 'jobs.' || state, count(*) FROM job GROUP BY state",
        "INSERT INTO tally (name, value) SELECT 'shards.' || lane || '.' || state, count(*) FROM shard "
        "WHERE state IN ('queued', 'running') GROUP BY lane, state",
        "INSERT INTO tally (name, value) SELECT 'items.' || lane || '.queued', sum(items_total) FROM shard "
        "WHERE state = 'queued' GROUP BY lane",
    ):
        connection.execute(text(statement))


def _fill_day(connection: Connection) -> None:
    """A day of throughput and depth, as full as the product makes them; their colons are no parameters."""
    for statement in (
        f"INSERT INTO pace (lane, at, items) SELECT 'routine', now() - n * interval '{BUCKET_S} seconds', 16 "
        f"FROM generate_series(1, {DAY_S // BUCKET_S}) AS n",
        "INSERT INTO depth (at, queued) SELECT date_trunc('minute', now()) - n * interval '1 minute', "
        """'{"urgent": 5, "routine": 900, "background": 7, "training": 0}' """
        f"FROM generate_series(1, {DAY_S // DEPTH_S}) AS n",
    ):
        connection.exec_driver_sql(statement)


def answer_times(settings: Settings, jobs: int, requests: int) -> dict[str, list[float]]:
    """Seconds of each request by what was asked, through the whole application."""
    engine = make_engine(settings)
    token = prepare_database(engine, "bench")
    submit_job(engine, 1)
    fill(engine, jobs)
    # What is measured is how soon the answers come, of more questions than a token may ask.
    client = create_app(settings.model_copy(update={"requests_per_minute": 1_000_000})).test_client()
    leave_out_of_collections()
    headers = {"Authorization": f"Bearer {token}"}

    def get(path: str) -> Any:
        answer = client.get(path, headers=headers)
        assert answer.status_code == HTTPStatus.OK, answer.text
        return answer.json

    queued = [job["id"] for job in _spread(engine, "queued", requests)]
    over = [job["id"] for job in _spread(engine, "done", requests)]
    asked: dict[str, Callable[[int], str]] = {
        "jobs list": lambda _: "/api/v1/jobs",
        "jobs list, queued": lambda _: "/api/v1/jobs?state=queued",
        "jobs list, one label": lambda at: f"/api/v1/jobs?label=Night {at % 300}",
        "jobs list, deep page": lambda at: f"/api/v1/jobs?cursor={over[at % len(over)]}",
        "a job that waits": lambda at: f"/api/v1/jobs/{queued[at % len(queued)]}",
        "a job that is over": lambda at: f"/api/v1/jobs/{over[at % len(over)]}",
        "a job's items": lambda at: f"/api/v1/jobs/{over[at % len(over)]}/items",
        "queues": lambda _: "/api/v1/queues",
        "workers": lambda _: "/api/v1/workers",
        "a day's activity": lambda _: "/api/v1/activity",
        "a day's failures": lambda _: "/api/v1/failures",
        "gate decisions": lambda _: "/api/v1/gate-decisions",
        "metrics": lambda _: "/metrics",
    }
    found = {name: _times(get if name != "metrics" else _plain(client), path, requests) for name, path in asked.items()}
    client.post("/login", data={"token": token})
    for name, path in _pages(queued, over).items():
        found[f"the page {name}"] = _times(_page(client), path, requests)
    engine.dispose()
    return found


def _pages(queued: Sequence[UUID], over: Sequence[UUID]) -> dict[str, Callable[[int], str]]:
    """Every room, a job, and what would be done to many."""
    rooms = ("/", "/worklist", "/reports", "/jobs", "/submit", "/models", "/schedules", "/admin", "/admin/audit")
    found: dict[str, Callable[[int], str]] = {room: (lambda _, room=room: room) for room in rooms}  # type: ignore[misc]
    return found | {
        "/jobs?state=queued": lambda _: "/jobs?state=queued",
        "that finds jobs by a label": lambda at: f"/jobs?q=night {at % 300}",
        "that finds all jobs by their label, and failed ones": lambda _: "/jobs?q=night&state=failed",
        "that finds all jobs by who submitted": lambda _: "/jobs?q=adm",
        "of a job that waits": lambda at: f"/jobs/{queued[at % len(queued)]}",
        "of a job that is over": lambda at: f"/jobs/{over[at % len(over)]}",
        "that counts what a cancel would end": lambda _: "/jobs/cancel?state=queued",
        "that counts what a retry would take": lambda _: "/jobs/retry?state=failed",
        "that counts what a retry of a label would take": lambda at: f"/jobs/retry?q=night {at % 300}",
    }


def _page(client: Any) -> Callable[[str], None]:
    def get(path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == HTTPStatus.OK, answer.text

    return get


def _plain(client: Any) -> Callable[[str], Any]:
    return lambda path: client.get(path).data


def _spread(engine: Engine, state: str, wanted: int) -> list[dict[str, UUID]]:
    """Jobs of a state from everywhere in the table."""
    with engine.connect() as connection:
        statement = text("SELECT id FROM job TABLESAMPLE SYSTEM (20) WHERE state = :state LIMIT :wanted")
        return [{"id": row.id} for row in connection.execute(statement, {"state": state, "wanted": wanted})]


def _times(get: Callable[[str], Any], path: Callable[[int], str], requests: int) -> list[float]:
    times = []
    for at in range(requests + WARM_REQUESTS):
        began = time.perf_counter()
        get(path(at))
        times.append(time.perf_counter() - began)
    return times[WARM_REQUESTS:]
