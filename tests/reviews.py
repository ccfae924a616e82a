"""Reports with the probabilities that a test wants, and people who review them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db import reading
from shared.models import Instance, ModelVersion, Report, Series, Study
from shared.repositories.jobs import NewJob, Target, create_job
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.repositories.principals import default_project
from shared.states import Explain, Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import commit, take
from tests.conftest import Api, Prepared
from tests.factories import add_instance, add_model, admin_id
from tests.reporting import report_on_all

REPORTS = "/api/v1/reports"
CODES = ("effusion", "mass", "nodule")
NOTHING = (0.1, 0.1, 0.1)


def model(prepared: Prepared, **changes: Any) -> int:
    """The next version of a model that looks for `CODES`, unless told otherwise; its row's id."""
    with UnitOfWork(prepared.engine) as uow:
        return add_model(uow.session, **{"task": "multilabel"} | changes).id


def predict(
    prepared: Prepared, version_id: int, studies: Mapping[str, Sequence[Sequence[float]]], patient: str = "P1"
) -> None:
    """A job on new images of these studies is over, each image with the probabilities given; no report is made yet."""
    with UnitOfWork(prepared.engine) as uow:
        images = [(_image(uow.session, uid, patient), given) for uid, some in studies.items() for given in some]
        _tell(uow.session, version_id, images)
        _submit(uow.session, version_id, [one for one, _ in images])
    _work(prepared)


def predict_again(prepared: Prepared, version_id: int, given: Sequence[float]) -> None:
    """A job of another version on every image there is is over; it says the same of each."""
    with UnitOfWork(prepared.engine) as uow:
        images = uow.session.scalars(select(Instance)).all()
        _tell(uow.session, version_id, [(one, given) for one in images])
        _submit(uow.session, version_id, images)
    _work(prepared)


def fail(prepared: Prepared, version_id: int, study: str, patient: str = "P1") -> None:
    """A job on one new image of a study is over: it could not be decoded."""
    with UnitOfWork(prepared.engine) as uow:
        _submit(uow.session, version_id, [_image(uow.session, study, patient)])
    _work(prepared, num_failed=1)


def aggregate(prepared: Prepared) -> str:
    """The id of the newest report that there is after the scheduler looked."""
    report_on_all(prepared.engine)
    with reading(prepared.engine) as session:
        return str(session.scalars(select(Report.id).order_by(Report.number.desc()).limit(1)).one())


def reported(prepared: Prepared, *vectors: Sequence[float], study: str = "1.2.20260101", **changes: Any) -> str:
    """The first report of a patient with one study, of images with these probabilities."""
    predict(prepared, model(prepared, **changes), {study: vectors})
    return aggregate(prepared)


def person(api: Api, name: str, *roles: str, scopes: Sequence[str] = ("review", "read")) -> dict[str, str]:
    """The headers of somebody with a token of their own."""
    made = api.post("/api/v1/tokens", json={"principal": name, "scopes": list(scopes), "roles": list(roles)})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json['token']}"}


def physician(api: Api, name: str = "dr.a") -> dict[str, str]:
    return person(api, name, "physician")


def document(api: Api, report_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{REPORTS}/{report_id}").json["document"]
    return found


def read(api: Api, report_id: str) -> dict[str, str]:
    """The precondition of who has this version before them."""
    return {"If-Match": f'"{api.get(f"{REPORTS}/{report_id}").json["content_digest"]}"'}


def say(api: Api, who: Mapping[str, str], report_id: str, act: str = "review", **body: Any) -> Any:
    """What the API answers to a word on a report that was read; `verdicts` are by finding."""
    verdicts = body.pop("verdicts", {})
    if act != "retract":
        body["findings"] = [{"code": code, "verdict": verdict} for code, verdict in verdicts.items()]
    return api.post(f"{REPORTS}/{report_id}/{act}", json=body, headers=dict(who) | read(api, report_id))


def sign(api: Api, who: Mapping[str, str], report_id: str, verdict: str = "agree", **verdicts: str) -> Any:
    """A signature with the same verdict on every decision but those that are named."""
    decided = [one["code"] for one in document(api, report_id)["findings"] if one["decision"] is not None]
    made = say(api, who, report_id, verdicts=dict.fromkeys(decided, verdict) | verdicts, sign=True)
    assert made.status_code == 201, made.text
    return made.json


def _image(session: Session, study: str, patient: str) -> Instance:
    last = study.rpartition(".")[2]
    day = last if len(last) == len("20260101") else ""
    return add_instance(session, patient_id=patient, study_instance_uid=study, study_date=day)


def _tell(session: Session, version_id: int, images: Sequence[tuple[Instance, Sequence[float]]]) -> None:
    version = session.get_one(ModelVersion, version_id)
    provenance = Provenance(version.digest, "keras", "float32", explained=Explain.POSITIVES)
    predictions = [NewPrediction(one.blob_sha256, 1, list(given)) for one, given in images]
    add_predictions(session, predictions, provenance)


def _submit(session: Session, version_id: int, images: Sequence[Instance]) -> None:
    patients = select(Instance.id, Study.patient_id).join(Instance.series).join(Series.study)
    patient_of = dict(session.execute(patients.where(Instance.id.in_([one.id for one in images]))).all())
    targets = [Target(f"instance:{one.id}", instance_id=one.id, patient_id=patient_of[one.id]) for one in images]
    of = {"principal_id": admin_id(session), "project_id": default_project(session).id}
    new = NewJob(**of, model_version_id=version_id, request={}, lane=Lane.ROUTINE)
    create_job(session, new, targets, shard_items=64)


def _work(prepared: Prepared, num_failed: int = 0) -> None:
    while (claimed := take(prepared.engine, "worker-1")) is not None:
        commit(prepared.engine, claimed, num_failed=num_failed)
