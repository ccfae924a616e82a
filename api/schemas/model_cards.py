"""Shape of a model card: what a version is for, what it learnt from, what it was shown to do, and its limits."""

from typing import Any
from uuid import UUID

from pydantic import Field

from api.schemas.base import Shape
from api.schemas.operations import ModelShown, PromotionShown
from api.schemas.training import GateShown, TrainingShown


class ModelCard(Shape):
    """After Mitchell et al. 2019, doi:10.1145/3287560.3287596; every figure is from a row of this installation."""

    model: ModelShown
    takes: dict[str, Any] = Field(description="What it accepts, and how a frame becomes its input; of the contract.")
    rolls_up: dict[str, Any] = Field(description="How frames become a patient's probability, and of which studies.")
    stated_training: dict[str, Any] | None = Field(description="What the package says that it was fitted on.")
    origin_known: bool = Field(description="Whether all that it learnt from is in snapshots here.")
    began_with: str | None = Field(description="The version that its training began with, `name:version`.")
    job: UUID | None = Field(description="The training job that made it; null where it was added from outside.")
    training: TrainingShown | None = Field(description="The run that made it; null where it was added from outside.")
    data: dict[str, Any] | None = Field(description="What that run learnt from, chose by and was judged on, by split.")
    gate: GateShown | None = Field(description="How it compared with the champion; null where nothing did.")
    promotions: list[PromotionShown] = Field(description="When it began to serve, the last first.")
    limits: list[str] = Field(description="What is not known, or not to be expected of it.")
    links: dict[str, str]
