"""A job's positives -> heat maps in the content store and the API, with a real engine, on each kind of database."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select, update

from shared.db import db_now, reading
from shared.errors import StorageUnavailableError
from shared.heat_map_file import read_map
from shared.models import Blob, HeatMap, Prediction, Shard
from shared.oracle.judge import judge
from shared.repositories.heat_maps import InstanceMaps, NewHeatMap, add_heat_maps
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions, predicted_frames
from shared.states import Explain, MapMethod, NoMap
from shared.unit_of_work import UnitOfWork
from tests.cohorts import zipped
from tests.conftest import Api, Prepared
from tests.dicom_samples import make_dataset, to_bytes
from tests.factories import add_instance, add_model
from tests.integration.test_job_to_report import ZIP, reports, work
from tests.model_samples import accept_everything_package, contract_fields, write_contract, zip_package
from worker.networks import mission_cnn
from worker.runtime import Runtime

SIDE = 32
PNG = "image/png"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Pooling of the frame itself: its map is the frame, and bright frames are positive."""
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model", side=SIDE), folder / "model.zip").read_bytes()


@pytest.fixture(scope="module")
def flat_package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The mission's CNN, which has no pooling head; at a threshold of 0 every frame is positive."""
    import keras

    folder = accept_everything_package(tmp_path_factory.mktemp("flat") / "model", side=SIDE)
    keras.utils.set_random_seed(1)
    mission_cnn.build(SIDE, SIDE, 1, 2).save(folder / "weights.keras")
    findings = [{"code": "lesion", "display": "Lesion", "threshold": 0.0, "background": False}]
    write_contract(folder, contract_fields(side=SIDE, findings=findings, name="flat"))
    return zip_package(folder, folder.parent / "flat.zip").read_bytes()


def square(number: int, *, is_bright: bool) -> bytes:
    """A frame that is mostly dark or mostly bright, its extreme corner top left."""
    pixels = np.full((SIDE, SIDE), 200 if is_bright else 20, np.uint8)
    pixels[:8, :8] = 250 if is_bright else 60
    pixels[-1, -1] = 0
    pixels[-1, 0] = number
    if not is_bright:
        pixels[-1, -2] = 255
    study = {"StudyTime": "101112", "StudyID": "S1", "AccessionNumber": f"A{number}", "BodyPartExamined": "CHEST"}
    study |= {"StudyDescription": "Chest, one view", "TimezoneOffsetFromUTC": "+0100"}
    uids = {"PatientID": f"P{number}", "SOPInstanceUID": f"1.2.3.{number}"}
    return to_bytes(make_dataset(pixels, Modality="CR", **study, **uids))


def send(api: Api, package: bytes, *, bright: int = 2, dark: int = 1) -> str:
    assert api.post("/api/v1/models", data=package, **ZIP).status_code == 201
    files = [(f"{n}.dcm", square(n, is_bright=n < bright)) for n in range(bright + dark)]
    return str(api.post("/api/v1/uploads", data=zipped(files), **ZIP).json["id"])


def submit(api: Api, upload: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/jobs", json={"uploads": [upload], **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json)


def rows_of(api: Api) -> list[HeatMap]:
    with reading(api.prepared.engine) as session:
        return list(session.scalars(select(HeatMap).order_by(HeatMap.id)))


def evidence_of(api: Api, job: dict[str, Any]) -> list[dict[str, Any]]:
    found = [api.get(f"/api/v1/reports/{one['id']}").json for one in reports(api, job["id"])]
    return [one for report in found for finding in report["document"]["findings"] for one in finding["evidence"]]


def test_each_positive_gets_a_map_and_no_negative(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    job = submit(api, send(api, package))
    work(runtime)

    rows = rows_of(api)

    assert job["explain"] == "positives"
    assert [(row.finding, row.method, row.no_map, row.rows, row.columns) for row in rows] == 2 * [
        (0, "cam", None, SIDE, SIDE)
    ]
    for row in rows:
        heat = read_map(runtime.store.path(row.blob_sha256 or ""), row.position or 0)
        assert (heat.dtype, heat.shape) == (np.float16, (SIDE, SIDE))
        assert np.unravel_index(heat.argmax(), heat.shape)[0] < 8
        with reading(api.prepared.engine) as session:
            prediction = session.get_one(Prediction, row.prediction_id)
            assert session.get_one(Blob, row.blob_sha256).media_type == "application/x-npy"
        # Behind pooling the mean of a map and the biases' difference are the logit itself.
        logit = float(heat.astype(np.float64).mean()) - 2.0
        assert prediction.probabilities[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-2)
    evidence = evidence_of(api, job)
    assert sorted(one["heat_map"] is not None for one in evidence) == [False, True, True]
    with reading(api.prepared.engine) as session:
        assert judge(session, runtime.store)["findings"] == []


def test_all_explains_negatives_too_and_none_explains_nothing(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    upload = send(api, package)

    submit(api, upload, explain="none")
    work(runtime)
    assert rows_of(api) == []
    positives = submit(api, upload)
    work(runtime)
    assert (positives["counts"]["pending"], len(rows_of(api))) == (3, 2)
    everything = submit(api, upload, explain="all")
    work(runtime)
    assert (everything["counts"]["pending"], len(rows_of(api))) == (3, 3)
    again = [submit(api, upload, explain=how) for how in ("none", "positives", "all")]

    assert [job["counts"]["reused"] for job in again] == [3, 3, 3]
    reports(api, again[0]["id"])
    with reading(api.prepared.engine) as session:
        assert session.scalar(select(func.count()).select_from(Prediction)) == 3
        assert judge(session, runtime.store)["findings"] == []


def test_forced_run_has_maps_of_its_own(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    upload = send(api, package)
    first = submit(api, upload)
    work(runtime)
    before = {one["heat_map"]["id"] for one in evidence_of(api, first) if one["heat_map"]}

    forced = submit(api, upload, force=True)
    work(runtime)

    after = {one["heat_map"]["id"] for one in evidence_of(api, forced) if one["heat_map"]}
    assert (len(before), len(after), len(rows_of(api))) == (2, 2, 4)
    assert not before & after


def test_network_without_pooling_head_is_explained_by_gradient(
    any_api: Api, flat_package: bytes, runtime: Runtime
) -> None:
    api = any_api
    job = submit(api, send(api, flat_package, bright=1, dark=1))
    work(runtime)

    rows = rows_of(api)

    assert [(row.method, row.no_map, row.rows, row.columns) for row in rows] == 2 * [("grad_cam", None, 4, 4)]
    assert api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "done"
    assert f"explainer/float32/{job['model']['digest'][:12]}" in runtime.engines.loaded()


def test_commit_that_fails_after_the_maps_were_stored_doubles_none(
    any_api: Api, package: bytes, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = any_api
    job = submit(api, send(api, package))

    def fail(*_: Any, **__: Any) -> None:
        raise StorageUnavailableError("the worker ends here")

    with monkeypatch.context() as broken:
        broken.setattr("worker.inference.commit.record_outcomes", fail)
        work(runtime, times=1)
    assert rows_of(api) == []
    with UnitOfWork(api.prepared.engine) as uow:
        uow.session.execute(update(Shard).values(not_before=db_now(-1.0)))
    work(runtime)

    rows = rows_of(api)
    assert api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "done"
    assert len({row.prediction_id for row in rows}) == len(rows) == 2
    reports(api, job["id"])
    with reading(api.prepared.engine) as session:
        assert judge(session, runtime.store)["findings"] == []


def test_first_map_of_a_finding_stays(any_api: Api, package: bytes, runtime: Runtime) -> None:
    api = any_api
    job = submit(api, send(api, package, bright=1, dark=0))
    work(runtime)
    (before,) = rows_of(api)
    with reading(api.prepared.engine) as session:
        blob = session.get_one(Prediction, before.prediction_id).blob_sha256

    late = InstanceMaps(blob, [NewHeatMap(1, 0, MapMethod.GRAD_CAM, no_map=NoMap.FAILED)])
    with UnitOfWork(api.prepared.engine) as uow:
        add_heat_maps(uow.session, [late], job["model"]["digest"], 0)

    (after,) = rows_of(api)
    assert (after.id, after.no_map, after.blob_sha256) == (before.id, None, before.blob_sha256)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Explain, repeat=2)))
def test_how_far_a_prediction_is_explained_only_grows(prepared: Prepared, before: Explain, after: Explain) -> None:
    order = [Explain.NONE, Explain.POSITIVES, Explain.ALL]
    with UnitOfWork(prepared.engine) as uow:
        sha256, digest = add_instance(uow.session).blob_sha256, add_model(uow.session).digest
        for explained, probability in ((before, 0.25), (after, 0.75)):
            provenance = Provenance(digest, "keras", "float32", explained=explained)
            add_predictions(uow.session, [NewPrediction(sha256, 1, [probability])], provenance)

    with reading(prepared.engine) as session:
        (found,) = session.scalars(select(Prediction))
        covered = [how for how in order if predicted_frames(session, digest, [sha256], explain=how)]
    assert (found.explained, found.probabilities) == (max(before, after, key=order.index), [0.25])
    assert covered == order[: order.index(found.explained) + 1]


@pytest.fixture
def mapped(any_api: Api, package: bytes, runtime: Runtime) -> tuple[str, str]:
    """The paths of a heat map and of the report that names it."""
    job = submit(any_api, send(any_api, package, bright=1, dark=0))
    work(runtime)
    (report,) = reports(any_api, job["id"])
    (evidence,) = evidence_of(any_api, job)
    return evidence["heat_map"]["links"]["self"], report["links"]["html"]


def test_heat_map_is_read_as_json_as_bytes_and_as_a_picture(any_api: Api, mapped: tuple[str, str]) -> None:
    api, (path, page) = any_api, mapped

    said = api.get(path).json
    raw = api.get(path, headers={"Accept": "application/octet-stream"})
    picture = api.get(f"{path}.png")
    html = api.get(page).text

    assert (said["finding"], said["method"], said["rows"], said["columns"], said["frame"]) == (
        "lesion",
        "cam",
        SIDE,
        SIDE,
        1,
    )
    heat = np.frombuffer(raw.data, "<f2").reshape(SIDE, SIDE)
    np.testing.assert_array_equal(heat, np.array(said["values"], np.float16))
    assert (picture.mimetype, picture.headers["X-Content-Type-Options"]) == (PNG, "nosniff")
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.info == {}
        pixels = np.asarray(image.convert("RGB"), np.int64)
    tint = pixels[:, :, 0] - pixels[:, :, 2]
    # The bright corner is tinted, the one black pixel at the other end is not.
    assert tint[:120, :120].mean() > 50
    assert abs(tint[505:511, 505:]).max() < 5
    assert "AI, not for diagnostic use" in html
    assert "Image 1, frame 1: Lesion" in html
    assert 'src="data:image/png;base64,' in html
    assert 'alt="Heat map: where in frame 1 of image' in html
    assert "<script" not in html


def test_heat_map_is_kept_by_who_has_it(any_api: Api, mapped: tuple[str, str]) -> None:
    api, (path, _) = any_api, mapped

    for one in (path, f"{path}.png"):
        first = api.get(one)
        again = api.get(one, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert "private" in first.headers["Cache-Control"]
    assert api.get(path).headers["ETag"] != api.get(f"{path}.png").headers["ETag"]


def test_heat_map_needs_the_scope_read_and_must_exist(any_api: Api, mapped: tuple[str, str]) -> None:
    api, (path, _) = any_api, mapped
    token = api.post("/api/v1/tokens", json={"principal": "sender", "scopes": ["submit"]}).json["token"]

    for one in (path, f"{path}.png"):
        assert api.get(one, headers={"Authorization": f"Bearer {token}"}).status_code == 403
        assert api.get(one, headers={"Authorization": "Bearer nonsense"}).status_code == 401
    for number in (987654321, 2**63, 2**80):
        assert api.get(f"/api/v1/heat-maps/{number}").status_code == 404
        assert api.get(f"/api/v1/heat-maps/{number}.png").status_code == 404


@pytest.mark.parametrize("damage", [None, b"", b"\x93NUMPY\x01\x00v\x00" + b"x" * 64])
def test_map_that_is_gone_or_damaged_is_told_and_the_page_goes_on(
    any_api: Api, mapped: tuple[str, str], runtime: Runtime, damage: bytes | None
) -> None:
    api, (path, page) = any_api, mapped
    (row,) = rows_of(api)
    stored: Path = runtime.store.path(row.blob_sha256 or "")
    stored.unlink() if damage is None else stored.write_bytes(damage)

    answers = [api.get(path), api.get(f"{path}.png")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert all("gone or damaged" in answer.json["detail"] for answer in answers)
    assert f"not shown here: {row.id}" in api.get(page).text
