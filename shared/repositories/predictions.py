"""Predictions: immutable, unique, first wins."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Prediction
from shared.repositories.parts import in_parts


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
    generation: int = 0


def add_predictions(session: Session, predictions: Sequence[NewPrediction], provenance: Provenance) -> None:
    """Insert what is new; a prediction that exists stays as it is."""
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
            "generation": provenance.generation,
        }
        for prediction in predictions
    ]
    dialect = session.get_bind().dialect.name
    insert_or_ignore = (postgresql if dialect == "postgresql" else sqlite).insert(Prediction)
    session.execute(insert_or_ignore.values(created_at=db_now()).on_conflict_do_nothing(), rows)


def predicted_frames(
    session: Session, model_digest: str, blobs: Sequence[str], *, generation: int = 0
) -> dict[str, int]:
    """How many frames of each blob this model has predicted; blobs without any are left out."""
    counts: dict[str, int] = {}
    for some in in_parts(blobs):
        statement = (
            select(Prediction.blob_sha256, func.count())
            .where(
                Prediction.blob_sha256.in_(some),
                Prediction.model_digest == model_digest,
                Prediction.generation == generation,
            )
            .group_by(Prediction.blob_sha256)
        )
        counts.update(dict(session.execute(statement).all()))
    return counts
