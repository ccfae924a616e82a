"""Jobs as a client asks for them, counts them beforehand, and lists them page by page."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from shared.db import reading
from shared.models import Item, Job, Shard
from shared.states import Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Api
from tests.dicom_samples import make_uid
from tests.factories import (
    MODEL,
    add_instance,
    add_model,
    add_prediction,
    add_upload,
    claim,
    index_headers,
    make_header,
    rows_of,
    submit_job,
)
from tests.invariants import check_invariants
from tests.paging import pages

JOBS = "/api/v1/jobs"
STUDY = make_uid("study")


def _ids(answers: Iterator[Any]) -> list[Any]:
    return [one["id"] for answer in answers for one in answer.json["items"]]


def test_job_is_accepted_with_rows_and_a_place_to_look(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        version = add_model(uow.session)
        for _ in range(3):
            add_instance(uow.session)

    answer = any_api.post(JOBS, json={"studies": [STUDY], "priority": "urgent", "label": "night"})

    assert answer.status_code == 202
    job = answer.json
    assert answer.headers["Location"] == f"{JOBS}/{job['id']}" == job["links"]["self"]
    assert job["model"] == {"name": MODEL, "version": 1, "digest": version.digest}
    assert job["counts"] == {
        "total": 3,
        "done": 0,
        "failed": 0,
        "skipped": 0,
        "cancelled": 0,
        "pending": 3,
        "reused": 0,
    }
    assert (job["state"], job["priority"], job["label"], job["progress"]) == ("queued", "urgent", "night", 0.0)
    assert any_api.get(answer.headers["Location"]).json == job
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Shard, Shard.lane == Lane.URGENT) == 1
    check_invariants(any_api.prepared.engine)


def test_jobs_are_listed_once_each_newest_first_when_pages_are_followed(any_api: Api) -> None:
    jobs = [str(submit_job(any_api.prepared.engine, 0)) for _ in range(7)]

    found = list(pages(any_api, f"{JOBS}?limit=3"))

    assert [len(page.json["items"]) for page in found] == [3, 3, 1]
    assert _ids(iter(found)) == jobs[::-1]


def test_next_page_keeps_filters_and_ignores_newer_jobs(any_api: Api) -> None:
    engine = any_api.prepared.engine
    jobs = [str(submit_job(engine, 0, label=label)) for label in ("a b&c", "other", "a b&c", "a b&c")]
    first = any_api.get(JOBS, query_string={"label": "a b&c", "limit": "2", "state": "done"})
    link = first.headers["Link"]
    submit_job(engine, 0, label="a b&c")

    second = any_api.get(link.partition(">")[0].lstrip("<"))

    assert link.endswith('; rel="next"')
    assert parse_qs(urlsplit(link.strip("<").partition(">")[0]).query)["label"] == ["a b&c"]
    assert _ids(iter([first, second])) == [jobs[3], jobs[2], jobs[0]]
    assert second.json["next"] is None


FILTERED = {
    "": ["queued", "running", "done"],
    "state=done": ["done"],
    "state=running": ["running"],
    "kind=inference&state=queued": ["queued"],
    "label=second": ["queued"],
    "label=nobody": [],
}


def test_jobs_are_filtered_when_asked(any_api: Api) -> None:
    submit_job(any_api.prepared.engine, 0)
    submit_job(any_api.prepared.engine)
    take(any_api.prepared.engine, "worker-1")
    submit_job(any_api.prepared.engine, label="second")

    answers = {query: any_api.get(f"{JOBS}?{query}").json["items"] for query in FILTERED}

    assert {query: [job["state"] for job in items] for query, items in answers.items()} == FILTERED


@pytest.mark.parametrize("query", ["state=nonsense", "kind=nonsense", "limit=0", "limit=501", "limit=x", "nonsense=1"])
def test_list_is_refused_when_a_filter_is_wrong(api: Api, query: str) -> None:
    answer = api.get(f"{JOBS}?{query}")

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"


def test_dry_run_counts_what_would_run_and_writes_nothing(any_api: Api) -> None:
    accepts = {"modalities": ["CT"], "sop_class_uids": None, "body_parts": None, "photometric_interpretations": None}
    with UnitOfWork(any_api.prepared.engine) as uow:
        session = uow.session
        version = add_model(session, accepts=accepts)
        plain = [add_instance(session) for _ in range(3)]
        predicted = add_instance(session)
        add_prediction(session, predicted, version)
        half_predicted = add_instance(session, number_of_frames=2)
        add_prediction(session, half_predicted, version)
        no_pixels = add_instance(session, has_pixel_data=False)
        not_accepted = add_instance(session, series_instance_uid=make_uid("other series"), modality="MR")
        instances = [*plain, predicted, half_predicted, no_pixels, not_accepted]
        upload = add_upload(session, instances, duplicates=2, rejected=2)

    answer = any_api.post(JOBS, json={"uploads": [str(upload), str(upload)], "dry_run": True})

    assert answer.status_code == 200
    counts = answer.json["counts"]
    (why,) = counts.pop("not_accepted_why").items()
    assert counts == {
        "total": 9,
        "new": 4,
        "duplicate": 2,
        "already_predicted": 1,
        "not_accepted": 1,
        "no_pixel_data": 1,
        "not_selected": 0,
        "rejected": 2,
    }
    assert why[1] == 1
    assert "MR" in why[0]
    with reading(any_api.prepared.engine) as session:
        assert [rows_of(session, table) for table in (Job, Item, Shard)] == [0, 0, 0]


def test_job_does_what_its_dry_run_said(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        version = add_model(uow.session)
        instances = [add_instance(uow.session) for _ in range(3)]
        add_prediction(uow.session, instances[0], version)
        upload = add_upload(uow.session, instances, rejected=1)

    job = any_api.post(JOBS, json={"uploads": [str(upload), str(upload)], "studies": [STUDY, STUDY]}).json

    assert job["counts"] == {
        "total": 4,
        "done": 1,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "pending": 2,
        "reused": 1,
    }
    assert job["progress"] == 0.5
    check_invariants(any_api.prepared.engine)


def test_forced_job_predicts_again_what_was_predicted(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        version = add_model(uow.session)
        add_prediction(uow.session, add_instance(uow.session), version)

    job = any_api.post(JOBS, json={"studies": [STUDY], "force": True}).json

    assert (job["counts"]["pending"], job["counts"]["reused"]) == (1, 0)
    with reading(any_api.prepared.engine) as session:
        assert session.get_one(Job, UUID(job["id"])).generation == 1


def test_job_takes_the_patients_it_names_only(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
        wanted = add_instance(uow.session, patient_id="P1")
        add_instance(uow.session, patient_id="P2", study_instance_uid=make_uid("other"))
        other = add_upload(uow.session, [wanted])
    first = any_api.post(JOBS, json={"uploads": [str(other)]}).json
    key = any_api.get(f"{JOBS}/{first['id']}/items").json["items"][0]["patient_key"]

    job = any_api.post(JOBS, json={"patients": [key]}).json

    items = any_api.get(f"{JOBS}/{job['id']}/items").json["items"]
    assert [item["sop_instance_uid"] for item in items] == [wanted.sop_instance_uid]


@pytest.mark.parametrize(
    "wanted",
    [{"uploads": [str(uuid4())]}, {"studies": ["1.2.3"]}, {"patients": ["0" * 32]}],
    ids=["upload", "study", "patient"],
)
def test_job_is_refused_when_one_of_what_it_names_is_unknown(any_api: Api, wanted: dict[str, Any]) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session)
    (name,) = wanted

    answer = any_api.post(JOBS, json={"studies": [STUDY]} | wanted | {"studies": [STUDY, *wanted.get("studies", [])]})

    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["pointer"] == (f"/{name}/1" if name == "studies" else f"/{name}/0")
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Job) == 0


def test_job_keeps_its_model_version_when_another_is_promoted(any_api: Api) -> None:
    engine = any_api.prepared.engine
    with UnitOfWork(engine) as uow:
        first = add_model(uow.session)
        second = add_model(uow.session, description="the second")
        add_instance(uow.session)
    before = any_api.post(JOBS, json={"studies": [STUDY], "model": MODEL}).json
    commit(any_api.prepared.engine, claim(any_api.prepared.engine), num_failed=1)

    promoted = any_api.post(f"/api/v1/models/{MODEL}/versions/2/promote", json={})

    assert (promoted.status_code, promoted.json["state"]) == (200, "champion")
    assert any_api.get(f"{JOBS}/{before['id']}").json["model"]["digest"] == first.digest
    retried = any_api.post(f"{JOBS}/{before['id']}/retry").json
    assert retried["model"]["digest"] == first.digest
    by_name = any_api.post(JOBS, json={"studies": [STUDY], "model": MODEL}).json
    by_number = any_api.post(JOBS, json={"studies": [STUDY], "model": f"{MODEL}:1"}).json
    assert (by_name["model"]["digest"], by_number["model"]["digest"]) == (second.digest, first.digest)


def test_one_version_is_champion_when_promotions_race(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        for number in range(5):
            add_model(uow.session, description=f"version {number}")

    with ThreadPoolExecutor(4) as pool:
        paths = [f"/api/v1/models/{MODEL}/versions/{number}/promote" for number in (2, 3, 4, 5)]
        answers = list(pool.map(partial(any_api.post, json={}), paths))

    assert {answer.status_code for answer in answers} == {200}
    states = [one["state"] for one in any_api.get("/api/v1/models").json["items"]]
    assert sorted(states) == ["champion", "retired", "retired", "retired", "retired"]


def test_large_job_is_cut_into_shards_of_one_patients_neighbours(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
        size = any_api.prepared.settings.shard_items
        patients = [f"P{number % 2}" for number in range(size + 6)]
        headers = [make_header(patient_id=one, study_instance_uid=make_uid(one)) for one in patients]
        index_headers(uow.session, headers)

    job = any_api.post(JOBS, json={"studies": [make_uid("P0"), make_uid("P1")]}).json

    with reading(any_api.prepared.engine) as session:
        shards = session.scalars(select(Shard.items_total).order_by(Shard.id)).all()
    assert shards == [size, 6]
    items = any_api.get(f"{JOBS}/{job['id']}/items?limit=500").json["items"]
    keys = [item["patient_key"] for item in items]
    assert sum(before != after for before, after in pairwise(keys)) == 1
    check_invariants(any_api.prepared.engine)
