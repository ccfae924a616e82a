"""Studies read by a model whose probabilities a test chooses, and the reports that follow."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, select

from shared.db import reading
from shared.models import Instance, ModelVersion, Report, Series, Study
from shared.repositories.jobs import NewJob, Target, create_job
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.repositories.principals import default_project
from shared.states import Explain, ItemState, Lane
from shared.unit_of_work import UnitOfWork
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model, admin_id
from tests.reporting import report_on_all

REVIEW = {
    "finding": "lesion",
    "at_least": 0.8,
    "action": "review",
    "within": {"hours": 24},
    "counted_from": "report",
    "urgency": "urgent",
    "text": "Read it today.",
}
CONTROL = {
    "finding": "lesion",
    "at_least": 0.4,
    "below": 0.8,
    "action": "control_study",
    "within": {"days": 90},
    "counted_from": "study",
    "urgency": "routine",
    "text": "Control in three months.",
}


def register_rules(engine: Engine, *rules: dict[str, Any], **changes: Any) -> int:
    """The next version of a model with these rules; the report speaks of the latest study."""
    wanted: dict[str, Any] = {"follow_up": list(rules), "time_scope": {"kind": "latest_study"}} | changes
    with UnitOfWork(engine) as uow:
        return add_model(uow.session, **wanted).id


def read(engine: Engine, version_id: int, patient: str, probability: float, *, day: str = "20260101") -> None:
    """As if the patient's study of that day had just been read, with this result; the report is made."""
    with UnitOfWork(engine) as uow:
        uid = make_uid(patient, day)
        given = {"patient_id": patient, "study_instance_uid": uid, "series_instance_uid": uid, "study_date": day}
        _job_of(uow, version_id, add_instance(uow.session, **given), probability)
    report_on_all(engine)


def read_again(engine: Engine, version_id: int, patient: str, probability: float, *, day: str = "20260101") -> None:
    """As if another version of the model had read that study."""
    with UnitOfWork(engine) as uow:
        of_study = select(Instance).join(Instance.series).join(Study)
        instance = uow.session.scalars(of_study.where(Study.study_instance_uid == make_uid(patient, day))).one()
        _job_of(uow, version_id, instance, probability)
    report_on_all(engine)


def _job_of(uow: UnitOfWork, version_id: int, instance: Instance, probability: float) -> None:
    session = uow.session
    version = session.get_one(ModelVersion, version_id)
    prediction = NewPrediction(instance.blob_sha256, 1, [probability])
    add_predictions(session, [prediction], Provenance(version.digest, "keras", "float32", explained=Explain.POSITIVES))
    of_instance = select(Study.patient_id).join(Series, Series.study_id == Study.id)
    patient_id = session.scalars(of_instance.where(Series.id == instance.series_id)).one()
    target = Target(f"instance:{instance.id}", instance_id=instance.id, patient_id=patient_id)
    new = NewJob(
        lane=Lane.ROUTINE,
        principal_id=admin_id(session),
        project_id=default_project(session).id,
        model_version_id=version_id,
        request={},
    )
    create_job(session, new, [replace(target, state=ItemState.DONE, frames=1)], shard_items=64)


def newest_report(engine: Engine) -> Report:
    """The report version that was made last."""
    with reading(engine) as session:
        return session.scalars(select(Report).order_by(Report.created_at.desc(), Report.number.desc())).all()[0]
