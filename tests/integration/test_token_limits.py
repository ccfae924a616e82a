"""Each token may have so many instances open and send so many requests; over it, 429 and when to come again."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from api.limits import BURST_S, RequestRates
from shared.db import reading
from shared.errors import TooManyRequestsError
from shared.identifiers import new_id
from shared.models import Job
from shared.unit_of_work import UnitOfWork
from tests.claimers import work_until_empty
from tests.conftest import Api, Prepared, make_api
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model, rows_of
from tests.waiting import add_pace

JOBS, TOKENS = "/api/v1/jobs", "/api/v1/tokens"
STUDY = {"studies": [make_uid("study")]}


def add_study(prepared: Prepared, instances: int) -> None:
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
        for _ in range(instances):
            add_instance(uow.session)


def new_token(api: Api, **given: Any) -> tuple[str, dict[str, str]]:
    wanted = {"principal": "ward", "scopes": ["submit", "read"]} | given
    made = api.post(TOKENS, json=wanted).json
    return made["id"], {"Authorization": f"Bearer {made['token']}"}


def test_job_over_the_limit_gets_429_until_there_is_room(any_api: Api) -> None:
    add_study(any_api.prepared, 4)
    token_id, headers = new_token(any_api, max_open_items=6)

    first = any_api.post(JOBS, json=STUDY, headers=headers)
    second = any_api.post(JOBS, json=STUDY, headers=headers)
    by_another = any_api.post(JOBS, json=STUDY)
    work_until_empty(any_api.prepared.engine, "worker-1")
    third = any_api.post(JOBS, json=STUDY | {"force": True}, headers=headers)

    assert [answer.status_code for answer in (first, second, by_another, third)] == [202, 429, 202, 202]
    assert second.content_type == "application/problem+json"
    assert second.json["detail"].startswith("4 instances of this token's jobs are open")
    assert "6 allowed" in second.json["detail"]
    assert int(second.headers["Retry-After"]) >= 5
    with reading(any_api.prepared.engine) as session:
        jobs = {answer.json["id"]: session.get_one(Job, UUID(answer.json["id"])) for answer in (first, by_another)}
    assert [str(job.token_id) == token_id for job in jobs.values()] == [True, False]


def test_limit_holds_when_jobs_come_at_once(any_api: Api) -> None:
    add_study(any_api.prepared, 2)
    _, headers = new_token(any_api, max_open_items=5)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: any_api.post(JOBS, json=STUDY, headers=headers), range(6)))

    assert sorted(answer.status_code for answer in answers) == [202, 202, 429, 429, 429, 429]
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Job) == 2


@pytest.mark.parametrize(
    ("per_bucket", "wait"), [([], "30"), ([9, 5, 5], "5"), ([9, 1, 1, 1], "15")], ids=["unmeasured", "fast", "slow"]
)
def test_wait_is_told_from_the_measured_pace(api: Api, per_bucket: list[int], wait: str) -> None:
    add_study(api.prepared, 4)
    add_pace(api.prepared.engine, per_bucket)
    _, headers = new_token(api, max_open_items=5)
    api.post(JOBS, json=STUDY, headers=headers)

    answer = api.post(JOBS, json=STUDY, headers=headers)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, wait)


def test_job_that_never_fits_is_refused_and_one_without_work_is_taken(any_api: Api) -> None:
    add_study(any_api.prepared, 4)
    _, headers = new_token(any_api, max_open_items=3)

    too_large = any_api.post(JOBS, json=STUDY, headers=headers)
    any_api.post(JOBS, json=STUDY)
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_instance(uow.session, study_instance_uid=make_uid("bare"), has_pixel_data=False)
    no_work = any_api.post(JOBS, json={"studies": [make_uid("bare")]}, headers=headers)

    assert (too_large.status_code, "split the job" in too_large.json["detail"]) == (422, True)
    assert (no_work.status_code, no_work.json["state"]) == (202, "failed")


def test_refused_job_leaves_its_key_free(any_api: Api) -> None:
    add_study(any_api.prepared, 2)
    _, headers = new_token(any_api, max_open_items=3)
    any_api.post(JOBS, json=STUDY, headers=headers)
    key = headers | {"Idempotency-Key": "k"}

    refused = any_api.post(JOBS, json=STUDY, headers=key)
    work_until_empty(any_api.prepared.engine, "worker-1")
    taken = any_api.post(JOBS, json=STUDY, headers=key)

    assert (refused.status_code, taken.status_code) == (429, 202)


def test_token_that_sends_too_often_gets_429_and_others_do_not(api: Api) -> None:
    _, headers = new_token(api, requests_per_minute=12)  # two in a burst

    answers = [api.get(JOBS, headers=headers) for _ in range(3)]
    anonymous = api.app.test_client()
    free = [anonymous.get(path).status_code for path in ("/healthz", "/readyz", "/metrics") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 5
    assert "12 requests a minute" in answers[2].json["detail"]
    assert api.get(JOBS).status_code == 200
    assert set(free) == {200}


def test_settings_bound_tokens_without_limits_of_their_own(prepared: Prepared) -> None:
    settings = prepared.settings.model_copy(update={"requests_per_minute": 6, "max_open_items": 3})
    add_study(prepared, 4)

    for api in make_api(Prepared(settings, prepared.engine, prepared.token)):
        answers = [api.post(JOBS, json=STUDY), api.get(JOBS)]

    assert [answer.status_code for answer in answers] == [422, 429]


def test_bucket_fills_again_with_time() -> None:
    now = [100.0]
    rates = RequestRates(lambda: now[0])
    token_id = new_id()

    def sent() -> int:
        """Requests that pass at once."""
        for number in range(1000):
            try:
                rates.check(token_id, 60)
            except TooManyRequestsError:
                return number
        raise AssertionError("no limit")

    counts = [sent()]
    for seconds in (0.5, 0.5, 3.0, 3600.0):
        now[0] += seconds
        counts.append(sent())

    assert counts == [BURST_S, 0, 1, 3, BURST_S]
    with pytest.raises(TooManyRequestsError) as refused:
        rates.check(token_id, 60)
    assert refused.value.context["retry_after_s"] == 1


def test_tokens_are_listed_without_secrets_and_end_when_revoked(any_api: Api) -> None:
    token_id, headers = new_token(any_api, name="pacs", max_open_items=7, requests_per_minute=8)
    before = any_api.get(JOBS, headers=headers).status_code

    listed = any_api.get(TOKENS, query_string={"limit": 1})
    revoked = any_api.call("DELETE", f"{TOKENS}/{token_id}")
    again = any_api.call("DELETE", f"{TOKENS}/{token_id}")

    (one,) = listed.json["items"]
    assert (one["id"], one["principal"], one["name"]) == (token_id, "ward", "pacs")
    assert (one["max_open_items"], one["requests_per_minute"]) == (7, 8)
    assert headers["Authorization"].removeprefix("Bearer ") not in listed.text
    assert listed.json["next"] == token_id
    assert (before, revoked.status_code, revoked.data, again.status_code) == (200, 204, b"", 404)
    assert any_api.get(JOBS, headers=headers).status_code == 401
    assert any_api.get(TOKENS).json["items"][0]["revoked_at"] is not None


def test_token_cannot_revoke_itself(api: Api) -> None:
    (own,) = api.get(TOKENS).json["items"]

    answer = api.call("DELETE", f"{TOKENS}/{own['id']}")

    assert answer.status_code == 409
    assert api.get(TOKENS).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_tokens_are_an_admins_business(api: Api, method: str) -> None:
    token_id, headers = new_token(api, scopes=["submit", "read", "review", "operate"])
    path = TOKENS if method == "GET" else f"{TOKENS}/{token_id}"

    assert api.call(method, path, headers=headers).status_code == 403


@pytest.mark.parametrize("limit", [{"max_open_items": 0}, {"requests_per_minute": 0}, {"max_open_items": 2**31}])
def test_token_is_refused_when_its_limit_makes_no_sense(api: Api, limit: dict[str, int]) -> None:
    assert api.post(TOKENS, json={"principal": "ward", "scopes": ["read"]} | limit).status_code == 422
