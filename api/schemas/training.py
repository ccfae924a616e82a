"""Shapes of training runs and of the dataset snapshots that they learn from."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.base import Label, Page, Shape, Wanted
from shared.model_contract import Gate
from shared.states import GateOutcome, Split
from shared.training_options import TrainingOptions


class ScheduledTraining(Wanted):
    """A model to train on the labels that stand when it begins."""

    model: str = Field("", max_length=80, description="Where it begins: `name` (its champion then) or `name:version`.")
    label: Label = ""
    options: TrainingOptions = TrainingOptions()


class TrainingWanted(ScheduledTraining):
    """The same, as a job."""

    kind: Literal["training"]


class EpochShown(Shape):
    """How good the network was after an epoch."""

    epoch: int
    loss: float = Field(description="Mean over the epoch's steps, augmented and weighted as it was learnt from.")
    val_loss: float = Field(description="Mean over val, weighted alike, but not augmented.")
    val_accuracy: float
    val_auc: float | None = Field(description="Null where val shows one class only; of several, each against the rest.")
    best_epoch: int | None = Field(None, description="Of the epochs until then, the one whose weights are kept.")


class GateTold(Shape):
    """What the gate said of a version, in short."""

    outcome: GateOutcome = Field(description="promoted: it serves; passed: a person is to promote it; held.")
    reasons: list[str] = Field(description="Why it was held.")


class GateDecisionShown(GateTold):
    """The same, and of which version it was said when."""

    model: str
    version: int
    champion: int = Field(description="The version that it was compared with.")
    created_at: datetime


class GateDecisionList(Shape):
    """A page of decisions, the last first."""

    items: list[GateDecisionShown]
    next: str | None


class GateShown(GateTold):
    """How a version compared with the champion on the patients of the holdout."""

    version: int
    champion: int
    dataset: str
    policy: Gate = Field(description="The champion's package's.")
    holdout: dict[str, Any] = Field(
        description="How many patients, how many of them for the first time, how often the holdout was used before; "
        "`champion_origin_known`: whether all that the champion learnt from is on record here."
    )
    measures: dict[str, Any] = Field(
        description="`primary`, and of each finding and subgroup the figures of both versions; gains with their "
        "intervals (95 %); curves. Empty where nothing could be compared."
    )
    digests: dict[str, str]
    code_version: str
    created_at: datetime


class TrainingShown(Shape):
    """How far a training run is."""

    options: TrainingOptions
    phase: str = Field(description="waiting, data, training, gate, paused, done, failed or cancelled.")
    why: str | None = Field(description="Why it failed.")
    dataset: str | None = Field(description="The snapshot's digest; null until it is frozen.")
    read: int = Field(description="Instances read in the phase `data`: once to freeze them, once to learn from them.")
    to_read: int | None
    epoch: int
    epochs: int
    step: int
    steps: int | None = Field(description="Of all epochs; it may end before. Null until that is known.")
    loss: float | None = Field(description="Of the last step told.")
    eta_s: float | None = Field(description="Seconds that all epochs will take at the pace of this attempt.")
    history: list[EpochShown] = Field(description="Empty in lists; of very many epochs some.")
    model: str | None = Field(description="What came of it, `name:version`.")
    gate: GateTold | None = Field(description="How that compared with the champion; null until it is there.")


class DatasetQuery(Page):
    """Filters of the list of snapshots."""

    model: str | None = Field(None, max_length=64)


class DatasetShown(Shape):
    """A frozen list of instances and labels, split by patient."""

    digest: str
    model: str
    splits: dict[str, Any] = Field(description="Of each split: instances, patients, and by class, site and scanner.")
    left_out: dict[str, int] = Field(description="Labelled instances that are not in it, by reason.")
    created_at: datetime
    links: dict[str, str]


class DatasetList(Shape):
    """A page of snapshots, the newest first."""

    items: list[DatasetShown]
    next: str | None


class ExamplesQuery(Wanted):
    """How many of each split and class."""

    per_class: Annotated[int, Field(ge=1, le=8)] = 4


class ExampleShown(Shape):
    """An instance of a snapshot."""

    split: Split
    label: str = Field(description="Its class.")
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frame: int = Field(description="The first of its frames that is taken, counted from 1.")
    links: dict[str, str] = Field(description="`thumbnail`: a small picture that names nobody.")


class ExampleList(Shape):
    """Some of each split and class, found at the beginning of the list, which is in no order that matters."""

    items: list[ExampleShown]
    looked_at: int = Field(description="So many instances of the list were looked at.")
