"""The same Idempotency-Key gives the first answer again, and one job, however often and however it is sent."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.clock import utc_now
from shared.config import Settings
from shared.db import reading
from shared.faults import Faults
from shared.models import History, IdempotencyKey, Job
from shared.planning import make
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api, Prepared, make_api
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model, rows_of, submit_job

JOBS = "/api/v1/jobs"
KEY = {"Idempotency-Key": "5b1c2b53-0d4c-4b0f-9a3f-1f0a9f6d0c11"}
STUDY = {"studies": [make_uid("study")]}


def _prepare(prepared: Prepared, *, model: bool = True) -> None:
    with UnitOfWork(prepared.engine) as uow:
        add_instance(uow.session)
        if model:
            add_model(uow.session)


def _num_jobs(prepared: Prepared) -> int:
    with reading(prepared.engine) as session:
        return rows_of(session, Job)


def test_second_request_gets_the_first_answer_when_its_key_is_the_same(any_api: Api) -> None:
    _prepare(any_api.prepared)

    first, second = (any_api.post(JOBS, json=STUDY, headers=KEY) for _ in range(2))

    assert first.status_code == second.status_code == 202
    assert first.data == second.data
    assert first.headers["Location"] == second.headers["Location"]
    assert "Idempotent-Replay" not in first.headers
    assert second.headers["Idempotent-Replay"] == "true"
    assert _num_jobs(any_api.prepared) == 1


def test_answer_outlives_a_restart_and_what_became_of_the_job(any_prepared: Prepared) -> None:
    _prepare(any_prepared)
    for before in make_api(any_prepared):
        first = before.post(JOBS, json=STUDY, headers=KEY)
        assert before.post(f"{first.headers['Location']}/cancel").json["state"] == "cancelled"

    for after in make_api(any_prepared):
        second = after.post(JOBS, json=STUDY, headers=KEY)

    assert second.data == first.data
    assert second.json["state"] == "queued"
    assert _num_jobs(any_prepared) == 1


def test_one_job_is_made_when_requests_with_one_key_race(any_api: Api) -> None:
    _prepare(any_api.prepared)
    together = Barrier(6)

    def send(_: int) -> Any:
        together.wait()
        return any_api.post(JOBS, json=STUDY, headers=KEY)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))

    fresh = [answer for answer in answers if answer.status_code == 202 and "Idempotent-Replay" not in answer.headers]
    others = [answer for answer in answers if answer not in fresh]
    assert len(fresh) == 1
    for answer in others:
        assert answer.status_code == 409 or answer.data == fresh[0].data
        assert answer.status_code != 409 or answer.headers["Retry-After"] == "1"
    assert _num_jobs(any_api.prepared) == 1


def test_many_jobs_are_made_when_no_key_is_sent(any_api: Api) -> None:
    _prepare(any_api.prepared)

    answers = [any_api.post(JOBS, json=STUDY) for _ in range(2)]

    assert len({answer.json["id"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [(JOBS, STUDY | {"label": "other"}), (JOBS, STUDY | {"dry_run": True}), (f"{JOBS}/{{job}}/retry", None)],
    ids=["other_label", "dry_run", "other_path"],
)
def test_request_is_refused_when_its_key_came_with_another_payload(any_api: Api, path: str, body: Any) -> None:
    _prepare(any_api.prepared)
    job_id = any_api.post(JOBS, json=STUDY, headers=KEY).json["id"]

    answer = any_api.post(path.format(job=job_id), json=body, headers=KEY)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert "another payload" in answer.json["detail"]
    assert _num_jobs(any_api.prepared) == 1


def test_key_belongs_to_its_principal(any_api: Api) -> None:
    _prepare(any_api.prepared)
    token = any_api.post("/api/v1/tokens", json={"principal": "other", "scopes": ["submit"]}).json["token"]

    mine = any_api.post(JOBS, json=STUDY, headers=KEY)
    others = any_api.post(JOBS, json=STUDY, headers=KEY | {"Authorization": f"Bearer {token}"})

    assert mine.status_code == others.status_code == 202
    assert mine.json["id"] != others.json["id"]


def test_failed_attempt_does_not_block_when_its_cause_is_gone(any_api: Api) -> None:
    _prepare(any_api.prepared, model=False)
    failed = any_api.post(JOBS, json=STUDY, headers=KEY)
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)

    answer = any_api.post(JOBS, json=STUDY, headers=KEY)

    assert (failed.status_code, answer.status_code) == (422, 202)
    assert "Idempotent-Replay" not in answer.headers


@pytest.mark.parametrize("struck", [0, 1])
def test_commit_whose_answer_is_lost_does_not_block_the_key(
    any_api: Api, monkeypatch: pytest.MonkeyPatch, struck: int
) -> None:
    """The commit that reserves the key, or the one that makes the job: both went through."""
    _prepare(any_api.prepared)
    commits = count()
    strike = partial(Faults.after_commit, Faults(Settings(fault_commit_error_rate=1.0)))
    monkeypatch.setattr(Faults, "after_commit", lambda _self: strike() if next(commits) == struck else None)

    lost = any_api.post(JOBS, json=STUDY, headers=KEY)
    answer = any_api.post(JOBS, json=STUDY, headers=KEY)

    assert (lost.status_code, answer.status_code) == (503, 202)
    assert _num_jobs(any_api.prepared) == 1


def test_attempt_leaves_nothing_when_it_fails_after_writing(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _prepare(any_api.prepared)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Doe^Jane")

    with monkeypatch.context() as patch:
        patch.setattr(make, "add_audit_event", fail)
        failed = any_api.post(JOBS, json=STUDY, headers=KEY)
    with reading(any_api.prepared.engine) as session:
        left = [rows_of(session, table) for table in (Job, History, IdempotencyKey)]
    answer = any_api.post(JOBS, json=STUDY, headers=KEY)

    assert failed.status_code == 500
    assert "Doe" not in failed.text
    assert left == [0, 0, 0]
    assert answer.status_code == 202


def _reserved(prepared: Prepared, seconds_left: float) -> None:
    """As if an API process had died, or still were, between reserving the key and its answer."""
    _prepare(prepared)
    for api in make_api(prepared):
        api.post(JOBS, json=STUDY, headers=KEY)
    with UnitOfWork(prepared.engine) as uow:
        expires_at = utc_now() + timedelta(seconds=seconds_left)
        uow.session.execute(update(IdempotencyKey).values(status=None, body=None, expires_at=expires_at))


def test_request_waits_when_the_first_is_at_work(any_prepared: Prepared) -> None:
    _reserved(any_prepared, seconds_left=60.0)

    for api in make_api(any_prepared):
        answer = api.post(JOBS, json=STUDY, headers=KEY)

    assert answer.status_code == 409
    assert answer.headers["Retry-After"] == "1"
    assert "still at work" in answer.json["detail"]


def test_reservation_is_taken_over_when_its_maker_died(any_prepared: Prepared) -> None:
    _reserved(any_prepared, seconds_left=-1.0)

    for api in make_api(any_prepared):
        answers = [api.post(JOBS, json=STUDY, headers=KEY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].data == answers[1].data
    assert _num_jobs(any_prepared) == 2


def test_slow_maker_leaves_nothing_when_its_reservation_was_taken_over(
    postgres_prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where two transactions can write at once; on SQLite the second waits for the first."""
    _prepare(postgres_prepared)
    answers: list[Any] = []
    create_job = make.create_job

    def overtaken(*given: Any, **named: Any) -> Any:
        made = create_job(*given, **named)
        monkeypatch.setattr(make, "create_job", create_job)
        with UnitOfWork(postgres_prepared.engine) as uow:
            uow.session.execute(update(IdempotencyKey).values(expires_at=utc_now() - timedelta(seconds=1)))
        answers.append(api.post(JOBS, json=STUDY, headers=KEY | other))
        return made

    for api in make_api(postgres_prepared):
        # Submissions with one token wait for each other; keys belong to the principal, whatever the token.
        token = api.post("/api/v1/tokens", json={"principal": "admin", "scopes": ["submit"]}).json["token"]
        other = {"Authorization": f"Bearer {token}"}
        monkeypatch.setattr(make, "create_job", overtaken)
        slow = api.post(JOBS, json=STUDY, headers=KEY)

    assert slow.status_code == 409
    assert answers[0].status_code == 202
    with reading(postgres_prepared.engine) as session:
        assert [str(job_id) for job_id in session.scalars(select(Job.id))] == [answers[0].json["id"]]


def test_answer_is_forgotten_when_its_time_is_over(any_api: Api) -> None:
    _prepare(any_api.prepared)
    first = any_api.post(JOBS, json=STUDY, headers=KEY)
    with UnitOfWork(any_api.prepared.engine) as uow:
        uow.session.execute(update(IdempotencyKey).values(expires_at=utc_now() - timedelta(seconds=1)))

    second = any_api.post(JOBS, json=STUDY, headers=KEY)

    assert second.json["id"] != first.json["id"]


@pytest.mark.parametrize("key", ["", '""', "k" * 256])
def test_key_is_refused_when_it_is_empty_or_too_long(api: Api, key: str) -> None:
    _prepare(api.prepared)

    answer = api.post(JOBS, json=STUDY, headers={"Idempotency-Key": key})

    assert answer.status_code == 422
    assert "1 to 255" in answer.json["detail"]


def test_quoted_key_is_the_same_as_the_bare_one(api: Api) -> None:
    _prepare(api.prepared)

    first = api.post(JOBS, json=STUDY, headers={"Idempotency-Key": '"a-key"'})
    second = api.post(JOBS, json=STUDY, headers={"Idempotency-Key": "a-key"})

    assert first.data == second.data


def test_retry_is_made_once_when_its_key_is_the_same(any_api: Api) -> None:
    job_id = submit_job(any_api.prepared.engine)
    any_api.post(f"{JOBS}/{job_id}/cancel")

    first, second = (any_api.post(f"{JOBS}/{job_id}/retry", headers=KEY) for _ in range(2))

    assert first.json["retry_of"] == str(job_id)
    assert first.data == second.data
    assert _num_jobs(any_api.prepared) == 2
