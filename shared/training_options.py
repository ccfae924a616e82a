"""How a model is trained: the hyperparameters of a run, with defaults that suit a first try."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SEED = 2**31 - 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Augment(_Part):
    """What is done to a frame, anew each time it is learnt from; nothing where all is off."""

    mirror: bool = Field(False, description="Left and right change places in half of them: where both sides are alike.")
    shift: float = Field(0.05, ge=0.0, le=0.5, description="Moved by at most this share of its rows and columns.")


OwnNetwork = Literal["mission_cnn", "small_resnet", "resnet18"]
Network = Literal["package", OwnNetwork]
# As Keras names its policies of types.
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]


class TrainingOptions(_Part):
    """All that settles what a training run computes, beside its data and where it begins."""

    start: Literal["warm", "scratch"] = Field(
        "warm", description="From the model version's weights, or from new ones of the same network."
    )
    network: Network = Field(
        "package",
        description="The version's own, or one of ours with new weights: a plain one, or a residual one.",
    )
    epochs: int = Field(20, ge=1, le=10_000, description="Most times that it goes through all of the split train.")
    batch_size: int = Field(32, ge=1, le=65_536, description="Frames of a step, of all workers together.")
    workers: int = Field(1, ge=1, le=256, description="Processes that learn together, each from its part of a step.")
    precision: Precision = Field(
        "float32",
        description="The numbers that layers compute in while they learn; weights and package stay float32. The mixed "
        "ones are quicker on GPUs that have half precision, hardly ever on a CPU; mixed_float16 scales the loss and "
        "skips steps that overflow.",
    )
    learning_rate: float = Field(1e-3, gt=0.0, le=10.0, description="Of Adam, at the first step.")
    decay: Literal["constant", "cosine"] = Field("cosine", description="How the rate falls until the last epoch.")
    patience_epochs: int = Field(
        5, ge=0, le=10_000, description="Ends when val was no better for so many epochs; 0: never."
    )
    best_by: Literal["loss", "auc"] = Field(
        "loss",
        description="Which epoch's weights are kept: that of the lowest loss on val, or of the highest AUC, and of "
        "several such the lowest loss.",
    )
    class_weights: bool = Field(True, description="Rare classes count as much as frequent ones.")
    augment: Augment = Augment()
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Of new weights, of the order of the data and of the splits.")
    val_share: float = Field(
        0.2, gt=0.0, lt=1.0, description="Share of the patients that choose when to stop and where the thresholds lie."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.workers > self.batch_size:
            raise ValueError(f"workers is {self.workers}, more than the batch_size of {self.batch_size}: lower it")
        if self.network != "package" and self.start != "scratch":
            raise ValueError(f"a network of ours, {self.network}, has no weights to begin with: start from scratch")
        return self
