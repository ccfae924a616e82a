"""Jobs as a client follows them: item by item, move by move; and what is tried again."""

import pytest

from shared.reasons import Reason
from shared.repositories.jobs import Target
from shared.states import ItemState, Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Api
from tests.factories import (
    add_instance,
    add_model,
    add_upload,
    claim,
    submit_job,
)
from tests.invariants import check_invariants
from tests.paging import pages

JOBS = "/api/v1/jobs"


def test_retry_is_a_new_job_of_only_what_failed(any_api: Api) -> None:
    engine = any_api.prepared.engine
    known = [Target("file:1", state=ItemState.FAILED, reason=Reason.NOT_DICOM)]
    job_id = submit_job(engine, 5, patients=2, extra=known, label="night", lane=Lane.ROUTINE)
    commit(any_api.prepared.engine, claim(any_api.prepared.engine), num_failed=2)

    answer = any_api.post(f"{JOBS}/{job_id}/retry")

    assert answer.status_code == 202
    retried = answer.json
    assert retried["id"] != str(job_id)
    assert (retried["retry_of"], retried["label"], retried["priority"]) == (str(job_id), "night", "routine")
    assert retried["counts"]["total"] == retried["counts"]["pending"] == 2

    def uids(job: object, state: str) -> set[str]:
        items = any_api.get(f"{JOBS}/{job}/items?state={state}").json["items"]
        return {item["sop_instance_uid"] for item in items if item["sop_instance_uid"]}

    assert uids(retried["id"], "pending") == uids(job_id, "failed")
    before = any_api.get(f"{JOBS}/{job_id}").json
    assert (before["state"], before["counts"]["failed"]) == ("partial", 3)
    check_invariants(engine)


def test_retry_takes_what_was_cancelled_too(any_api: Api) -> None:
    job_id = submit_job(any_api.prepared.engine, 4, shard_items=2)
    claimed = take(any_api.prepared.engine, "worker-1")
    assert claimed is not None
    commit(any_api.prepared.engine, claimed)
    any_api.post(f"{JOBS}/{job_id}/cancel")

    retried = any_api.post(f"{JOBS}/{job_id}/retry").json

    assert retried["counts"]["total"] == 2


def test_retry_answers_409_when_there_is_nothing_to_do_again(any_api: Api) -> None:
    engine = any_api.prepared.engine
    rejected = [Target("file:1", state=ItemState.FAILED, reason=Reason.NOT_DICOM)]
    jobs = [submit_job(engine, 0), submit_job(engine, 0, extra=rejected), submit_job(engine, 1)]

    answers = [any_api.post(f"{JOBS}/{job_id}/retry") for job_id in jobs]

    assert [answer.status_code for answer in answers] == [409, 409, 409]
    said = [answer.json["detail"] for answer in answers]
    assert "Nothing of this job failed" in said[0]
    assert "rejected" in said[1]
    assert "wait until it is over" in said[2]


def test_items_tell_of_each_thing_page_by_page(any_api: Api) -> None:
    engine = any_api.prepared.engine
    with UnitOfWork(engine) as uow:
        add_model(uow.session)
        instances = [add_instance(uow.session) for _ in range(3)]
        add_instance(uow.session, sop_instance_uid=instances[0].sop_instance_uid)
        upload = add_upload(uow.session, instances, rejected=2)
    job = any_api.post(JOBS, json={"uploads": [str(upload)]}).json
    commit(any_api.prepared.engine, claim(any_api.prepared.engine), num_failed=1)

    found = list(pages(any_api, f"{job['links']['items']}?limit=2"))

    items = {item["name"]: item for page in found for item in page.json["items"]}
    assert [len(page.json["items"]) for page in found] == [2, 2, 1]
    assert items.keys() == {"0.dcm", "1.dcm", "2.dcm", "0.txt", "1.txt"}
    assert (items["0.dcm"]["state"], items["0.dcm"]["reason"]) == ("failed", "decode_failed")
    assert (items["1.dcm"]["state"], items["1.dcm"]["frames"], items["1.dcm"]["reason"]) == ("done", 1, None)
    assert items["0.txt"]["reason_text"].startswith("The file is not DICOM")
    assert (items["0.txt"]["sha256"], items["0.txt"]["patient_key"]) == (None, None)
    assert [items[name]["conflict"] for name in ("0.dcm", "1.dcm", "0.txt")] == [True, False, False]
    failed_only = any_api.get(f"{job['links']['items']}?state=failed").json["items"]
    assert {item["name"] for item in failed_only} == {"0.dcm", "0.txt", "1.txt"}


def test_history_tells_every_move_oldest_first(any_api: Api) -> None:
    job_id = submit_job(any_api.prepared.engine, 3)
    claimed = take(any_api.prepared.engine, "worker-1")
    assert claimed is not None
    commit(any_api.prepared.engine, claimed, most=1)
    commit(any_api.prepared.engine, claimed)

    moves = any_api.get(f"{JOBS}/{job_id}/history").json["items"]

    assert [(move["shard"] is not None, move["before"], move["after"], move["items_open"]) for move in moves] == [
        (False, None, "queued", None),
        (True, None, "queued", None),
        (True, "queued", "running", 3),
        (False, "queued", "running", None),
        (True, "running", "done", 0),
        (False, "running", "done", None),
    ]
    assert [move["actor"] for move in moves] == ["api", "api", *["worker-1"] * 4]
    assert [(move["attempt"], move["fence"]) for move in moves] == [(0, 0), (0, 0), (1, 1), (0, 0), (1, 1), (0, 0)]
    assert moves[-1]["reason"] == "3 done, 0 failed, 0 cancelled"


@pytest.mark.parametrize("cursor", ["99999999999999999999999", "-1", "9223372036854775808", "x"])
@pytest.mark.parametrize("what", ["items", "history"])
def test_page_is_refused_when_its_cursor_is_no_row(any_api: Api, what: str, cursor: str) -> None:
    job_id = submit_job(any_api.prepared.engine, 1)

    assert any_api.get(f"{JOBS}/{job_id}/{what}?cursor={cursor}").status_code == 422


def test_history_comes_in_pages_that_follow_each_other(any_api: Api) -> None:
    job_id = submit_job(any_api.prepared.engine, 6, shard_items=1)
    whole = any_api.get(f"{JOBS}/{job_id}/history").json

    pages, cursor = [], ""
    while cursor is not None:
        page = any_api.get(f"{JOBS}/{job_id}/history?limit=3{cursor}").json
        pages.append(page["items"])
        cursor = f"&cursor={page['next']}" if page["next"] else None

    assert whole["next"] is None
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [move for page in pages for move in page] == whole["items"]
