"""Proofs of engines: claimed by one worker of a kind of hardware, finished once, read by all of that kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.db import db_now
from shared.errors import FencedOutError
from shared.models import EngineProof, Instance, ModelVersion, Series
from shared.repositories.audit import add_audit_event
from shared.repositories.history import changed_rows
from shared.states import ModelState, ProofState

# What serves and what is to; a version that comes back is proved when it is champion again, if it was not before.
_PROVED_STATES = (ModelState.CHAMPION, ModelState.CANDIDATE)
_OPEN = (ProofState.WAITING, ProofState.RUNNING)


@dataclass(frozen=True)
class Hardware:
    """What engines' speed and last bits depend on: the processor and the libraries, in words, and their digest."""

    digest: str
    words: str


@dataclass(frozen=True)
class ProofClaim:
    """A proof that this worker makes; `tries` fences its writes."""

    proof_id: int
    worker: str
    tries: int


def unproved(session: Session, hardware: Hardware) -> Sequence[ModelVersion]:
    """Model versions whose engines are not proved on this hardware and nobody is at it, champions first."""
    proof = and_(EngineProof.model_digest == ModelVersion.digest, EngineProof.hardware_digest == hardware.digest)
    statement = (
        select(ModelVersion)
        .outerjoin(EngineProof, proof)
        .where(ModelVersion.state.in_(_PROVED_STATES), or_(EngineProof.id.is_(None), _is_free()))
        .order_by(case((ModelVersion.state == ModelState.CHAMPION, 0), else_=1), ModelVersion.id.desc())
    )
    return session.scalars(statement).all()


def _is_free() -> ColumnElement[bool]:
    """Nobody is at it: it waits for no time, or its worker was not heard of for too long."""
    waits = and_(EngineProof.state == ProofState.WAITING, EngineProof.lease_until.is_(None))
    return or_(waits, and_(EngineProof.state.in_(_OPEN), EngineProof.lease_until < db_now()))


def let_wait(session: Session, model_digest: str, hardware: Hardware, worker: str, *, detail: str) -> EngineProof:
    """The proof's row, made where there is none; one that waits says for what."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(
        insert(EngineProof)
        .values(
            model_digest=model_digest,
            hardware_digest=hardware.digest,
            hardware=hardware.words,
            state=ProofState.WAITING,
            worker=worker,
            detail=detail,
            engines=[],
            created_at=utc_now(),
        )
        .on_conflict_do_update(
            index_elements=[EngineProof.model_digest, EngineProof.hardware_digest],
            set_={"detail": detail, "worker": worker},
            where=EngineProof.state == ProofState.WAITING,
        )
    )
    return session.scalars(
        select(EngineProof).where(
            EngineProof.model_digest == model_digest, EngineProof.hardware_digest == hardware.digest
        )
    ).one()


def claim_proof(
    session: Session, model_digest: str, hardware: Hardware, worker: str, lease_s: float, *, max_tries: int
) -> ProofClaim | None:
    """Begin a proof (waiting, or running and lost -> running); None when another worker has it, or it is over.

    One that lost so many workers is over too (running -> failed): the reference goes on serving.
    """
    row = let_wait(session, model_digest, hardware, worker, detail="")
    if row.tries >= max_tries:
        detail = f"it ended its worker or engine {row.tries} times; the reference serves"
        session.execute(
            update(EngineProof)
            .where(EngineProof.id == row.id, _is_free())
            .values(state=ProofState.FAILED, detail=detail, finished_at=db_now())
        )
        return None
    claimed = session.execute(
        update(EngineProof)
        .where(EngineProof.id == row.id, EngineProof.tries == row.tries, _is_free())
        .values(state=ProofState.RUNNING, worker=worker, tries=row.tries + 1, lease_until=db_now(lease_s), detail="")
        .execution_options(synchronize_session=False)
    )
    return ProofClaim(row.id, worker, row.tries + 1) if changed_rows(claimed) else None


def _held(claim: ProofClaim) -> tuple[ColumnElement[bool], ...]:
    return (
        EngineProof.id == claim.proof_id,
        EngineProof.state == ProofState.RUNNING,
        EngineProof.worker == claim.worker,
        EngineProof.tries == claim.tries,
    )


def _write(session: Session, claim: ProofClaim, **values: Any) -> None:
    statement = update(EngineProof).where(*_held(claim)).values(**values)
    if changed_rows(session.execute(statement.execution_options(synchronize_session=False))) == 0:
        raise FencedOutError("another worker took the proof over; this one's results are discarded")


def hold_proof(session: Session, claim: ProofClaim, lease_s: float) -> None:
    """Say that it goes on; raises FencedOutError when another worker took it over."""
    _write(session, claim, lease_until=db_now(lease_s))


def give_back_proof(session: Session, claim: ProofClaim, *, detail: str) -> None:
    """Running -> waiting: this worker ends, and the try does not count; raises FencedOutError."""
    _write(session, claim, state=ProofState.WAITING, tries=claim.tries - 1, lease_until=None, detail=detail)


def put_off_proof(session: Session, claim: ProofClaim, *, detail: str, delay_s: float) -> None:
    """Running -> waiting, for a while: it ended its engine; raises FencedOutError."""
    _write(session, claim, state=ProofState.WAITING, lease_until=db_now(delay_s), detail=detail)


def finish_proof(session: Session, claim: ProofClaim, state: ProofState, **values: Any) -> None:
    """Running -> done or failed, with what was found; raises FencedOutError."""
    _write(session, claim, state=state, finished_at=db_now(), **values)
    add_audit_event(session, None, "engines.prove", "engine_proof", claim.proof_id, state=state, worker=claim.worker)


def prove_again(session: Session, model_digest: str) -> int:
    """Have what is over made anew (done, failed -> waiting), until when the reference serves; returns how many."""
    statement = (
        update(EngineProof)
        .where(EngineProof.model_digest == model_digest, EngineProof.state.not_in(_OPEN))
        .values(state=ProofState.WAITING, tries=0, lease_until=None, detail="", engines=[], finished_at=None)
    )
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False)))


def proofs_of(session: Session, model_digest: str) -> Sequence[EngineProof]:
    """A model's proofs, one for each kind of hardware, the latest first."""
    statement = select(EngineProof).where(EngineProof.model_digest == model_digest)
    return session.scalars(statement.order_by(EngineProof.id.desc())).all()


def serving_engine(session: Session, model_digest: str, hardware: Hardware) -> dict[str, Any] | None:
    """The row of the engine that was proved to be the fastest on this hardware; None where none was."""
    engines = session.scalar(
        select(EngineProof.engines).where(
            EngineProof.model_digest == model_digest,
            EngineProof.hardware_digest == hardware.digest,
            EngineProof.state == ProofState.DONE,
        )
    )
    return next((row for row in engines or () if row["serves"]), None)


def latest_images(session: Session, limit: int) -> Sequence[Any]:
    """Of the instances stored last, what a model's choice depends on, their blobs and numbers of frames."""
    statement = (
        select(
            Instance.blob_sha256,
            Instance.number_of_frames,
            Instance.sop_class_uid,
            Instance.photometric_interpretation,
            Series.modality,
            Series.body_part_examined,
        )
        .join(Series, Series.id == Instance.series_id)
        .where(Instance.has_pixel_data)
        .order_by(Instance.id.desc())
        .limit(limit)
    )
    return session.execute(statement).all()
