"""Shapes of labels."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from api.schemas.base import NO_CONTROL_CHARACTERS, Page, Shape, Wanted
from shared.contract_part import Code
from shared.models.label import REVIEW
from shared.repositories.labels import IDENTIFIERS
from shared.states import LabelRefusal, Split, TargetLevel

# A request is one transaction, and one answer tells of each row.
MOST_LABELS = 10_000

Identifier = Annotated[str, Field(max_length=64, pattern=NO_CONTROL_CHARACTERS)]
_WORDS = {"0": False, "1": True, "false": False, "true": True, "negative": False, "positive": True}


def _of_words(given: object) -> object:
    """The words that tables use; anything else is left to be refused."""
    return _WORDS.get(str(given).strip().lower(), given)


class LabelWanted(Wanted):
    """What one source says of one finding; identifiers beside the most specific one must fit it."""

    sop_instance_uid: Identifier = ""
    study_instance_uid: Identifier = ""
    patient_id: Identifier = ""
    issuer: Identifier = Field("", description="Of the PatientID, where several patients have the same one.")
    finding: Code
    value: Annotated[StrictBool, BeforeValidator(_of_words)] = Field(
        description="true, 1 or `positive`; false, 0 or `negative`."
    )
    source: Code
    who: str = Field("", max_length=128, pattern=NO_CONTROL_CHARACTERS, description="Default: whose token it is.")
    split: Split | None = Field(None, description="Of the patient; the holdout is for ever.")

    @field_validator("split", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return None if given == "" else given

    @field_validator("source")
    @classmethod
    def _is_not_reserved(cls, given: str) -> str:
        if given == REVIEW:
            raise ValueError(f"`{REVIEW}` is what signed reviews are called; name the source something else")
        return given

    @model_validator(mode="after")
    def _names_a_target(self) -> "LabelWanted":
        if not any(getattr(self, name) for name in IDENTIFIERS.values()):
            raise ValueError("names no target: give sop_instance_uid, study_instance_uid or patient_id")
        return self

    @property
    def level(self) -> TargetLevel:
        """Of the most specific identifier."""
        return next(level for level, name in IDENTIFIERS.items() if getattr(self, name))


class LabelsWanted(Wanted):
    """Labels, each judged by itself."""

    labels: list[Any] = Field(min_length=1, max_length=MOST_LABELS)


class RefusedLabel(Shape):
    """A row that was not taken."""

    row: int = Field(description="Counts from 1.")
    reason: LabelRefusal
    detail: str


class LabelsTaken(Shape):
    """What became of the rows; the four numbers add up to all of them."""

    added: int
    changed: int = Field(description="The source said something else of the same thing before.")
    unchanged: int
    refused: int
    problems: list[RefusedLabel] = Field(description="One for each refused row.")
    unknown_findings: list[str] = Field(
        description="Of the rows that were taken: what no model that serves speaks of. Perhaps a slip of the pen."
    )


class LabelQuery(Page):
    """Which labels."""

    finding: str | None = Field(None, max_length=64)
    source: str | None = Field(None, max_length=64)
    level: TargetLevel | None = None
    patient: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="A patient's key.")
    contradicted: bool = Field(False, description="Only labels where another source says the opposite.")


class LabelShown(Shape):
    """A standing label."""

    id: int
    level: TargetLevel
    patient_key: str
    study_instance_uid: str | None = Field(description="Of a study's label.")
    sop_instance_uid: str | None = Field(description="Of an instance's label.")
    finding: str
    value: bool
    source: str
    model: str | None = Field(description="Of a signed review: the model whose report that was on.")
    who: str
    decides: bool = Field(description="It counts: a signed review before an import, then the later before the other.")
    contradicted: bool = Field(description="Another source says the opposite.")
    split: Split | None = Field(description="Of the patient; null: each dataset draws train or val.")
    created_at: datetime


class LabelList(Shape):
    """A page of standing labels, the newest first."""

    items: list[LabelShown]
    next: str | None
