"""Files on their way in: each with an outcome, each kept once, each conflict told; a broken submission goes on."""

import dataclasses
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select

from api.services import Services, make_services
from shared.config import load_settings
from shared.db import reading
from shared.dicom.read import HeaderReader
from shared.models import Blob, Instance, Patient, Series, Study, UploadFile
from shared.repositories.imaging import NewInstance, index_instances, lock_index, site_named
from shared.repositories.parts import QUERY_VALUES
from shared.unit_of_work import UnitOfWork
from tests.body_samples import FORM, PART, form
from tests.conftest import Api, Prepared, make_app
from tests.dicom_samples import dicom_bytes, make_uid, ramp
from tests.factories import add_model, make_header, new_sha256, rows_of
from tests.zip_samples import make_zip

UPLOADS = "/api/v1/uploads"
JOBS = "/api/v1/jobs"


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeaderReader]:
    """One set of limited children for all tests of this file; starting them takes longer than the tests."""
    reader = HeaderReader(load_settings(data_dir=tmp_path_factory.mktemp("headers")))
    yield reader
    reader.close()


@pytest.fixture
def uploading(any_prepared: Prepared, headers: HeaderReader) -> Iterator[Api]:
    """The API on each kind of database."""
    services = make_services(any_prepared.settings)
    services.headers.close()
    services = dataclasses.replace(services, headers=headers)
    yield Api(make_app(services), any_prepared)
    services.engine.dispose()


def _services(api: Api) -> Services:
    found: Services = api.app.extensions["overread"]
    return found


def _send(api: Api, files: dict[str, bytes], path: str = UPLOADS, **given: Any) -> Any:
    return api.post(path, data=form(files), content_type=FORM, **given)


def _instance_bytes(name: str, **attributes: Any) -> bytes:
    """A good file whose bytes and SOP Instance UID are its own, unless the attributes say otherwise."""
    return dicom_bytes(**{"SOPInstanceUID": make_uid(name), "StationName": name} | attributes)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _rows(api: Api, *tables: Any) -> list[int]:
    with reading(api.prepared.engine) as session:
        return [rows_of(session, table) for table in tables]


def test_each_file_has_an_outcome_when_good_and_bad_ones_come_together(uploading: Api) -> None:
    first, second = _instance_bytes("first"), _instance_bytes("second")
    _send(uploading, {"before.dcm": first})

    answer = _send(uploading, {"a.dcm": first, "b.dcm": second, "c.txt": b"no DICOM", "d.dcm": b""})

    assert answer.status_code == 201
    assert answer.json["counts"] == {"stored": 1, "duplicate": 1, "rejected": 2}
    files = answer.json["files"]
    assert [(file["name"], file["outcome"], file["reason"]) for file in files] == [
        ("a.dcm", "duplicate", None),
        ("b.dcm", "stored", None),
        ("c.txt", "rejected", "not_dicom"),
        ("d.dcm", "rejected", "empty_file"),
    ]
    assert [file["sha256"] for file in files[:2]] == [_digest(first), _digest(second)]
    assert files[2]["reason_text"].startswith("The file is not DICOM")
    assert uploading.get(answer.headers["Location"]).json == answer.json
    store = _services(uploading).store
    assert [store.path(_digest(data)).read_bytes() for data in (first, second)] == [first, second]
    assert not store.exists(_digest(b"no DICOM"))
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "wrap"),
    [("application/dicom", lambda data: data), ("application/zip", lambda data: make_zip({"folder/a.dcm": data}))],
)
def test_file_is_stored_when_it_comes_bare_or_in_a_zip(uploading: Api, content_type: str, wrap: Any) -> None:
    data = _instance_bytes("a")

    answer = uploading.post(UPLOADS, data=wrap(data), content_type=content_type)

    (file,) = answer.json["files"]
    assert (file["outcome"], file["sha256"], file["size_bytes"]) == ("stored", _digest(data), len(data))
    assert _rows(uploading, Patient, Study, Series, Instance, Blob) == [1, 1, 1, 1, 1]


def test_upload_goes_on_when_more_files_are_sent(uploading: Api) -> None:
    begun = uploading.post(UPLOADS, json={"label": "night"})
    location = begun.headers["Location"]

    more = [_send(uploading, {f"{name}.dcm": _instance_bytes(name)}, location) for name in ("a", "b")]

    assert begun.status_code == 201
    assert begun.json["files"] == []
    assert [len(answer.json["files"]) for answer in more] == [1, 1]
    whole = uploading.get(location).json
    assert (whole["label"], whole["counts"]["stored"]) == ("night", 2)


def test_missing_names_what_to_send_and_attaches_the_rest(uploading: Api) -> None:
    known, lacking = _instance_bytes("known"), _instance_bytes("lacking")
    _send(uploading, {"a.dcm": known})
    location = uploading.post(UPLOADS).headers["Location"]
    wanted = {"sha256": [_digest(lacking), _digest(known), _digest(lacking), _digest(b"never")]}

    first, second = (uploading.post(f"{location}/missing", json=wanted) for _ in range(2))

    assert first.json == {"missing": [_digest(lacking), _digest(b"never")], "attached": 1}
    assert second.json["attached"] == 0
    assert uploading.get(location).json["counts"] == {"stored": 0, "duplicate": 1, "rejected": 0}


def test_missing_is_answered_when_the_list_is_long(uploading: Api) -> None:
    with UnitOfWork(uploading.prepared.engine) as uow:
        new = [NewInstance(new_sha256(), 1, "application/dicom", make_header()) for _ in range(QUERY_VALUES + 7)]
        index_instances(uow.session, new, site_named(uow.session, "local"))
    for one in new:
        path = _services(uploading).store.path(one.sha256)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    location = uploading.post(UPLOADS).headers["Location"]
    wanted = {"sha256": [one.sha256 for one in new]}

    first, second = (uploading.post(f"{location}/missing", json=wanted) for _ in range(2))

    assert first.json == {"missing": [], "attached": len(new)}
    assert second.json == {"missing": [], "attached": 0}


def test_lost_bytes_are_missing_until_they_are_sent_again(uploading: Api) -> None:
    data = _instance_bytes("a")
    location = _send(uploading, {"a.dcm": data}).headers["Location"]
    _services(uploading).store.path(_digest(data)).unlink()

    missing = uploading.post(f"{location}/missing", json={"sha256": [_digest(data)]})
    again = _send(uploading, {"a.dcm": data}, location)

    assert missing.json["missing"] == [_digest(data)]
    assert again.json["files"][0]["outcome"] == "duplicate"
    assert _services(uploading).store.path(_digest(data)).read_bytes() == data
    assert _rows(uploading, Instance) == [1]


@pytest.mark.parametrize("digest", ["nonsense", "A" * 64, "../" * 21])
def test_missing_is_refused_when_a_digest_is_none(uploading: Api, digest: str) -> None:
    location = uploading.post(UPLOADS).headers["Location"]

    answer = uploading.post(f"{location}/missing", json={"sha256": [digest]})

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"


def test_same_bytes_are_one_item_when_they_come_twice(uploading: Api) -> None:
    data = _instance_bytes("a")
    with UnitOfWork(uploading.prepared.engine) as uow:
        add_model(uow.session)
    upload = _send(uploading, {"a.dcm": data, "copy.dcm": data}).json

    job = uploading.post(JOBS, json={"uploads": [upload["id"]]}).json

    assert [file["outcome"] for file in upload["files"]] == ["stored", "duplicate"]
    assert job["counts"]["total"] == 1
    (item,) = uploading.get(job["links"]["items"]).json["items"]
    assert (item["name"], item["sha256"], item["conflict"]) == ("a.dcm", _digest(data), False)


def test_files_are_both_kept_and_flagged_when_they_share_a_uid_but_not_their_bytes(uploading: Api) -> None:
    uid = make_uid("shared")
    files = {f"{number}.dcm": dicom_bytes(ramp() + number, SOPInstanceUID=uid) for number in range(3)}
    files["other.dcm"] = _instance_bytes("other")
    with UnitOfWork(uploading.prepared.engine) as uow:
        add_model(uow.session)
    _send(uploading, {"0.dcm": files["0.dcm"]})
    upload = _send(uploading, files).json

    job = uploading.post(JOBS, json={"uploads": [upload["id"]]}).json

    items = uploading.get(job["links"]["items"]).json["items"]
    assert {item["name"]: item["conflict"] for item in items} == {
        "0.dcm": True,
        "1.dcm": True,
        "2.dcm": True,
        "other.dcm": False,
    }
    assert _rows(uploading, Instance, Series) == [4, 1]


def test_study_is_two_flagged_studies_when_it_comes_under_two_patients(uploading: Api) -> None:
    files = {
        "a.dcm": _instance_bytes("a", PatientID="P1"),
        "b.dcm": _instance_bytes("b", PatientID="P2"),
        "c.dcm": _instance_bytes("c", PatientID="P3", StudyInstanceUID=make_uid("another study")),
    }

    for name, data in files.items():
        _send(uploading, {name: data})

    with reading(uploading.prepared.engine) as session:
        found = session.execute(select(Patient.patient_id, Study.patient_conflict).join(Study.patient)).all()
    assert dict(found) == {"P1": True, "P2": True, "P3": False}


def test_each_study_is_a_patient_of_its_own_when_the_patient_id_is_empty(uploading: Api) -> None:
    files = {
        f"{study}-{number}.dcm": _instance_bytes(
            f"{study}-{number}", PatientID=patient_id, StudyInstanceUID=make_uid(study)
        )
        for study, patient_id in (("one", ""), ("two", None))
        for number in range(2)
    }

    _send(uploading, files)

    assert _rows(uploading, Patient, Study, Instance) == [2, 2, 4]
    with reading(uploading.prepared.engine) as session:
        patients = session.scalars(select(Patient)).all()
        assert {patient.anonymous_study_uid for patient in patients} == {make_uid("one"), make_uid("two")}
        assert len({patient.key for patient in patients}) == 2
        assert not any(session.scalars(select(Study.patient_conflict)))


def test_patients_differ_when_their_issuers_do(uploading: Api) -> None:
    issuers = {"a": None, "b": "hospital", "c": "hospital"}
    files = {
        f"{name}.dcm": _instance_bytes(name, IssuerOfPatientID=issuer, StudyInstanceUID=make_uid(name))
        for name, issuer in issuers.items()
    }

    _send(uploading, files)

    with reading(uploading.prepared.engine) as session:
        assert set(session.scalars(select(Patient.issuer))) == {"local", "hospital"}
    assert _rows(uploading, Patient, Study) == [2, 3]


def test_file_is_stored_when_its_texts_are_longer_than_the_standard_allows(uploading: Api) -> None:
    long = dict.fromkeys(("PatientSex", "Modality", "StudyDate", "PhotometricInterpretation"), "X" * 60)
    files = {"long.dcm": _instance_bytes("long", **long), "good.dcm": _instance_bytes("good")}

    answer = _send(uploading, files)

    assert answer.json["counts"] == {"stored": 2, "duplicate": 0, "rejected": 0}
    with reading(uploading.prepared.engine) as session:
        assert set(session.scalars(select(Instance.photometric_interpretation))) == {"X" * 16, "MONOCHROME2"}


def test_conflicts_are_flagged_when_the_files_come_at_the_same_moment(any_prepared: Prepared) -> None:
    together = Barrier(4)

    def index(number: int) -> None:
        uids = [make_uid("shared", at) for at in range(8)]
        new = [
            NewInstance(
                new_sha256(),
                1,
                "application/dicom",
                make_header(sop_instance_uid=uid, patient_id=f"P{number}", study_instance_uid=make_uid("study", uid)),
            )
            for uid in (uids if number % 2 else reversed(uids))
        ]
        together.wait()
        with UnitOfWork(any_prepared.engine) as uow:
            lock_index(uow.session)
            index_instances(uow.session, new, site_named(uow.session, "local"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(index, range(4)))

    with reading(any_prepared.engine) as session:
        assert [rows_of(session, table) for table in (Patient, Study, Instance)] == [4, 32, 32]
        assert all(session.scalars(select(Instance.sop_conflict)))
        assert all(session.scalars(select(Study.patient_conflict)))


def test_same_file_is_stored_once_when_it_comes_at_the_same_moment(uploading: Api) -> None:
    data = _instance_bytes("a")
    together = Barrier(3)

    def send(_: int) -> Any:
        together.wait()
        return _send(uploading, {"a.dcm": data})

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(send, range(3)))

    outcomes = [answer.json["files"][0]["outcome"] for answer in answers]
    assert sorted(outcomes) == ["duplicate", "duplicate", "stored"]
    assert _rows(uploading, Instance, Patient, UploadFile) == [1, 1, 3]


def test_files_before_the_break_are_kept_when_the_body_ends_early(uploading: Api) -> None:
    location = uploading.post(UPLOADS).headers["Location"]
    whole = PART % (b"whole.dcm", _instance_bytes("whole"))
    broken = (PART % (b"broken.dcm", _instance_bytes("broken")))[:-50]

    answer = uploading.post(location, data=whole + broken, content_type=FORM)

    assert answer.status_code == 422
    assert "send the rest again" in answer.json["detail"]
    files = uploading.get(location).json["files"]
    assert [(file["name"], file["outcome"]) for file in files] == [("whole.dcm", "stored")]


def test_only_who_began_an_upload_or_operates_adds_to_it(uploading: Api) -> None:
    location = uploading.post(UPLOADS).headers["Location"]
    tokens = [
        uploading.post("/api/v1/tokens", json={"principal": name, "scopes": scopes}).json["token"]
        for name, scopes in (("Ann", ["read", "submit"]), ("Bo", ["read", "submit", "operate"]))
    ]
    ann, bo = ({"Authorization": f"Bearer {token}"} for token in tokens)
    body = {"data": _instance_bytes("a"), "content_type": "application/dicom"}

    assert uploading.post(location, headers=ann, **body).status_code == 403
    assert uploading.post(f"{location}/missing", headers=ann, json={"sha256": []}).status_code == 403
    assert uploading.post(location, headers=bo, **body).status_code == 200
    assert uploading.get(location, headers=ann).json["counts"]["stored"] == 1


def test_upload_is_refused_and_leaves_nothing_when_the_disk_is_nearly_full(uploading: Api) -> None:
    services = _services(uploading)
    settings = services.settings.model_copy(update={"min_free_bytes": 2**62})
    full = Api(make_app(dataclasses.replace(services, settings=settings)), uploading.prepared)

    answer = _send(full, {"a.dcm": _instance_bytes("a")})

    assert answer.status_code == 507
    assert _rows(full, Instance, Blob) == [0, 0]
    assert list((services.store.root / "tmp").iterdir()) == []


def test_files_become_one_job_when_they_are_sent_to_jobs_again_with_the_same_key(uploading: Api) -> None:
    with UnitOfWork(uploading.prepared.engine) as uow:
        add_model(uow.session)
    files = {"a.dcm": _instance_bytes("a"), "b.txt": b"no DICOM"}
    headers = {"Idempotency-Key": "the-same"}
    other_boundary = form(files).replace(b"frontier", b"another")

    first = _send(uploading, files, f"{JOBS}?label=night", headers=headers)
    second = uploading.post(
        f"{JOBS}?label=night",
        data=io.BytesIO(other_boundary),
        content_type=FORM.replace("frontier", "another"),
        headers=headers,
    )

    assert first.status_code == second.status_code == 202
    assert first.data == second.data
    assert first.json["counts"] == {
        "total": 2,
        "done": 0,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "pending": 1,
        "reused": 0,
    }
    assert first.json["label"] == "night"
