"""The parts of a report's document that say what a version is, what changed, and what people make of it."""

from typing import Literal

from pydantic import Field

from shared.reports.schema_parts import Count, Number, Part, Probability, Sha256, Time
from shared.states import FollowUpAction, ReportOrigin, ReportStatus, Urgency, Verdict


class VersionSaid(Part):
    """What a version says of itself."""

    id: str
    number: Number = Field(description="In the chain about the patient by all versions of the model.")
    status: ReportStatus
    origin: ReportOrigin
    created_at: Time
    by: str | None = Field(description="The person who made it; none: the machine.")
    signs: str | None = Field(description="Of a signed one: the id of the version that was signed.")


class Since(Part):
    """The version before."""

    id: str
    number: Number


class Result(Part):
    """A finding's result."""

    probability: Probability | None
    threshold: Probability
    decision: bool | None


class ChangedFinding(Part):
    """A finding whose result is another; none on the side where there is no such finding."""

    code: str
    display: str
    before: Result | None
    after: Result | None


class ChangedStudies(Part):
    """Studies, by UID."""

    added: list[str]
    gone: list[str]
    counted_now: list[str]
    counted_no_more: list[str]


class Images(Part):
    """How many images count."""

    predicted: Count
    instances: Count


class ChangedImages(Part):
    """Of images."""

    before: Images
    after: Images


class ChangedNumber(Part):
    """Of a model's version."""

    before: Number
    after: Number


class ChangedStatus(Part):
    """Of a report's status."""

    before: ReportStatus
    after: ReportStatus


class ChangedVerdict(Part):
    """Of a finding's verdict; none where there is none."""

    code: str
    before: Verdict | None
    after: Verdict | None


class Changes(Part):
    """What changed since the version before; a part is there only where something did."""

    since: Since | None = Field(description="None of the first version.")
    findings: list[ChangedFinding] = Field(default_factory=list)
    model_version: ChangedNumber | None = None
    studies: ChangedStudies | None = None
    images: ChangedImages | None = None
    status: ChangedStatus | None = None
    verdicts: list[ChangedVerdict] = Field(default_factory=list)


class VerdictSaid(Part):
    """A reviewer's verdict on one finding."""

    finding: str
    verdict: Verdict
    decision: bool | None = Field(description="The machine's, which the verdict is about.")
    value: bool | None = Field(description="What the reviewer holds to be true; none where unsure.")
    note: str


class Signs(Part):
    """What was signed."""

    id: str
    number: Number
    content_digest: Sha256


class Signed(Part):
    """A signature."""

    by: str
    at: Time
    signs: Signs


class Review(Part):
    """What a person says of the report."""

    reviewer: str
    reviewed_at: Time
    comment: str
    reason: str = Field("", description="Of an amendment or a retraction.")
    verdicts: list[VerdictSaid]
    signed: Signed | None


class FollowUp(Part):
    """What the package's rules suggest."""

    finding: str
    display: str
    action: FollowUpAction
    urgency: Urgency
    text: str
    due_at: Time
    counted_from: Literal["report", "study"]
    study_instance_uid: str = Field("", description="The study that leads the finding.")
