"""Shapes of the agreement of reviewers and machine."""

from pydantic import Field

from api.schemas.base import Moment, Shape, Wanted

FORMULA = (
    "Cohen's kappa: (po - pe) / (1 - pe); po is the share of verdicts that agree, pe the share that would by chance: "
    "machine positive x reviewer positive + machine negative x reviewer negative, as shares. Null where pe is 1."
)
CAUTION = (
    "Reviewers saw the machine's answer before they gave theirs: agreement is likely higher than between readers who "
    "do not know of each other."
)


class QualityQuery(Wanted):
    """Of what, and since when."""

    model: str | None = Field(None, max_length=80, description="`name` or `name:version`.")
    since: Moment | None = Field(None, description="Only what was signed then or later.")


class RateShown(Shape):
    """A share of `n` verdicts; null of none."""

    value: float | None
    n: int


class AgreementShown(Shape):
    """Signed verdicts that stand, on one finding by one version of a model."""

    model: str
    model_version: int
    finding: str
    reviewer: str | None = Field(description="Null: all reviewers together.")
    both_positive: int
    both_negative: int
    false_positive: int = Field(description="The machine says it is there, the reviewer that it is not.")
    false_negative: int = Field(description="The reviewer says it is there, the machine that it is not.")
    unsure: int = Field(description="In none of the figures below.")
    kappa: float | None
    sensitivity: RateShown
    specificity: RateShown


class QualityShown(Shape):
    """By model, its newest version first, finding and reviewer."""

    formula: str = FORMULA
    caution: str = CAUTION
    items: list[AgreementShown]
