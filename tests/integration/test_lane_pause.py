"""A lane that an operator paused: nothing is claimed from it, everybody is told why, and it goes on when resumed."""

from typing import Any

import pytest
from sqlalchemy import select

from shared.db import reading
from shared.models import AuditEvent
from shared.states import Lane
from tests.claimers import commit, take, work_until_empty
from tests.conftest import Api
from tests.factories import submit_job

QUEUES = "/api/v1/queues"
REASON = {"reason": "the scanner is being serviced"}


def lanes(api: Api) -> dict[str, dict[str, Any]]:
    return {lane["lane"]: lane for lane in api.get(QUEUES).json["items"]}


def test_nothing_is_claimed_from_a_lane_while_it_is_paused(any_api: Api) -> None:
    engine = any_api.prepared.engine
    job_id = submit_job(engine, 2, shard_items=1)
    running = take(engine, "worker-1")
    assert running is not None

    paused = any_api.post(f"{QUEUES}/routine/pause", json=REASON)

    assert paused.status_code == 200
    assert take(engine, "worker-1") is None
    assert take(engine, "worker-1", Lane.URGENT) is None
    commit(engine, running)
    job = any_api.get(f"/api/v1/jobs/{job_id}").json
    assert (job["state"], job["counts"]["done"]) == ("running", 1)
    assert "lane_paused" in job["waits_for"]
    resumed = any_api.post(f"{QUEUES}/routine/resume")
    assert (resumed.status_code, resumed.json["paused"]) == (200, None)
    work_until_empty(engine, "worker-1")
    assert any_api.get(f"/api/v1/jobs/{job_id}").json["state"] == "done"


def test_pause_says_what_it_needs_when_its_body_is_missing(api: Api) -> None:
    refused = api.post(f"{QUEUES}/routine/pause")

    assert refused.status_code == 400
    assert "send a JSON object" in refused.json["detail"]


def test_queue_and_job_say_who_paused_the_lane_and_why(any_api: Api) -> None:
    submitted = submit_job(any_api.prepared.engine)
    any_api.post(f"{QUEUES}/routine/pause", json=REASON)

    found = lanes(any_api)
    job = any_api.get(f"/api/v1/jobs/{submitted}").json

    assert (found["routine"]["paused"]["by"], found["routine"]["paused"]["reason"]) == ("admin", REASON["reason"])
    assert found["urgent"]["paused"] is None
    assert [found[lane]["weight"] for lane in ("urgent", "routine", "background")] == [16, 4, 1]
    text = any_api.app.test_client().get("/metrics").text
    assert 'overread_lane_paused{lane="routine"} 1.0' in text
    assert 'overread_lane_paused{lane="urgent"} 0.0' in text
    assert job["waits_for"] == ["broker_unreachable", "lane_paused", "no_live_worker", "free_worker"]


def test_pausing_and_resuming_twice_answers_409(any_api: Api) -> None:
    answers = [
        any_api.post(f"{QUEUES}/routine/{act}", json=REASON if act == "pause" else None)
        for act in ("resume", "pause", "pause", "resume", "resume")
    ]

    assert [answer.status_code for answer in answers] == [409, 200, 409, 200, 409]
    assert lanes(any_api)["routine"]["paused"] is None


def test_each_pause_and_resume_is_audited_once(any_api: Api) -> None:
    for act in ("pause", "pause", "resume", "resume"):
        any_api.post(f"{QUEUES}/urgent/{act}", json=REASON if act == "pause" else None)

    with reading(any_api.prepared.engine) as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "lane").order_by(AuditEvent.id))
        told = [(one.action, one.object_id, one.detail) for one in events]
    assert told == [("lane.pause", "urgent", REASON), ("lane.resume", "urgent", {})]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nowhere/pause", REASON, 404),
        ("nowhere/resume", None, 404),
        ("routine/pause", {}, 422),
        ("routine/pause", {"reason": ""}, 422),
        ("routine/pause", {"reason": "x" * 201}, 422),
        ("routine/pause", {"reason": "a\x1b[2J"}, 422),
    ],
    ids=["unknown_pause", "unknown_resume", "missing", "empty", "long", "control"],
)
def test_pause_is_refused_when_it_is_not_clear(api: Api, path: str, body: Any, status: int) -> None:
    assert api.post(f"{QUEUES}/{path}", json=body).status_code == status


def test_pause_needs_the_scope_operate(api: Api) -> None:
    token = api.post("/api/v1/tokens", json={"principal": "ward", "scopes": ["submit", "read"]}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}

    answers = [api.post(f"{QUEUES}/routine/{act}", json=REASON, headers=headers) for act in ("pause", "resume")]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert lanes(api)["routine"]["paused"] is None
