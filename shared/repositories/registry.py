"""Model versions: registered packages, one champion per name."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, contains_eager, joinedload

from shared.clock import utc_now
from shared.models import ModelVersion, Promotion
from shared.states import MODEL_MOVES, ModelState, PromotionKind


def version_by_digest(session: Session, name: str, digest: str) -> ModelVersion | None:
    """The version that holds this package."""
    return session.scalar(select(ModelVersion).where(ModelVersion.name == name, ModelVersion.digest == digest))


def champion(session: Session, name: str) -> ModelVersion | None:
    """The version that serves this model name now."""
    return session.scalar(
        select(ModelVersion).where(ModelVersion.name == name, ModelVersion.state == ModelState.CHAMPION)
    )


def numbered(session: Session, name: str, version: int) -> ModelVersion | None:
    """A version by its number."""
    return session.scalar(select(ModelVersion).where(ModelVersion.name == name, ModelVersion.version == version))


def list_versions(session: Session) -> Sequence[ModelVersion]:
    """All versions, by name, newest first."""
    return session.scalars(select(ModelVersion).order_by(ModelVersion.name, ModelVersion.version.desc())).all()


def champions(session: Session) -> Sequence[ModelVersion]:
    """The versions that serve, the latest first."""
    statement = select(ModelVersion).where(ModelVersion.state == ModelState.CHAMPION)
    return session.scalars(statement.order_by(ModelVersion.id.desc())).all()


def champion_names(session: Session) -> list[str]:
    """The names that have a champion."""
    statement = select(ModelVersion.name).where(ModelVersion.state == ModelState.CHAMPION)
    return list(session.scalars(statement.order_by(ModelVersion.name)))


def add_version(session: Session, name: str, **values: Any) -> ModelVersion:
    """Register a package as the next version of its name; it becomes champion where there is none."""
    lock_name(session, name)
    last = session.scalar(select(func.max(ModelVersion.version)).where(ModelVersion.name == name)) or 0
    version = ModelVersion(name=name, version=last + 1, state=ModelState.CANDIDATE, created_at=utc_now(), **values)
    session.add(version)
    session.flush()
    if champion(session, name) is None:
        _serve(session, version, PromotionKind.FIRST, version.principal_id)
    return version


def promote(
    session: Session,
    version: ModelVersion,
    principal_id: int | None,
    reason: str = "",
    *,
    gate_decision_id: int | None = None,
) -> bool:
    """Make a version the champion and retire the present one; False when its state does not allow that."""
    lock_name(session, version.name)
    session.refresh(version)
    if ModelState.CHAMPION not in MODEL_MOVES[version.state]:
        return False
    (last,) = promotions_of(session, version.name, limit=1)
    why = {"reason": reason, "before_id": last.id, "gate_decision_id": gate_decision_id}
    _serve(session, version, PromotionKind.PROMOTED, principal_id, **why)
    return True


def roll_back(
    session: Session, version: ModelVersion, principal_id: int | None, reason: str = ""
) -> ModelVersion | None:
    """Retire a champion, and have what served before it serve again; None when it is none, or nothing did.

    What is rolled back does not count as having served: the next time goes back one more.
    """
    lock_name(session, version.name)
    session.refresh(version)
    if version.state is not ModelState.CHAMPION:
        return None
    (last,) = promotions_of(session, version.name, limit=1)
    if last.before_id is None:
        return None
    target = session.get_one(Promotion, last.before_id)
    session.refresh(target.model_version)
    why = {"reason": reason, "before_id": target.before_id}
    _serve(session, target.model_version, PromotionKind.ROLLED_BACK, principal_id, **why)
    return target.model_version


def served_findings(session: Session) -> set[str]:
    """The codes of all that the champions speak of."""
    contracts = session.scalars(select(ModelVersion.contract).where(ModelVersion.state == ModelState.CHAMPION))
    return {finding["code"] for contract in contracts for finding in contract["findings"]}


def promotions_of(session: Session, name: str, *, limit: int | None = None) -> Sequence[Promotion]:
    """Every time that a version began to serve a name, the last first; none of a name that is not known."""
    of = (contains_eager(Promotion.model_version), joinedload(Promotion.principal))
    statement = select(Promotion).join(Promotion.model_version).options(*of)
    statement = statement.where(ModelVersion.name == name).order_by(Promotion.id.desc())
    return session.scalars(statement.limit(limit)).all()


def _serve(session: Session, version: ModelVersion, kind: PromotionKind, principal_id: int | None, **why: Any) -> None:
    """`why` has further columns of the promotion."""
    session.execute(
        update(ModelVersion)
        .where(ModelVersion.name == version.name, ModelVersion.state == ModelState.CHAMPION)
        .values(state=ModelState.RETIRED)
    )
    version.state = ModelState.CHAMPION
    of = {"model_version_id": version.id, "kind": kind, "principal_id": principal_id, "created_at": utc_now()}
    session.add(Promotion(**of, **why))
    session.flush()


def lock_name(session: Session, name: str) -> None:
    """Let one transaction at a time change a name's versions, or start a batch of it, also on PostgreSQL.

    Two at once would leave two champions, or predict on the same new images in two jobs.
    """
    statement = select(ModelVersion.id).where(ModelVersion.name == name).order_by(ModelVersion.id)
    session.execute(statement.with_for_update(key_share=True))
