"""What the API says of each file of an upload: what it is, and what a job over the upload would do with it."""

import random
from typing import Any

from api.schemas.uploads import Planned
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import MODEL, add_instance, add_model, add_prediction, add_upload

UPLOADS = "/api/v1/uploads"
CT = {"modality": "CT", "series_instance_uid": "1.2.7", "study_instance_uid": "1.2.6", "study_date": "20260131"}


def files_of(api: Api, upload: Any, query: str = "") -> Any:
    answer = api.get(f"{UPLOADS}/{upload}/files?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_each_file_is_told_with_what_the_model_would_do(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        session = uow.session
        model = add_model(session, accepts={"modalities": ["CT"]})
        instances = [add_instance(session, **CT, sop_instance_uid=f"1.2.{number}") for number in (1, 2)]
        instances.append(add_instance(session, **CT, has_pixel_data=False))
        instances.append(add_instance(session, modality="US"))
        add_prediction(session, instances[1], model)
        upload = add_upload(session, instances, duplicates=1, rejected=1)
        other = add_upload(session, [add_instance(session)])

    found = files_of(any_api, upload, f"model={MODEL}")
    unasked = files_of(any_api, upload)
    with_maps = files_of(any_api, upload, f"model={MODEL}:1&explain=all")

    assert found["counts"] == {"stored": 3, "duplicate": 1, "rejected": 1}
    assert [file["planned"] for file in found["items"]] == [
        Planned.NEW,
        Planned.ALREADY_PREDICTED,
        Planned.NO_PIXEL_DATA,
        Planned.NOT_ACCEPTED,
        None,
    ]
    assert "modality" in found["items"][3]["planned_detail"]
    first, rejected = found["items"][0], found["items"][-1]
    told = ("patient_id", "name", "outcome", "modality", "study_date", "study_instance_uid", "series_instance_uid")
    assert [first[name] for name in told] == ["P1", "0.dcm", "duplicate", "CT", "20260131", "1.2.6", "1.2.7"]
    assert (first["sop_instance_uid"], first["size_bytes"], first["number_of_frames"]) == ("1.2.1", 1000, 1)
    assert (rejected["reason"], rejected["modality"]) == ("not_dicom", None)
    assert {file["planned"] for file in unasked["items"]} == {None}
    assert with_maps["items"][1]["planned"] == Planned.NEW, "it was predicted without these maps"
    assert files_of(any_api, other)["counts"]["stored"] == 1


def test_files_come_in_pages_and_by_outcome(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
        upload = add_upload(uow.session, [add_instance(uow.session) for _ in range(3)], rejected=2)

    first = files_of(any_api, upload, f"limit=2&model={MODEL}")
    second = files_of(any_api, upload, f"limit=2&model={MODEL}&cursor={first['next']}")
    rejected = files_of(any_api, upload, "outcome=rejected")

    assert [one["name"] for one in (*first["items"], *second["items"])] == ["0.dcm", "1.dcm", "2.dcm", "0.txt"]
    assert [one["name"] for one in rejected["items"]] == ["0.txt", "1.txt"]
    assert rejected["counts"]["stored"] == 3, "the counts are of all"
    assert any_api.get(f"{UPLOADS}/{upload}/files?model=unknown").status_code == 422
    assert any_api.get(f"{UPLOADS}/{upload}/files?cursor=x").status_code == 422
    assert any_api.get(f"{UPLOADS}/01a20fdb-8f94-75f9-9123-f4612e95134f/files").status_code == 404


def test_slices_are_selected_by_the_whole_series_whatever_the_page(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        session = uow.session
        add_model(session, slices={"select": {"kind": "every_nth", "n": 2}})
        numbers = list(range(1, 10))
        random.Random(3).shuffle(numbers)
        instances = [add_instance(session, **CT, instance_number=number) for number in numbers]
        upload = add_upload(session, instances)
        add_upload(session, [add_instance(session, **CT, instance_number=0)])

    whole = files_of(any_api, upload, f"model={MODEL}")["items"]
    paged: list[Any] = []
    cursor = ""
    while len(paged) < len(whole):
        page = files_of(any_api, upload, f"model={MODEL}&limit=2{cursor}")
        paged += page["items"]
        cursor = f"&cursor={page['next']}"
    plan = any_api.post("/api/v1/jobs", json={"uploads": [str(upload)], "dry_run": True}).json["counts"]

    assert paged == whole
    would = [file["planned"] for file in whole]
    assert (would.count("new"), would.count("not_selected")) == (plan["new"], plan["not_selected"]) == (5, 4)


def test_files_that_are_there_keep_the_name_that_they_have_here(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        digest = add_instance(uow.session).blob_sha256
    store = any_api.app.extensions["overread"].store
    store.path(digest).parent.mkdir(parents=True, exist_ok=True)
    store.path(digest).write_bytes(b"its bytes")
    upload = any_api.post(UPLOADS).json["id"]

    asked = {"sha256": [digest], "names": {digest: "night/\u202e1.dcm"}}
    answer = any_api.post(f"{UPLOADS}/{upload}/missing", json=asked).json

    (file,) = files_of(any_api, upload)["items"]
    assert answer == {"missing": [], "attached": 1}
    assert (file["name"], file["outcome"], file["size_bytes"]) == ("night/1.dcm", "duplicate", 1000)
    assert any_api.post(f"{UPLOADS}/{upload}/missing", json={"sha256": [], "names": {"x": "y"}}).status_code == 422
