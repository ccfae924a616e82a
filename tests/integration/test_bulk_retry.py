"""What failed in many jobs is tried again at once: only what fits, once each, and one bad job costs no other."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from api.intake import retry
from shared.db import reading
from shared.models import IdempotencyKey, Item, Job, ModelVersion
from shared.reasons import Reason
from shared.repositories.claims import finish, hold
from shared.repositories.items import pending_items
from shared.repositories.job_moves import settle_jobs
from shared.repositories.jobs import Target
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.states import ItemState
from shared.unit_of_work import UnitOfWork
from tests.claimers import LEASE_S
from tests.conftest import Api, Prepared
from tests.factories import add_model, claim, rows_of, submit_job
from tests.invariants import check_invariants

JOBS = "/api/v1/jobs"
RETRY = f"{JOBS}/retry"
REJECTED = Target("file:1", state=ItemState.FAILED, reason=Reason.NOT_DICOM)


def end_job(prepared: Prepared, *reasons: Reason | None, **given: Any) -> UUID:
    """A job with an item for each reason, ended with it; None: done."""
    job_id = submit_job(prepared.engine, len(reasons), **given)
    if not reasons:
        return job_id
    claimed = claim(prepared.engine)
    with UnitOfWork(prepared.engine) as uow:
        hold(uow.session, [claimed], LEASE_S)
        items = pending_items(uow.session, [claimed.shard_id])
        outcomes = [
            Outcome(item.item_id, ItemState.FAILED if reason else ItemState.DONE, reason, frames=0 if reason else 1)
            for item, reason in zip(items, reasons, strict=True)
        ]
        record_outcomes(uow.session, {claimed.fence: outcomes})
        finish(uow.session, [claimed])
        settle_jobs(uow.session, [job_id], actor=claimed.owner)
    return job_id


def retried(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["job"] for one in answer.json["retried"]]


def num_jobs(api: Api) -> int:
    with reading(api.prepared.engine) as session:
        return rows_of(session, Job)


def test_new_jobs_hold_only_what_failed_and_name_the_old_ones(any_api: Api) -> None:
    partial = end_job(any_api.prepared, None, Reason.DECODE_CRASHED, Reason.BLOB_MISSING, label="night")
    failed = end_job(any_api.prepared, Reason.DECODE_CRASHED)
    end_job(any_api.prepared, None)
    cancelled = submit_job(any_api.prepared.engine, 2)
    any_api.post(f"{JOBS}/{cancelled}/cancel")
    running = submit_job(any_api.prepared.engine, 1)

    answer = any_api.post(RETRY)

    assert retried(answer) == [str(one) for one in (partial, failed, cancelled)]
    told = {name: answer.json[name] for name in ("jobs", "items", "by_reason", "remaining", "dry_run", "refused")}
    by_reason = {"decode_crashed": 2, "cancelled": 2, "blob_missing": 1}
    assert told == {"jobs": 3, "items": 5, "by_reason": by_reason, "remaining": 0, "dry_run": False, "refused": []}
    retry_of_partial = any_api.get(f"{JOBS}/{answer.json['retried'][0]['retry']}").json
    assert (retry_of_partial["retry_of"], retry_of_partial["label"]) == (str(partial), "night")
    assert retry_of_partial["counts"]["pending"] == retry_of_partial["counts"]["total"] == 2
    assert any_api.get(f"{JOBS}/{running}").json["state"] == "queued"
    check_invariants(any_api.prepared.engine)


def test_job_is_retried_once_when_it_is_asked_again_and_again(any_api: Api) -> None:
    end_job(any_api.prepared, Reason.DECODE_CRASHED)

    first, second = any_api.post(RETRY), any_api.post(RETRY)

    assert (len(retried(first)), len(retried(second))) == (1, 0)


def test_job_is_retried_once_when_two_ask_at_once(any_api: Api) -> None:
    for _ in range(5):
        end_job(any_api.prepared, Reason.DECODE_CRASHED)
    tokens = [any_api.post("/api/v1/tokens", json={"principal": "admin", "scopes": ["submit"]}).json for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        headers = [{"Authorization": f"Bearer {token['token']}"} for token in tokens]
        answers = list(pool.map(lambda given: any_api.post(RETRY, headers=given), headers))

    assert sorted(len(retried(answer)) for answer in answers) == [0, 5]
    assert num_jobs(any_api) == 10
    check_invariants(any_api.prepared.engine)


FILTERS = {
    "": {"crashed", "timed out", "of old label", "cancelled"},
    "state=partial": {"crashed"},
    "state=failed": {"timed out", "of old label"},
    "state=cancelled": {"cancelled"},
    "reason=decode_timeout": {"timed out"},
    "failure=timeout": {"timed out"},
    "failure=crash": {"crashed"},
    "failure=permanent": {"of old label"},
    "failure=cancelled": {"cancelled"},
    "label=old": {"of old label"},
    "model=sample-binary": {"crashed", "timed out", "of old label", "cancelled"},
    "model=sample-binary:1&state=partial": {"crashed"},
    "model=sample-binary:2": set(),
    "model=other": set(),
    "priority=routine&label=old": {"of old label"},
    "priority=urgent": set(),
    "mine=true&state=partial": {"crashed"},
    "created_before=2020-01-01T00:00:00Z": set(),
    "created_after=2020-01-01T00:00:00Z&label=old": {"of old label"},
    "created_after=2999-01-01T00:00:00Z": set(),
}


def test_only_what_fits_the_filters_is_counted_and_retried(any_api: Api) -> None:
    prepared = any_api.prepared
    jobs = {
        "crashed": end_job(prepared, None, Reason.DECODE_CRASHED),
        "timed out": end_job(prepared, Reason.DECODE_TIMEOUT),
        "of old label": end_job(prepared, Reason.BLOB_MISSING, label="old"),
        "cancelled": submit_job(prepared.engine),
    }
    any_api.post(f"{JOBS}/{jobs['cancelled']}/cancel")

    counted = {query: any_api.post(f"{RETRY}?{query}&dry_run=true").json for query in FILTERS}
    made = retried(any_api.post(f"{RETRY}?failure=crash"))

    assert {query: told["jobs"] for query, told in counted.items()} == {
        query: len(names) for query, names in FILTERS.items()
    }
    assert counted["failure=crash"]["by_reason"] == {"decode_crashed": 1}
    assert counted[""]["items"] == 7
    assert made == [str(jobs["crashed"])]


def test_dry_run_writes_nothing(any_api: Api) -> None:
    end_job(any_api.prepared, Reason.DECODE_CRASHED, extra=[REJECTED])

    answer = any_api.post(f"{RETRY}?dry_run=true", headers={"Idempotency-Key": "k"})

    assert answer.json["not_retryable"] == 1
    assert (answer.json["jobs"], answer.json["retried"], answer.json["dry_run"]) == (1, [], True)
    assert num_jobs(any_api) == 1
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, IdempotencyKey) == 0


def test_what_would_fail_again_is_left_out_unless_its_reason_is_named(any_api: Api) -> None:
    prepared = any_api.prepared
    end_job(prepared, Reason.NOT_ACCEPTED_BY_MODEL, Reason.NO_PIXEL_DATA)
    mixed = end_job(prepared, Reason.NOT_ACCEPTED_BY_MODEL, Reason.DECODE_CRASHED)

    usual = any_api.post(f"{RETRY}?dry_run=true").json
    permanent = any_api.post(f"{RETRY}?dry_run=true&failure=permanent").json
    named = any_api.post(f"{RETRY}?dry_run=true&reason=not_accepted_by_model").json
    alone = any_api.post(f"{JOBS}/{mixed}/retry").json

    assert (usual["jobs"], usual["by_reason"]) == (1, {"decode_crashed": 1})
    assert permanent["jobs"] == 0
    assert (named["jobs"], named["by_reason"]) == (2, {"not_accepted_by_model": 2})
    assert alone["counts"]["total"] == 1


def test_single_retry_answers_409_when_all_would_fail_again(any_api: Api) -> None:
    job_id = end_job(any_api.prepared, Reason.NOT_ACCEPTED_BY_MODEL, Reason.NO_PIXEL_DATA)

    answer = any_api.post(f"{JOBS}/{job_id}/retry")

    assert answer.status_code == 409
    assert "1: The model package does not accept this instance." in answer.json["detail"]
    assert num_jobs(any_api) == 1


def test_rejected_files_are_counted_and_cost_no_retry(any_api: Api) -> None:
    only_rejected = end_job(any_api.prepared, extra=[REJECTED])
    mixed = end_job(any_api.prepared, Reason.DECODE_CRASHED, extra=[REJECTED])

    answer = any_api.post(RETRY)

    assert retried(answer) == [str(mixed)]
    assert (answer.json["items"], answer.json["not_retryable"], answer.json["remaining"]) == (1, 1, 0)
    assert any_api.get(f"{JOBS}/{only_rejected}").json["state"] == "failed"


def test_bad_job_costs_no_other(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        other = add_model(uow.session, "other").id
    good = [end_job(any_api.prepared, Reason.DECODE_CRASHED) for _ in range(2)]
    bad = end_job(any_api.prepared, Reason.DECODE_CRASHED, model_version_id=other)
    with UnitOfWork(any_api.prepared.engine) as uow:
        uow.session.execute(update(ModelVersion).where(ModelVersion.id == other).values(contract={"name": "Doe^Jane"}))
    last = end_job(any_api.prepared, Reason.DECODE_CRASHED)

    answer = any_api.post(RETRY)

    assert retried(answer) == [str(one) for one in (*good, last)]
    assert answer.json["refused"] == [{"job": str(bad), "detail": "its model's contract is not valid any more"}]
    assert answer.json["remaining"] == 0
    assert "Doe" not in answer.text
    check_invariants(any_api.prepared.engine)


def test_more_jobs_than_one_request_takes_are_left_for_the_next(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MOST_JOBS", 2)
    jobs = [end_job(any_api.prepared, Reason.DECODE_CRASHED) for _ in range(3)]

    first = any_api.post(RETRY)
    second = any_api.post(RETRY, query_string={"created_before": first.json["created_before"]})

    assert retried(first) + retried(second) == [str(one) for one in jobs]
    assert (first.json["remaining"], second.json["remaining"]) == (1, 0)


def test_no_job_is_begun_after_as_many_items_as_one_request_takes(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MOST_ITEMS", 3)
    for _ in range(3):
        end_job(any_api.prepared, Reason.DECODE_CRASHED, Reason.DECODE_CRASHED)

    answer = any_api.post(RETRY)

    assert (answer.json["jobs"], answer.json["items"], answer.json["remaining"]) == (2, 4, 1)


def test_answer_is_the_same_when_its_key_comes_again(any_api: Api) -> None:
    end_job(any_api.prepared, Reason.DECODE_CRASHED)
    key = {"Idempotency-Key": "again"}

    first, second = (any_api.post(f"{RETRY}?state=failed", headers=key) for _ in range(2))
    other = any_api.post(f"{RETRY}?state=partial", headers=key)

    assert first.data == second.data
    assert (second.headers["Idempotent-Replay"], other.status_code) == ("true", 422)
    assert num_jobs(any_api) == 2


def test_token_without_operate_retries_its_own_jobs_only(any_api: Api) -> None:
    theirs = end_job(any_api.prepared, Reason.DECODE_CRASHED)
    token = any_api.post("/api/v1/tokens", json={"principal": "ward", "scopes": ["submit"]}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with UnitOfWork(any_api.prepared.engine) as uow:
        ward = uow.session.scalars(select(Job.principal_id)).one() + 1
    mine = end_job(any_api.prepared, Reason.DECODE_CRASHED, principal_id=ward)

    as_ward = any_api.post(RETRY, headers=headers)
    as_admin = any_api.post(RETRY)

    assert retried(as_ward) == [str(mine)]
    assert retried(as_admin) == [str(theirs)]


def test_bulk_stops_at_the_tokens_limit_and_says_what_is_left(any_api: Api) -> None:
    for _ in range(3):
        end_job(any_api.prepared, Reason.DECODE_CRASHED, Reason.DECODE_CRASHED)
    wanted = {"principal": "admin", "scopes": ["submit"], "max_open_items": 4}
    headers = {"Authorization": f"Bearer {any_api.post('/api/v1/tokens', json=wanted).json['token']}"}

    some = any_api.post(RETRY, headers=headers)
    none = any_api.post(RETRY, headers=headers)

    assert (some.json["jobs"], some.json["remaining"]) == (2, 1)
    assert (none.status_code, int(none.headers["Retry-After"]) >= 5) == (429, True)
    assert num_jobs(any_api) == 5
    check_invariants(any_api.prepared.engine)


@pytest.mark.parametrize(
    "query",
    ["state=done", "reason=nonsense", "failure=nonsense", "reason=cancelled&failure=crash", "model=a:b", "who=me"],
)
def test_bulk_retry_is_refused_when_a_filter_is_wrong(api: Api, query: str) -> None:
    assert api.post(f"{RETRY}?{query}").status_code == 422


def test_items_tell_their_failure_and_evidence_and_are_found_by_them(any_api: Api) -> None:
    job_id = end_job(any_api.prepared, Reason.ENGINE_CRASHED, Reason.DECODE_FAILED, None)
    evidence = {"signal": "SIGSEGV", "log": "Fatal Python error", "sha256": "ab"}
    with UnitOfWork(any_api.prepared.engine) as uow:
        killer = update(Item).where(Item.reason == Reason.ENGINE_CRASHED)
        uow.session.execute(killer.values(quarantined=True, evidence=evidence, tries=3))

    def found(query: str) -> list[Any]:
        return list(any_api.get(f"{JOBS}/{job_id}/items?{query}").json["items"])

    (crashed,) = found("failure=crash")
    assert (crashed["failure"], crashed["quarantined"], crashed["tries"]) == ("crash", True, 3)
    assert crashed["evidence"] == evidence
    assert found("quarantined=true") == found("reason=engine_crashed") == [crashed]
    assert [item["failure"] for item in found("quarantined=false")] == ["permanent", None]


def test_filter_names_the_states_there_are_when_one_is_not(api: Api) -> None:
    refused = api.post(RETRY, query_string={"state": "nope"})

    assert refused.status_code == 422
    assert "'failed', 'partial' or 'cancelled'" in refused.json["detail"]


@pytest.mark.parametrize(
    "given", ["2026-01-01T00:00:00", "2026-01-01", "99999999999", "-1.5", "0001-01-01T00:00:00+14:00", "soon"]
)
def test_time_filter_is_refused_when_it_is_no_time_with_its_zone(any_api: Api, given: str) -> None:
    for name in ("created_after", "created_before"):
        refused = any_api.post(RETRY, query_string={name: given, "dry_run": "true"})

        assert refused.status_code == 422
        assert refused.json["errors"][0]["pointer"].endswith(f"/{name}")
