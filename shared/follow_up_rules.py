"""The part of a model's contract that says what to suggest for a patient, at which probability and by when."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.contract_part import Code, Part
from shared.states import FollowUpAction, Urgency

MAX_DAYS = 3650
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Hours(Part):
    """So many hours."""

    hours: Annotated[int, Field(ge=1, le=24 * MAX_DAYS)]

    @property
    def length(self) -> timedelta:
        """How long that is."""
        return timedelta(hours=self.hours)


class Days(Part):
    """So many days."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)]

    @property
    def length(self) -> timedelta:
        """How long that is."""
        return timedelta(days=self.days)


class FollowUpRule(Part):
    """One thing to suggest where a patient's calibrated probability of a finding lies from `at_least` to `below`."""

    finding: Code
    at_least: Probability = 0.0
    below: Probability | None = Field(None, description="Null: up to 1, with 1.")
    action: FollowUpAction
    within: Hours | Days
    counted_from: Literal["report", "study"]
    urgency: Urgency
    text: Annotated[str, Field(min_length=1, max_length=200, description="For the physician.")]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.below is not None and self.below <= self.at_least:
            raise ValueError(f"below is {self.below:g}, at_least {self.at_least:g}; give a larger one")
        if self.counted_from == "study" and isinstance(self.within, Hours):
            raise ValueError("within is in hours, counted from the study, which has only a date: give days")
        return self

    def covers(self, probability: float) -> bool:
        """True where it suggests something at this probability."""
        return self.at_least <= probability and (self.below is None or probability < self.below)
