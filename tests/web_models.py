"""A trained version that the gate judged, as rows: no network is computed."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.models import Blob, Dataset, EngineProof, Job, ModelVersion, TrainingRun
from shared.repositories.datasets import add_dataset
from shared.repositories.gates import decide
from shared.repositories.jobs import NewJob
from shared.repositories.principals import default_project
from shared.repositories.training import create_training
from shared.states import JobKind, Lane, ProofState
from shared.training_options import TrainingOptions
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import MODEL, add_model, admin_id, new_sha256

REASON = "it is not shown to be better: its AUC is +0.0100 from the champion's"
HISTORY = [
    {
        "epoch": at,
        "loss": 0.9 / at,
        "val_loss": 1.0 / at,
        "val_accuracy": 0.7,
        "val_auc": 0.6 + at / 20,
        "best_epoch": at,
    }
    for at in (1, 2, 3)
]
ENGINES = [
    {"engine": "keras", "precision": "float32", "standing": "passed", "is_reference": True, "serves": False},
    {
        "engine": "openvino",
        "precision": "float32",
        "standing": "passed",
        "is_reference": False,
        "serves": True,
        "max_difference": 2.4e-7,
        "images_per_s": {"1": 120.5, "32": 900.0},
        "batch_sizes": [1, 32],
    },
    {"engine": "onnx", "precision": "float32", "standing": "failed", "detail": "too far off", "is_reference": False},
]
BLANK = {"detail": "", "max_difference": None, "images_per_s": {}, "load_s": 0.5, "serves": False, "batch_sizes": []}


def judged(prepared: Prepared, *reasons: str, promotes: bool = False) -> UUID:
    """The champion, version 1, and a candidate, version 2, that a training job made; returns the job's id."""
    with UnitOfWork(prepared.engine) as uow:
        session = uow.session
        serving, version = add_model(session), add_model(session, description="the next")
        dataset = _dataset(session)
        job = _training(session, serving, version, dataset)
        decide(session, job, version, serving, dataset, reasons, _record(promotes))
        return job.id


def prove(prepared: Prepared, version: int) -> None:
    """The engines of a version were looked at on one kind of hardware."""
    with UnitOfWork(prepared.engine) as uow:
        digest = uow.session.query(ModelVersion).filter_by(name=MODEL, version=version).one().digest
        uow.session.add(
            EngineProof(
                model_digest=digest,
                hardware_digest=new_sha256(),
                hardware="Intel Xeon, AVX-512",
                state=ProofState.DONE,
                worker="worker-1",
                num_inputs=64,
                num_drawn=32,
                engines=[BLANK | one for one in ENGINES],
                created_at=utc_now(),
                finished_at=utc_now(),
            )
        )


def _dataset(session: Session) -> Dataset:
    sha256 = new_sha256()
    session.add(Blob(sha256=sha256, size_bytes=0, media_type="text/plain", created_at=utc_now()))
    session.flush()
    split = {"instances": 30, "patients": 20, "sites": {"local": 30}, "scanners": {"Siemens": 30}}
    splits = {name: split | {"classes": {"lesion": 12, "none": 18}} for name in ("train", "val", "holdout")}
    counts = {"splits": splits, "left_out": {"it has no pixels": 2}}
    return add_dataset(session, sha256, MODEL, counts, {})


def _training(session: Session, began: ModelVersion, made: ModelVersion, dataset: Dataset) -> Job:
    new = NewJob(
        lane=Lane.TRAINING,
        principal_id=admin_id(session),
        project_id=default_project(session).id,
        model_version_id=began.id,
        request={},
        label="nightly",
        kind=JobKind.TRAINING,
    )
    job = create_training(session, new, TrainingOptions(epochs=5), actor="tests")
    run = session.get_one(TrainingRun, job.id)
    run.dataset_id, run.model_version_id = dataset.id, made.id
    run.progress = {"phase": "training", "epoch": 3, "step": 90, "steps": 150, "eta_s": 75.0, "history": HISTORY}
    return job


def _record(promotes: bool) -> dict[str, Any]:
    gains = {name: {"gain": 0.01, "low": -0.02, "high": 0.04} for name in ("auc", "sensitivity", "specificity")}
    finding = {
        "code": "lesion",
        "positives": 40,
        "negatives": 60,
        "gains": gains | {"calibration_error": {"gain": None, "low": None, "high": None}},
        "candidate": _measured(0.91),
        "champion": _measured(0.9),
    }
    group = {"auc": 0.8, "sensitivity": 0.7}
    subgroup = {"by": "sex", "value": "F", "finding": "lesion", "positives": 20, "negatives": 30}
    return {
        "policy": {"promotes": promotes},
        "holdout": {"patients": 100, "new_patients": 7, "times_before": 2, "champion_origin_known": False},
        "measures": {
            "primary": {"metric": "auc", **gains["auc"]},
            "findings": [finding],
            "subgroups": [subgroup | {"candidate": group, "champion": group}],
        },
        "digests": {},
        "code_version": "1",
    }


def _measured(auc: float) -> dict[str, Any]:
    return {
        "auc": auc,
        "sensitivity": 0.8,
        "specificity": 0.85,
        "calibration_error": None,
        "threshold": 0.5,
        "roc": [[0.0, 0.0], [0.1, auc - 0.1], [0.4, auc], [1.0, 1.0]],
        "reliability": [{"patients": 50, "probability": p, "positive": p * auc} for p in (0.1, 0.5, 0.9)],
    }
