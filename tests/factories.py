"""Builds rows: a model version, stored instances, jobs of them; each call makes things that are new."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from itertools import count
from typing import Any
from uuid import UUID

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.db import db_now, reading
from shared.dicom.read import Header
from shared.model_contract import ModelContract
from shared.models import Instance, Item, Job, ModelVersion, Principal, Shard, Study, UploadFile
from shared.reasons import Failure, Reason
from shared.repositories.claims import claim_next
from shared.repositories.crashes import Loss, expired, take_back_expired
from shared.repositories.imaging import NewInstance, add_blob, index_instances, lock_index, site_named
from shared.repositories.jobs import NewJob, Target, create_job
from shared.repositories.outcomes import Outcome
from shared.repositories.predictions import NewPrediction, Provenance, add_predictions
from shared.repositories.principals import default_project
from shared.repositories.registry import add_version, champion
from shared.repositories.shards import Claim
from shared.repositories.uploads import create_upload
from shared.states import Explain, FileOutcome, ItemState, Lane
from shared.unit_of_work import UnitOfWork
from tests.claimers import LEASE_S
from tests.dicom_samples import make_uid
from tests.model_samples import contract_fields

MODEL = "sample-binary"
LOSS = Loss(Failure.CRASH, "lease ran out", "scheduler", {"owner": "worker-1", "signal": "unknown"})

_numbers = count(1)


def new_sha256() -> str:
    """A digest that no other row has."""
    return hashlib.sha256(f"made for a test: {next(_numbers)}".encode()).hexdigest()


def make_header(**given: Any) -> Header:
    """A CT image's header; its SOP Instance UID is new, all else the same each time, unless given."""
    blank: dict[str, Any] = {field.name: {int: 0, str: "", bool: False}.get(field.type, ()) for field in fields(Header)}
    usual = {
        "study_instance_uid": make_uid("study"),
        "series_instance_uid": make_uid("series"),
        "sop_instance_uid": make_uid("instance", next(_numbers)),
        "sop_class_uid": str(CTImageStorage),
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
        "patient_id": "P1",
        "modality": "CT",
        "photometric_interpretation": "MONOCHROME2",
        "rows": 12,
        "columns": 16,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "number_of_frames": 1,
        "has_pixel_data": True,
    }
    return Header(**blank | usual | given)


def add_instance(session: Session, **given: Any) -> Instance:
    """An indexed instance, without bytes in the content store; `given` are header fields."""
    (instance_id,) = index_headers(session, [make_header(**given)])
    return session.get_one(Instance, instance_id)


def index_headers(session: Session, headers: Sequence[Header]) -> list[int]:
    """The ids of new instances with these headers, made together as intake makes them."""
    new = [NewInstance(new_sha256(), 1000, "application/dicom", header) for header in headers]
    lock_index(session)
    return list(index_instances(session, new, site_named(session, "local")).values())


def admin_id(session: Session) -> int:
    """The principal that every prepared database has."""
    return session.execute(select(Principal.id).where(Principal.name == "admin")).scalar_one()


def add_model(session: Session, name: str = MODEL, **changes: Any) -> ModelVersion:
    """The next version of a model that accepts everything, unless `changes` to its contract say otherwise."""
    contract = ModelContract.model_validate(contract_fields(name=name, **changes))
    digests = [new_sha256(), new_sha256()]
    for digest in digests:
        add_blob(session, digest, 1000, "application/json")
    return add_version(
        session,
        name,
        digest=new_sha256(),
        contract=contract.model_dump(mode="json", by_alias=True),
        contract_sha256=digests[0],
        weights_sha256=digests[1],
        principal_id=admin_id(session),
    )


def add_upload(session: Session, instances: Sequence[Instance] = (), *, duplicates: int = 0, rejected: int = 0) -> UUID:
    """An upload of these instances, the first `duplicates` of them known before, and of files that were rejected."""
    upload = create_upload(
        session,
        principal_id=admin_id(session),
        site_id=site_named(session, "local").id,
        project_id=default_project(session).id,
        label="",
    )
    outcomes = [FileOutcome.DUPLICATE] * duplicates + [FileOutcome.STORED] * (len(instances) - duplicates)
    for number, (instance, outcome) in enumerate(zip(instances, outcomes, strict=True)):
        row = {"sha256": instance.blob_sha256, "instance_id": instance.id, "name": f"{number}.dcm"}
        session.add(UploadFile(upload_id=upload.id, outcome=outcome, size_bytes=1000, **row))
    for number in range(rejected):
        row = {"name": f"{number}.txt", "reason": Reason.NOT_DICOM, "detail": "no DICOM"}
        session.add(UploadFile(upload_id=upload.id, outcome=FileOutcome.REJECTED, **row))
    session.flush()
    return upload.id


def add_prediction(session: Session, instance: Instance, version: ModelVersion) -> None:
    """What this model version said of the instance's first frame."""
    prediction = NewPrediction(instance.blob_sha256, 1, [0.5])
    add_predictions(session, [prediction], Provenance(version.digest, "keras", "float32", explained=Explain.POSITIVES))


def add_job(
    session: Session,
    items: int = 4,
    *,
    patients: int = 1,
    shard_items: int = 64,
    lane: Lane = Lane.ROUTINE,
    extra: Sequence[Target] = (),
    **given: Any,
) -> UUID:
    """A job of new instances spread over new patients, by the champion of `MODEL`; `extra` are targets beside them."""
    version = champion(session, MODEL) or add_model(session)
    ids = [f"P{next(_numbers)}" for _ in range(patients)]
    headers = [
        make_header(patient_id=ids[at % patients], study_instance_uid=make_uid(ids[at % patients]))
        for at in range(items)
    ]
    instance_ids = index_headers(session, headers)
    patient_of = _patients_of(session, instance_ids)
    targets = [Target(f"instance:{one}", instance_id=one, patient_id=patient_of[one]) for one in instance_ids]
    values = {
        "principal_id": admin_id(session),
        "project_id": default_project(session).id,
        "model_version_id": version.id,
        "request": {},
    }
    new = NewJob(**values | {"lane": lane} | given)
    job_id, _ = create_job(session, new, [*targets, *extra], shard_items=shard_items)
    return job_id


def _patients_of(session: Session, instance_ids: Sequence[int]) -> dict[int, int]:
    statement = select(Instance.id, Study.patient_id).join(Instance.series).join(Study)
    return dict(session.execute(statement.where(Instance.id.in_(instance_ids))).all())


def submit_job(engine: Engine, items: int = 4, **given: Any) -> UUID:
    """`add_job`, committed."""
    with UnitOfWork(engine) as uow:
        return add_job(uow.session, items, **given)


def claim(engine: Engine, owner: str = "worker-1", *, lane: Lane = Lane.ROUTINE, lease_s: float = LEASE_S) -> Claim:
    """The lane's next shard, claimed and committed; there must be one."""
    with UnitOfWork(engine) as uow:
        (claimed,) = claim_next(uow.session, [lane], owner, lease_s, most_items=1)
    return claimed


def done(item_ids: Sequence[int]) -> list[Outcome]:
    """An outcome with a prediction for each."""
    return [Outcome(item_id, ItemState.DONE, frames=1) for item_id in item_ids]


def failed(item_ids: Sequence[int]) -> list[Outcome]:
    """An outcome with a reason for each."""
    return [Outcome(item_id, ItemState.FAILED, Reason.DECODE_FAILED) for item_id in item_ids]


def let_leases_run_out(engine: Engine) -> None:
    """As if all workers had been silent for longer than their lease."""
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(Shard).where(Shard.lease_until.is_not(None)).values(lease_until=db_now(-1.0)))


def let_lease_run_out(engine: Engine, shard_id: int) -> None:
    """As if the owner of this shard had been silent for longer than its lease."""
    with UnitOfWork(engine) as uow:
        statement = update(Shard).where(Shard.id == shard_id, Shard.lease_until.is_not(None))
        uow.session.execute(statement.values(lease_until=db_now(-1.0)))


def let_backoffs_run_out(engine: Engine) -> None:
    """As if the time until which queued shards rest had passed."""
    with UnitOfWork(engine) as uow:
        uow.session.execute(update(Shard).values(not_before=db_now(-1.0)))


def take_back_all(engine: Engine, loss: Loss = LOSS, *, max_crashes: int = 3, delay_s: float = 0.0) -> int:
    """What recovery does with every shard whose lease ran out, at once; how many moved."""
    with UnitOfWork(engine) as uow:
        lost = expired(uow.session, 100)
        moved = [
            take_back_expired(uow.session, shard, loss, max_crashes=max_crashes, delay_s=delay_s) for shard in lost
        ]
    return sum(moved)


def add_principal(session: Session, name: str) -> int:
    """A user beside the admin; its id."""
    principal = Principal(name=name, created_at=utc_now())
    session.add(principal)
    session.flush()
    return principal.id


def rows_of(session: Session, table: Any, *where: Any) -> int:
    """How many rows of a table there are."""
    return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def only_shard(engine: Engine) -> Shard:
    """The one shard there is, as it stands."""
    with reading(engine) as session:
        return session.scalars(select(Shard)).one()


def job_of(engine: Engine, job_id: UUID) -> Job:
    """A job as it stands."""
    with reading(engine) as session:
        return session.get_one(Job, job_id)


def items_of(engine: Engine, claimed: Claim) -> list[int]:
    """The items of a claimed shard, in order."""
    with reading(engine) as session:
        return list(session.scalars(select(Item.id).where(Item.shard_id == claimed.shard_id).order_by(Item.id)))


def tries_of(engine: Engine) -> list[int]:
    """The tries of all items, in order."""
    with reading(engine) as session:
        return list(session.scalars(select(Item.tries).order_by(Item.id)))
