"""Predictions: immutable, unique, first wins; how far they are explained may grow."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Prediction, table_of
from shared.repositories.parts import in_parts
from shared.states import Explain

_PREDICTIONS = table_of(Prediction).c
KEY = (_PREDICTIONS.blob_sha256, _PREDICTIONS.model_digest, _PREDICTIONS.frame, _PREDICTIONS.generation)


def _add(dialect: ModuleType) -> Any:
    insert = dialect.insert(table_of(Prediction)).values(created_at=db_now())
    is_more = or_(_PREDICTIONS.explained == Explain.NONE, insert.excluded.explained == Explain.ALL)
    return insert.on_conflict_do_update(
        index_elements=KEY,
        set_={"explained": insert.excluded.explained},
        where=is_more & (_PREDICTIONS.explained != insert.excluded.explained),
    )


# Made once, and on the table itself: building a statement takes longer than running it.
_ADD = {"postgresql": _add(postgresql), "sqlite": _add(sqlite)}
_FRAMES = (
    select(_PREDICTIONS.blob_sha256, func.count())
    .where(
        _PREDICTIONS.blob_sha256.in_(bindparam("blobs", expanding=True)),
        _PREDICTIONS.model_digest == bindparam("digest"),
        _PREDICTIONS.generation == bindparam("of_generation"),
        _PREDICTIONS.explained.in_(bindparam("covering", expanding=True)),
    )
    .group_by(_PREDICTIONS.blob_sha256)
)
_STORED = (
    select(
        _PREDICTIONS.blob_sha256,
        _PREDICTIONS.frame,
        _PREDICTIONS.probabilities,
        _PREDICTIONS.engine,
        _PREDICTIONS.precision,
    )
    .where(
        _PREDICTIONS.blob_sha256.in_(bindparam("blobs", expanding=True)),
        _PREDICTIONS.model_digest == bindparam("digest"),
        _PREDICTIONS.generation == bindparam("of_generation"),
    )
    .order_by(_PREDICTIONS.blob_sha256, _PREDICTIONS.frame)
)


@dataclass(frozen=True)
class StoredFrame:
    """A prediction as its row has it."""

    frame: int
    probabilities: list[float]
    engine: str
    precision: str


@dataclass(frozen=True)
class NewPrediction:
    """Probabilities for one frame (1-based) of one blob, one per finding of the model."""

    blob_sha256: str
    frame: int
    probabilities: list[float]


@dataclass(frozen=True)
class Provenance:
    """What computed a prediction."""

    model_digest: str
    engine: str
    precision: str
    batch_size: int | None = None
    environment_id: int | None = None
    generation: int = 0
    explained: Explain = Explain.NONE


def add_predictions(session: Session, predictions: Sequence[NewPrediction], provenance: Provenance) -> None:
    """Insert what is new; a prediction that exists stays as it is, but for how far it is explained.

    In the order of their keys: on PostgreSQL who adds a prediction waits for whoever adds the same one.
    """
    if not predictions:
        return
    rows = [
        {
            "blob_sha256": prediction.blob_sha256,
            "frame": prediction.frame,
            "probabilities": prediction.probabilities,
            "model_digest": provenance.model_digest,
            "engine": provenance.engine,
            "precision": provenance.precision,
            "batch_size": provenance.batch_size,
            "environment_id": provenance.environment_id,
            "generation": provenance.generation,
            "explained": provenance.explained,
        }
        for prediction in sorted(predictions, key=lambda one: (one.blob_sha256, one.frame))
    ]
    session.execute(_ADD[session.get_bind().dialect.name], rows)


def predicted_frames(
    session: Session, model_digest: str, blobs: Sequence[str], *, generation: int = 0, explain: Explain = Explain.NONE
) -> dict[str, int]:
    """How many frames of each blob this model has predicted and explained so far; blobs without any are left out."""
    counts: dict[str, int] = {}
    given = {"digest": model_digest, "of_generation": generation, "covering": explain.covering}
    for some in in_parts(blobs):
        found = session.execute(_FRAMES, given | {"blobs": some})
        counts.update(dict(found.all()))
    return counts


def frames_of(
    session: Session, model_digest: str, generation: int, blobs: Sequence[str]
) -> dict[str, list[StoredFrame]]:
    """What is stored of each blob by this model in this generation, in order of the frames."""
    found: dict[str, list[StoredFrame]] = {}
    for some in in_parts(blobs):
        rows = session.execute(_STORED, {"blobs": some, "digest": model_digest, "of_generation": generation})
        for blob, *frame in rows:
            found.setdefault(blob, []).append(StoredFrame(*frame))
    return found
