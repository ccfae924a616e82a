"""Many jobs are stopped at once: only those that fit, so many in each request, only one's own unless one operates."""

from typing import Any

import pytest

from api.routes import cancels
from shared.states import Lane
from tests.conftest import Api
from tests.factories import claim, submit_job
from tests.invariants import check_invariants

JOBS = "/api/v1/jobs"
CANCEL = f"{JOBS}/cancel"


def state_of(api: Api, job_id: Any) -> str:
    state: str = api.get(f"{JOBS}/{job_id}").json["state"]
    return state


def test_only_jobs_that_fit_and_are_open_are_cancelled(any_api: Api) -> None:
    engine = any_api.prepared.engine
    running = submit_job(engine, 3, label="night")
    claim(engine)
    queued = submit_job(engine, 2, label="night")
    other = submit_job(engine, 1, label="day")
    urgent = submit_job(engine, 1, label="night", lane=Lane.URGENT)

    counted = any_api.post(f"{CANCEL}?label=night&priority=routine&dry_run=true").json
    assert (counted["jobs"], counted["items"], counted["remaining"], counted["cancelled"]) == (2, 5, 2, [])
    assert state_of(any_api, queued) == "queued"
    answer = any_api.post(f"{CANCEL}?label=night&priority=routine").json

    assert (answer["jobs"], answer["items"], answer["remaining"]) == (2, 5, 0)
    assert answer["cancelled"] == [str(running), str(queued)]
    assert state_of(any_api, queued) == "cancelled"
    assert any_api.get(f"{JOBS}/{running}").json["cancel_requested_at"]
    assert [state_of(any_api, one) for one in (other, urgent)] == ["queued", "queued"]
    assert any_api.post(f"{CANCEL}?label=night&priority=routine").json["jobs"] == 0, "once is enough"
    assert any_api.post(f"{CANCEL}?state=running").json["jobs"] == 0
    check_invariants(engine)


def test_so_many_are_cancelled_in_each_request_and_newer_ones_left(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "MOST_JOBS", 2)
    old = [submit_job(any_api.prepared.engine, 1) for _ in range(3)]

    first = any_api.post(CANCEL).json
    newer = submit_job(any_api.prepared.engine, 1)
    second = any_api.post(CANCEL, query_string={"created_before": first["created_before"]}).json

    assert (first["cancelled"], first["remaining"]) == ([str(one) for one in old[:2]], 1)
    assert (second["cancelled"], second["remaining"]) == ([str(old[2])], 0)
    assert state_of(any_api, newer) == "queued"


def test_who_may_not_operate_cancels_only_their_own(any_api: Api) -> None:
    others = submit_job(any_api.prepared.engine, 1)
    made = any_api.post("/api/v1/tokens", json={"principal": "Ann", "scopes": ["read", "submit"]}).json

    answer = any_api.post(CANCEL, headers={"Authorization": f"Bearer {made['token']}"})
    reader = any_api.post("/api/v1/tokens", json={"principal": "Ben", "scopes": ["read"]}).json
    refused = any_api.post(CANCEL, headers={"Authorization": f"Bearer {reader['token']}"})

    assert (answer.json["jobs"], refused.status_code) == (0, 403)
    for act in ("cancel", "retry"):
        one = any_api.post(f"{JOBS}/{others}/{act}", headers={"Authorization": f"Bearer {made['token']}"})
        assert (one.status_code, "take the scope operate" in one.json["detail"]) == (403, True)
    assert state_of(any_api, others) == "queued"
    assert any_api.post(f"{CANCEL}?state=done").status_code == 422
    assert any_api.post(f"{CANCEL}?mine=true").json["cancelled"] == [str(others)], "the admin's own"
