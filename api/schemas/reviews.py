"""Shapes of reviews, signatures, amendments and retractions, and of the chain of versions that they belong to."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from api.schemas.base import Page, Shape, Wanted
from api.schemas.jobs import ModelNamed
from shared.contract_part import Code
from shared.reports.review import Said
from shared.states import ReportOrigin, ReportStatus, Verdict

# People's sentences: several lines, but nothing that a terminal obeys or a database refuses.
WORDS = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"


def _one_kind_of_line_end(given: object) -> object:
    return given.replace("\r\n", "\n") if isinstance(given, str) else given


_Words = Annotated[str, StringConstraints(strip_whitespace=True, pattern=WORDS), BeforeValidator(_one_kind_of_line_end)]
Note = Annotated[_Words, Field(max_length=1000)]
Comment = Annotated[_Words, Field(max_length=10_000)]
Why = Annotated[_Words, Field(min_length=1, max_length=1000)]
MOST_FINDINGS = 1000


class IfMatch(BaseModel):
    """Which content the person had before them."""

    # The framework gives headers by the field's name, the documentation names the header.
    model_config = ConfigDict(populate_by_name=True)

    if_match: str | None = Field(
        None,
        alias="If-Match",
        description='The version\'s `content_digest` in quotes ("..."), without the W/ of the ETag.',
    )


class VerdictWanted(Wanted):
    """What the reviewer says of the decision on one finding."""

    code: Code
    verdict: Verdict = Field(description="`unsure`: neither; no label comes of it.")
    note: Note = ""

    @property
    def said(self) -> Said:
        """The same, as reports have it."""
        return Said(self.code, self.verdict, self.note)


class ReviewWanted(Wanted):
    """A person's words on the newest version; what the same person said since the last results need not come again."""

    findings: list[VerdictWanted] = Field(default_factory=list, max_length=MOST_FINDINGS)
    comment: Comment | None = Field(None, description="Left out: as this person said before.")
    sign: bool = Field(False, description="Make it final; takes the role physician, and a verdict on every decision.")


class AmendmentWanted(Wanted):
    """What a signed version should say instead; what is left out stays."""

    findings: list[VerdictWanted] = Field(default_factory=list, max_length=MOST_FINDINGS)
    comment: Comment | None = Field(None, description="Left out: it stays.")
    reason: Why


class RetractionWanted(Wanted):
    """Why a signed version is to be relied on no more."""

    reason: Why


class VersionShown(Shape):
    """A version of the chain."""

    id: UUID
    number: int
    status: ReportStatus
    origin: ReportOrigin
    by: str | None = Field(description="Who made it; null: the machine, from results.")
    created_at: datetime
    model: ModelNamed
    content_digest: str
    supersedes: UUID | None
    signs: UUID | None
    changes: dict[str, Any] | None = Field(
        description="Since the version before; null in versions from before this was recorded."
    )
    links: dict[str, str]


class VersionMade(VersionShown):
    """The version that a person made."""

    review: dict[str, Any]


class VersionList(Shape):
    """A page of the chain, the oldest first."""

    items: list[VersionShown]
    next: str | None


class ChangesQuery(Page):
    """What to compare with."""

    since: UUID | None = Field(None, description="Another version of the chain; left out: the one before.")


class VersionNamed(Shape):
    """A version, shortly."""

    id: UUID
    number: int


class ChangesShown(Shape):
    """What a version says otherwise than another of its chain."""

    since: VersionNamed
    to: VersionNamed
    changes: dict[str, Any] = Field(
        description="Parts that differ: `findings`, `model_version`, `studies`, `images`, `status`, `verdicts`."
    )
