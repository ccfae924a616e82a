"""Predictions: immutable, unique, first wins; how far they are explained may grow."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.db import db_now
from shared.models import Prediction
from shared.repositories.parts import in_parts
from shared.states import Explain

KEY = (Prediction.blob_sha256, Prediction.model_digest, Prediction.frame, Prediction.generation)


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
    explained: Explain = Explain.NONE


def add_predictions(session: Session, predictions: Sequence[NewPrediction], provenance: Provenance) -> None:
    """Insert what is new; a prediction that exists stays as it is, but for how far it is explained."""
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
            "explained": provenance.explained,
        }
        for prediction in predictions
    ]
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(Prediction).values(created_at=db_now())
    is_more = or_(Prediction.explained == Explain.NONE, insert.excluded.explained == Explain.ALL)
    statement = insert.on_conflict_do_update(
        index_elements=KEY,
        set_={"explained": insert.excluded.explained},
        where=is_more & (Prediction.explained != insert.excluded.explained),
    )
    session.execute(statement, rows)


def predicted_frames(
    session: Session, model_digest: str, blobs: Sequence[str], *, generation: int = 0, explain: Explain = Explain.NONE
) -> dict[str, int]:
    """How many frames of each blob this model has predicted and explained so far; blobs without any are left out."""
    counts: dict[str, int] = {}
    for some in in_parts(blobs):
        statement = (
            select(Prediction.blob_sha256, func.count())
            .where(
                Prediction.blob_sha256.in_(some),
                Prediction.model_digest == model_digest,
                Prediction.generation == generation,
                Prediction.explained.in_(explain.covering),
            )
            .group_by(Prediction.blob_sha256)
        )
        counts.update(dict(session.execute(statement).all()))
    return counts
