"""Labels -> a frozen snapshot -> a training process -> the next model version, through kill, cancel and pause."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.datasets.document import read
from shared.db import reading
from shared.models import Blob, Dataset, DatasetPatient, ModelVersion, PatientSplit
from shared.states import Lane, Split
from shared.unit_of_work import UnitOfWork
from tests.cohorts import film, zipped
from tests.conftest import Api
from tests.invariants import check_invariants
from tests.trainings import (
    DATASETS,
    JOBS,
    LABELS,
    PATIENTS,
    QUICK,
    ZIP,
    drivers,
    job,
    label,
    postgresql_is_slow,
    register,
    store,
    train,
    weights_of,
)
from worker.runtime import Runtime
from worker.tasks import train_next


@pytest.mark.usefixtures("cohort")
def test_training_makes_the_next_version(any_api: Api, runtime: Runtime) -> None:
    done = train(any_api, runtime, QUICK | {"epochs": 30})

    assert (done["state"], done["kind"], done["priority"]) == ("done", "training", "training")
    training = done["training"]
    assert (training["phase"], training["model"]) == ("done", "sample-binary:2")
    assert training["history"][-1]["val_auc"] == 1.0
    assert done["progress"] == 1.0
    versions = any_api.get("/api/v1/models").json["items"]
    assert {one["version"]: one["state"] for one in versions} == {1: "champion", 2: "held"}
    (reason,) = training["gate"]["reasons"]
    assert reason.endswith("10 of each are needed to judge")
    with reading(runtime.engine) as session:
        contract = session.scalars(select(ModelVersion.contract).where(ModelVersion.version == 2)).one()
        kept = session.scalars(select(Blob.media_type)).all()
    assert contract["training"]["data_digest"] == training["dataset"]
    assert "train: " in contract["training"]["description"]
    assert not any("numpy" in media_type for media_type in kept), "the checkpoint went when it was needed no more"
    assert not list((runtime.settings.data_dir / "training").iterdir())
    assert drivers() == []
    check_invariants(runtime.engine)


@pytest.mark.usefixtures("cohort")
def test_snapshot_is_split_by_patient_and_nothing_learns_from_the_holdout(any_api: Api, runtime: Runtime) -> None:
    done = train(any_api, runtime, QUICK)

    shown = any_api.get(f"{DATASETS}/{done['training']['dataset'][:8]}").json
    assert any_api.get(DATASETS).json["items"] == [shown]
    patients = {split: found["patients"] for split, found in shown["splits"].items()}
    assert sum(patients.values()) == PATIENTS
    assert shown["left_out"] == {}
    assert shown["splits"]["train"]["sites"] == {"local": patients["train"]}
    with reading(runtime.engine) as session:
        holdout = set(session.scalars(select(PatientSplit.patient_id).where(PatientSplit.split == Split.HOLDOUT)))
        learnt_from = set(
            session.scalars(select(DatasetPatient.patient_id).where(DatasetPatient.split != Split.HOLDOUT))
        )
    assert len(holdout) == patients["holdout"] > 0
    assert not holdout & learnt_from
    text = any_api.get(shown["links"]["instances"], buffered=True)
    assert text.mimetype == "application/x-ndjson"
    head, samples = read(runtime.store.path(shown["digest"]))
    assert head.classes == ("negative", "lesion")
    assert len(text.data.splitlines()) == len(samples) + 1 == PATIENTS + 1


@pytest.mark.usefixtures("cohort")
def test_database_itself_refuses_to_learn_from_the_holdout(any_api: Api, runtime: Runtime) -> None:
    train(any_api, runtime, QUICK)
    with reading(runtime.engine) as session:
        held_out = session.scalars(select(PatientSplit.patient_id).where(PatientSplit.is_holdout)).first()
        learns = session.scalars(select(PatientSplit.patient_id).where(~PatientSplit.is_holdout)).first()
        dataset = session.scalars(select(Dataset.id)).one()
    forget = DatasetPatient.__table__.delete().where(DatasetPatient.patient_id == held_out)  # type: ignore[attr-defined]

    for row in ({"split": Split.TRAIN, "is_holdout": False}, {"split": Split.VAL, "is_holdout": True}):
        with pytest.raises(IntegrityError):
            execute(runtime, forget, insert(DatasetPatient).values(dataset_id=dataset, patient_id=held_out, **row))
    for patient, values in (
        (held_out, {"split": None, "is_holdout": False}),
        (learns, {"split": Split.HOLDOUT, "is_holdout": True}),
        (learns, {"is_holdout": True}),
    ):
        with pytest.raises(IntegrityError):
            execute(runtime, update(PatientSplit).where(PatientSplit.patient_id == patient).values(**values))


def execute(runtime: Runtime, *statements: Any) -> None:
    with UnitOfWork(runtime.engine) as uow:
        for statement in statements:
            uow.session.execute(statement)


@pytest.mark.usefixtures("cohort")
def test_same_labels_and_images_are_the_same_snapshot(any_api: Api, runtime: Runtime) -> None:
    first, again = (train(any_api, runtime, QUICK) for _ in range(2))
    label(any_api, 1, who="Dr. B", value=1)
    other = train(any_api, runtime, QUICK)

    digests = [one["training"]["dataset"] for one in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    # The same data, options and start give the same weights, which are one version.
    models = [one["training"]["model"] for one in (first, again, other)]
    assert models[0] == models[1] != models[2]


def test_too_few_labels_are_a_reason_not_a_crash(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register(any_api, tmp_path)
    store(any_api, 4)
    label(any_api, 4, value=1)

    failed = train(any_api, runtime, QUICK)

    assert (failed["state"], failed["training"]["phase"], failed["progress"]) == ("failed", "failed", 0.0)
    assert "import more labels" in failed["training"]["why"]
    (item,) = any_api.get(f"{JOBS}/{failed['id']}/items").json["items"]
    assert item["reason"] == "too_few_labels"
    assert "import more labels" in item["detail"]
    label(any_api, 4, value=0)
    retry = any_api.post(f"{JOBS}/{failed['id']}/retry")
    assert (retry.status_code, retry.json["kind"], retry.json["retry_of"]) == (202, "training", failed["id"])
    assert retry.json["training"]["options"] == failed["training"]["options"]


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_who_has_pixels_that_were_learnt_from_does_not_judge(any_api: Api, runtime: Runtime) -> None:
    first = train(any_api, runtime, QUICK)
    copies = [(f"C{at}", film(f"C{at:04d}", 1, at, level=160 if at % 2 else 90, side=32)) for at in range(PATIENTS)]
    assert any_api.post("/api/v1/uploads", data=zipped(copies), **ZIP).status_code == 201
    rows = [
        {"patient_id": f"C{at:04d}", "finding": "lesion", "value": at % 2, "source": "ward", "split": "holdout"}
        for at in range(PATIENTS)
    ]
    assert any_api.post(LABELS, json={"labels": rows}).json["refused"] == 0

    again = any_api.get(f"{DATASETS}/{first['training']['dataset']}").json
    failed = train(any_api, runtime, QUICK)

    # Whom the model learnt from is like the new holdout now, and who of that is like them cannot judge.
    assert failed["state"] == "failed"
    learnt = sum(again["splits"][split]["instances"] for split in ("train", "val"))
    assert (
        f"{learnt} left out: is of the holdout, but a version learnt from the same pixels" in failed["training"]["why"]
    )


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_warm_start_chooses_by_patients_that_it_has_not_learnt_from(any_api: Api, runtime: Runtime) -> None:
    first = train(any_api, runtime, QUICK)
    options = QUICK | {"start": "warm", "seed": 77}
    answer = any_api.post(JOBS, json={"kind": "training", "model": first["training"]["model"], "options": options})
    train_next(runtime)
    second = job(any_api, answer.json["id"])

    splits = []
    for one in (first, second):
        _, samples = read(runtime.store.path(one["training"]["dataset"]))
        splits.append({sample.patient: sample.split for sample in samples})
    assert splits[0] == splits[1]


def test_only_an_operator_trains_and_only_with_what_is_known(any_api: Api, tmp_path: Path) -> None:
    register(any_api, tmp_path)
    wanted = {"kind": "training", "model": "sample-binary"}
    token = any_api.post("/api/v1/tokens", json={"principal": "ward", "scopes": ["submit", "read"]}).json["token"]

    refused = any_api.post(JOBS, json=wanted, headers={"Authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    wrong = any_api.post(JOBS, json=wanted | {"options": {"epochs": 0, "learning_rate": "NaN", "speed": 3}})
    assert wrong.status_code == 422
    assert {one["pointer"] for one in wrong.json["errors"]} == {
        "/options/epochs",
        "/options/learning_rate",
        "/options/speed",
    }
    assert any_api.post(JOBS, json={"kind": "dreaming"}).json["errors"][0]["pointer"] == "/kind"
    assert any_api.post(JOBS, json={"studies": ["1.2"], "priority": "training"}).status_code == 422
    queues = {one["lane"]: one["weight"] for one in any_api.get("/api/v1/queues").json["items"]}
    assert queues["training"] is None
    assert set(queues) == set(Lane)


def test_snapshot_that_is_not_there_is_told(any_api: Api) -> None:
    for digest in ("00000000", "zzzzzzzz", "%25", "0000"):
        answer = any_api.get(f"{DATASETS}/{digest}")
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert any_api.get(DATASETS).json["items"] == []


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_network_of_ours_takes_the_place_of_the_packages(any_api: Api, runtime: Runtime) -> None:
    found = [train(any_api, runtime, QUICK | {"network": name, "epochs": 1}) for name in ("resnet18", "small_resnet")]

    assert [one["state"] for one in found] == ["done", "done"]
    versions = ["sample-binary:1", *(one["training"]["model"] for one in found)]
    assert [len(weights_of(runtime, version)) for version in versions] == [2, 62, 47]
    warm = {"kind": "training", "model": "sample-binary", "options": {"network": "resnet18"}}
    refused = any_api.post(JOBS, json=warm)
    assert refused.status_code == 422
    assert "start from scratch" in refused.text


@pytest.mark.parametrize("any_prepared", ["prepared"], indirect=True)
@pytest.mark.usefixtures("cohort")
def test_batches_too_large_for_a_network_of_ours_are_a_reason_not_a_crash(any_api: Api, runtime: Runtime) -> None:
    found = train(any_api, runtime, QUICK | {"network": "mission_cnn", "batch_size": 65_536})

    assert found["state"] == "failed"
    assert "more than the 4096 allowed in batches of 65536" in found["training"]["why"]
