"""Shapes of reports."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Page, Shape, Wanted
from api.schemas.jobs import ModelNamed
from shared.states import ReportOrigin, ReportStatus


class PatientNamed(Shape):
    """The patient a report is about; `key` is for URLs and says nothing of the PatientID."""

    key: str
    patient_id: str
    issuer: str


class FindingSummary(Shape):
    """A finding in a list of reports."""

    code: str
    display: str
    probability: float | None = Field(description="Of the patient; calibrated, where the package says how.")
    threshold: float = Field(description="The operating point, on the same scale.")
    decision: bool | None


class NewestVersion(Shape):
    """The newest version of a chain, shortly."""

    id: UUID
    number: int
    status: ReportStatus


class ReportSummary(Shape):
    """A report in a list."""

    id: UUID
    patient: PatientNamed
    model: ModelNamed
    number: int = Field(description="Versions about a patient by all versions of the model count on.")
    status: ReportStatus
    origin: ReportOrigin = Field(description="What made this version.")
    content_digest: str = Field(description="sha256 of the document, as JSON with sorted keys.")
    findings: list[FindingSummary]
    completeness: dict[str, Any]
    supersedes: UUID | None = Field(description="The version before it.")
    superseded_by: NewestVersion | None = Field(description="The newest version of the chain; null: this is it.")
    signs: UUID | None = Field(description="Of a signed one: the version that was signed.")
    created_at: datetime
    links: dict[str, str]


class ReportList(Shape):
    """A page of reports, newest first."""

    items: list[ReportSummary]
    next: str | None


class ReportShown(ReportSummary):
    """A whole report version; `document` is what the machine says and why."""

    document: dict[str, Any] = Field(
        description="Findings with the instances that drove them and where in its stack each lies; what is left out, "
        "and why; of each series, how many slices there are and were selected, their spacing, gaps and duplicates. "
        "Its JSON Schema is at `links.schema`."
    )


class ReportQuery(Page):
    """Filters of the report list."""

    job: UUID | None = None
    model: str | None = Field(None, max_length=80, description="`name` or `name:version`.")
    patient: str | None = Field(None, max_length=32, description="A patient key.")
    patient_id: str | None = Field(None, max_length=64, description="The DICOM PatientID, of whatever issuer.")
    status: ReportStatus | None = None
    unsigned: bool = Field(False, description="Only where the newest version of the chain is not signed.")
    all_versions: bool = Field(False, description="Also those that a newer version supersedes.")


class LanguageQuery(Wanted):
    """In which language a document is to be."""

    lang: Literal["en", "zh"] | None = Field(
        None, description="Of HTML and PDF; else what `Accept-Language` prefers of these, else English."
    )


class PatientReportQuery(LanguageQuery):
    """Which model's report of a patient."""

    model: str | None = Field(None, max_length=80)
