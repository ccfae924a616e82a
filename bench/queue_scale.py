"""How fast the lists answer when the database holds a million jobs and ten million items."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from api.app import create_app
from api.serve import leave_out_of_collections
from shared.config import Settings
from shared.db import make_engine
from shared.migrate import prepare_database
from tests.factories import submit_job

ITEMS_A_JOB = 10
# One job in so many waits, each with one shard; a handful run; the others are over.
ONE_QUEUED_IN = 7
WARM_REQUESTS = 5

STATE = (
    f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 'queued' WHEN n % 1000 = 1 THEN 'running' "
    "WHEN n % 50 = 2 THEN 'failed' WHEN n % 20 = 3 THEN 'partial' WHEN n % 100 = 4 THEN 'cancelled' ELSE 'done' END"
)
LANE = "CASE WHEN n % 3 = 0 THEN 'urgent' WHEN n % 3 = 1 THEN 'routine' ELSE 'background' END"


def _job_id(number: str) -> str:
    """Time-ordered ids, as the product makes them: a UUIDv7's first 48 bits count milliseconds."""
    return (
        f"(lpad(to_hex(1700000000000 + ({number}) * 1000), 12, '0') || '7' || lpad(to_hex(({number}) % 4096), 3, '0') "
        f"|| '8' || lpad(to_hex({number}), 15, '0'))::uuid"
    )


def fill(engine: Engine, jobs: int) -> None:
    """Rows by the server itself, as many jobs as asked and ten items each, with what the product keeps beside them."""
    with engine.begin() as connection:
        # Foreign keys of copied rows hold by construction; checking ten million takes minutes.
        connection.execute(text("SET session_replication_role = replica"))
        columns = _columns(connection)
        _fill_jobs(connection, columns, jobs)
        _fill_shards_and_items(connection, columns, jobs)
        _fill_counters(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _columns(connection: Connection) -> dict[str, list[str]]:
    rows = connection.execute(
        text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def _copy(connection: Connection, columns: list[str], table: str, rows: int, changed: dict[str, str]) -> None:
    """Copies of the table's first row, numbered n, with these columns computed."""
    chosen = [column for column in columns if changed.get(column) != ""]
    values = ", ".join(changed.get(column, f"model.{column}") for column in chosen)
    connection.execute(
        text(
            f"INSERT INTO {table} ({', '.join(chosen)}) SELECT {values} FROM generate_series(1, {rows}) AS n, "
            f"(SELECT * FROM {table} ORDER BY id LIMIT 1) AS model"
        )
    )


def _fill_jobs(connection: Connection, columns: dict[str, list[str]], jobs: int) -> None:
    changed = {
        "id": _job_id("n"),
        "state": STATE,
        "lane": LANE,
        "label": "'night ' || n % 300",
        "items_total": str(ITEMS_A_JOB),
        "items_done": f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 0 ELSE {ITEMS_A_JOB} END",
        "created_at": "now() - n * interval '1 second'",
    }
    _copy(connection, columns["job"], "job", jobs, changed)


def _fill_shards_and_items(connection: Connection, columns: dict[str, list[str]], jobs: int) -> None:
    state = f"CASE WHEN n % {ONE_QUEUED_IN} = 0 THEN 'queued' ELSE 'done' END"
    shard = {
        "id": "n + 1000",
        "job_id": _job_id("n"),
        "state": state,
        "lane": LANE,
        "turn": f"n * {ITEMS_A_JOB}",
        "items_total": str(ITEMS_A_JOB),
    }
    _copy(connection, columns["shard"], "shard", jobs, shard)
    item = {
        "id": "n + 1000",
        "job_id": _job_id("(n - 1) / 10 + 1"),
        "shard_id": "(n - 1) / 10 + 1001",
        "target": "'instance:' || n",
        "state": f"CASE WHEN ((n - 1) / 10 + 1) % {ONE_QUEUED_IN} = 0 THEN 'pending' ELSE 'done' END",
    }
    _copy(connection, columns["item"], "item", jobs * ITEMS_A_JOB, item)


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


def answer_times(settings: Settings, jobs: int, requests: int) -> dict[str, list[float]]:
    """Seconds of each request by what was asked, through the whole application."""
    engine = make_engine(settings)
    token = prepare_database(engine, "bench")
    submit_job(engine, 1)
    fill(engine, jobs)
    client = create_app(settings).test_client()
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
        "jobs list, one label": lambda at: f"/api/v1/jobs?label=night {at % 300}",
        "jobs list, deep page": lambda at: f"/api/v1/jobs?cursor={over[at % len(over)]}",
        "a job that waits": lambda at: f"/api/v1/jobs/{queued[at % len(queued)]}",
        "a job that is over": lambda at: f"/api/v1/jobs/{over[at % len(over)]}",
        "a job's items": lambda at: f"/api/v1/jobs/{over[at % len(over)]}/items",
        "queues": lambda _: "/api/v1/queues",
        "metrics": lambda _: "/metrics",
    }
    found = {name: _times(get if name != "metrics" else _plain(client), path, requests) for name, path in asked.items()}
    engine.dispose()
    return found


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
