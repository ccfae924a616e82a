"""The contract of `model.json`: all that Overread knows of a model; nothing about one is written in code."""

from functools import cached_property
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from shared.contract_part import Code
from shared.contract_part import Part as _Part
from shared.follow_up_rules import FollowUpRule

CodeString = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _]{1,16}$")]  # PS3.5, 6.2: CS
Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=10_000)]
Side = Annotated[int, Field(ge=1, le=4096)]
# A steeper calibration tells nobody from anybody.
MOST_STEEP = 1e6
Margin = Annotated[float, Field(ge=0.0, le=1.0)]


class Accepts(_Part):
    """Which instances the model was made for; null: any."""

    modalities: Annotated[tuple[CodeString, ...], Field(min_length=1)] | None = None
    sop_class_uids: Annotated[tuple[Uid, ...], Field(min_length=1)] | None = None
    body_parts: Annotated[tuple[CodeString, ...], Field(min_length=1)] | None = None
    photometric_interpretations: Annotated[tuple[CodeString, ...], Field(min_length=1)] | None = None


class InputShape(_Part):
    """What the network takes: float32 (batch, rows, columns, channels), or (batch, channels, rows, columns)."""

    rows: Side
    columns: Side
    channels: Literal[1, 3]
    layout: Literal["channels_last", "channels_first"] = "channels_last"


class Window(_Part):
    """Map [center - width/2, center + width/2] of the units onto [0, 1]."""

    kind: Literal["window"]
    center: float
    width: Annotated[float, Field(gt=0.0)]


class DicomWindow(_Part):
    """The instance's own window, its VOI LUT, or else its smallest and largest value."""

    kind: Literal["dicom_window"]


class MinMax(_Part):
    """The frame's smallest and largest value."""

    kind: Literal["min_max"]


class Unscaled(_Part):
    """The values as they are."""

    kind: Literal["none"]


class Normalise(_Part):
    """(value - mean) / std, a number for each channel."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0.0)], ...]


class Preprocess(_Part):
    """From a decoded frame to the network's input."""

    units: Literal["modality", "stored"]
    intensity: Annotated[Window | DicomWindow | MinMax | Unscaled, Field(discriminator="kind")]
    resize: Literal["stretch", "pad"]
    normalise: Normalise | None = None


class MaxRule(_Part):
    """The largest probability."""

    kind: Literal["max"]


class MeanRule(_Part):
    """The mean probability."""

    kind: Literal["mean"]


class MeanTopKRule(_Part):
    """The mean of the `k` largest probabilities."""

    kind: Literal["mean_top_k"]
    k: Annotated[int, Field(ge=1, le=1000)]


class NoisyOrRule(_Part):
    """1 - product of (1 - p)."""

    kind: Literal["noisy_or"]


class MajorityRule(_Part):
    """The largest probability that more than half of them have at least: over a threshold where more than half are."""

    kind: Literal["majority"]


Rule = Annotated[MaxRule | MeanRule | MeanTopKRule | NoisyOrRule | MajorityRule, Field(discriminator="kind")]


# What is rolled up into one: the frames of an instance, the instances of a series, and so on.
Level = Literal["frames", "instances", "series", "studies"]


class Aggregation(_Part):
    """How probabilities are rolled up: frame -> instance -> series -> study -> patient."""

    frames: Rule
    instances: Rule
    series: Rule
    studies: Rule


class Platt(_Part):
    """1 / (1 + exp(-(slope * logit(p) + intercept))), so the order of probabilities stays (Platt 1999)."""

    kind: Literal["platt"]
    slope: Annotated[float, Field(gt=0.0, le=MOST_STEEP)]
    intercept: Annotated[float, Field(ge=-MOST_STEEP, le=MOST_STEEP)]


class Finding(_Part):
    """One thing the network speaks of; the network's outputs are in the order of the findings."""

    code: Code
    display: Annotated[str, Field(min_length=1, max_length=200)]
    # -0.0 is 0.0: not every database gives it back.
    threshold: Annotated[
        float, Field(ge=0.0, le=1.0, description="Present at this probability or more."), AfterValidator(abs)
    ]
    background: bool = Field(False, description="The class of a multiclass model that means nothing found.")
    aggregation: Aggregation | None = Field(None, description="How it is rolled up; left out: as the package says.")
    calibration: Platt | None = Field(None, description="From a patient's probability to how often it is so.")


class AllSlices(_Part):
    """Every slice."""

    kind: Literal["all"] = "all"


class EveryNth(_Part):
    """The first slice of a stack, and each `n`-th after it."""

    kind: Literal["every_nth"]
    n: Annotated[int, Field(ge=2, le=1000)]


class CentralShare(_Part):
    """So large a share of a stack, from its middle; one slice at least."""

    kind: Literal["central_share"]
    share: Annotated[float, Field(gt=0.0, le=1.0)]


SliceRule = AllSlices | EveryNth | CentralShare


class Slices(_Part):
    """Which slices of a stack are predicted on, be they instances of a series or frames of an instance."""

    select: Annotated[SliceRule, Field(discriminator="kind")] = AllSlices()


class LatestStudy(_Part):
    """The report speaks of the patient's latest study."""

    kind: Literal["latest_study"]


class WindowDays(_Part):
    """The report speaks of the studies of the `days` before the latest one."""

    kind: Literal["window_days"]
    days: Annotated[int, Field(ge=1, le=36_500)]


class AllStudies(_Part):
    """The report speaks of every study."""

    kind: Literal["all"]


class Weights(_Part):
    """The weights file and its digest."""

    file: Literal["weights.keras", "weights.onnx"]
    sha256: Sha256


class GoldenSet(_Part):
    """Inputs and what the network gives for them, in a file of the package."""

    file: Literal["golden.npz"]
    sha256: Sha256


class Proof(_Part):
    """What a faster engine must show before it serves."""

    tolerance: Annotated[
        float, Field(gt=0.0, le=0.01, description="Most that its probabilities may be from the reference's.")
    ] = 0.01
    golden: GoldenSet | None = None


class Learning(_Part):
    """How labels become what it is trained on."""

    positives: Literal["drivers", "all"] = Field(
        "drivers",
        description="Which instances a positive label of a study or patient speaks of: those that drove it, or all.",
    )


class Margins(_Part):
    """How much worse than the champion a candidate may be at most, by what is measured."""

    auc: Margin = 0.02
    sensitivity: Margin = 0.05
    specificity: Margin = 0.05
    calibration_error: Margin = 0.1


class Gate(_Part):
    """What a trained version must show on the patients of the holdout before it takes the champion's place."""

    primary: Literal["auc", "sensitivity", "specificity"] = Field(
        "auc", description="What must be better: its mean over the findings, beyond what chance explains."
    )
    margins: Margins = Margins()
    subgroup_margin: Margin = Field(
        0.1, description="The same within one site, scanner, sex or age band, where what is seen counts."
    )
    least_of_each: int = Field(
        10, ge=1, le=1_000_000, description="Patients with and without a finding that it takes to judge."
    )
    new_patients: int = Field(
        0, ge=0, le=1_000_000, description="Patients of the holdout that no earlier gate of this model has used."
    )
    promotes: bool = Field(True, description="What passes serves at once; else it waits for a person.")


class Training(_Part):
    """What the weights were fitted on."""

    data_digest: Annotated[str, Field(max_length=128)]
    description: Text
    trained: bool = Field(
        True, description="False: the weights are as they were drawn, and what they give means nothing."
    )


class ModelContract(_Part):
    """`model.json`, whole."""

    schema_id: Literal["overread.model/1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    description: Text
    intended_use: Text
    licence: Annotated[str, Field(max_length=200)]
    task: Literal["binary", "multiclass", "multilabel"]
    output: Literal["logits", "probabilities"]
    findings: Annotated[tuple[Finding, ...], Field(min_length=1, max_length=1000)]
    accepts: Accepts
    input: InputShape
    preprocess: Preprocess
    slices: Slices = Slices()
    aggregation: Aggregation
    time_scope: Annotated[LatestStudy | WindowDays | AllStudies, Field(discriminator="kind")]
    weights: Weights
    proof: Proof = Proof()
    learning: Learning = Learning()
    gate: Gate = Gate()
    follow_up: Annotated[tuple[FollowUpRule, ...], Field(max_length=100)] = ()
    training: Training | None = None

    @property
    def is_untrained(self) -> bool:
        """Whether its package says that it has learnt nothing yet."""
        return self.training is not None and not self.training.trained

    def rules_of(self, finding: Finding) -> Aggregation:
        """How the probabilities of a finding are rolled up."""
        return finding.aggregation or self.aggregation

    @cached_property
    def rules(self) -> dict[Level, tuple[Rule, ...]]:
        """The rules of each level, one for each finding."""
        by_finding = [self.rules_of(finding) for finding in self.findings]
        return {level: tuple(getattr(rules, level) for rules in by_finding) for level in get_args(Level)}

    @cached_property
    def text(self) -> str:
        """The contract as JSON, as it goes from process to process."""
        return self.model_dump_json()

    @model_validator(mode="after")
    def _check_findings(self) -> Self:
        count = len(self.findings)
        if len({finding.code for finding in self.findings}) != count:
            raise ValueError("findings: each code must be there once; rename the double one")
        if self.task == "binary" and count != 1:
            raise ValueError(f"findings: a binary model has exactly 1, these are {count}; use multiclass or multilabel")
        if self.task == "multiclass" and count == 1:
            raise ValueError("findings: a multiclass model has 2 or more, one for each class; this is 1")
        num_background = sum(finding.background for finding in self.findings)
        if num_background > (1 if self.task == "multiclass" else 0):
            raise ValueError(
                f"findings: {num_background} are marked as background; at most one may be, and only in a "
                "multiclass model"
            )
        return self

    @model_validator(mode="after")
    def _check_follow_up(self) -> Self:
        codes = {finding.code for finding in self.findings}
        for at, rule in enumerate(self.follow_up):
            if rule.finding not in codes:
                raise ValueError(
                    f"follow_up.{at}.finding: {rule.finding} is no finding of this model; "
                    f"these are: {', '.join(sorted(codes)[:10])}"
                )
        return self

    @model_validator(mode="after")
    def _check_layout(self) -> Self:
        if self.input.layout == "channels_first" and self.weights.file == "weights.keras":
            raise ValueError("input.layout: Keras networks take channels_last here; channels_first is for weights.onnx")
        return self

    @model_validator(mode="after")
    def _check_normalise(self) -> Self:
        normalise = self.preprocess.normalise
        for name in ("mean", "std") if normalise else ():
            count = len(getattr(normalise, name))
            if count != self.input.channels:
                raise ValueError(
                    f"preprocess.normalise.{name}: {count} numbers for {self.input.channels} channels; "
                    "give one for each channel"
                )
        return self
