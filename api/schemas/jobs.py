"""Shapes of jobs and their items."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas.base import Label, Page, Shape, Wanted
from shared.states import ItemState, JobKind, JobState, Lane, Reason

Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
PatientKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class JobWanted(Wanted):
    """What to predict on, with which model, how soon."""

    uploads: list[UUID] = Field(default_factory=list, max_length=1000)
    studies: list[Uid] = Field(default_factory=list, max_length=100_000, description="Study Instance UIDs.")
    patients: list[PatientKey] = Field(default_factory=list, max_length=100_000, description="Patient keys.")
    model: str = Field("", max_length=80, description="`name` (its champion) or `name:version`.")
    priority: Lane = Lane.ROUTINE
    label: Label = ""
    dry_run: bool = Field(False, description="Only count what would run.")
    force: bool = Field(False, description="Predict again what this model predicted before.")


class JobOfFilesWanted(Wanted):
    """The same, as query parameters of a request whose body is the files."""

    model: str = Field("", max_length=80)
    priority: Lane = Lane.ROUTINE
    label: Label = ""


class ModelNamed(Shape):
    """The model version a job or report belongs to."""

    name: str
    version: int
    digest: str


class JobCounts(Shape):
    """Items by outcome; they add up to total."""

    total: int
    done: int
    failed: int
    cancelled: int
    pending: int
    reused: int


class JobShown(Shape):
    """A job as it stands now."""

    id: UUID
    kind: JobKind
    state: JobState
    priority: Lane
    label: str
    model: ModelNamed
    counts: JobCounts
    progress: float = Field(description="Share of items with an outcome, 0 to 1.")
    position: int | None = Field(description="Queued shards of the lane before this job's next one.")
    waiting: str | None = Field(description="What a job that is not final waits for.")
    retry_of: UUID | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]


class JobList(Shape):
    """A page of jobs, newest first."""

    items: list[JobShown]
    next: str | None


class DryRun(Shape):
    """What a job would do."""

    dry_run: bool = True
    model: ModelNamed
    counts: dict[str, Any]


class JobQuery(Page):
    """Filters of the job list."""

    state: JobState | None = None
    kind: JobKind | None = None
    label: Label | None = None


class ItemQuery(Page):
    """Filters of a job's items."""

    state: ItemState | None = None


class ItemShown(Shape):
    """One thing in a job and what became of it."""

    id: int
    name: str
    sha256: str | None = Field(description="Of the instance's bytes; None for a file that was rejected.")
    sop_instance_uid: str | None
    study_instance_uid: str | None
    patient_key: str | None
    state: ItemState
    reason: Reason | None
    reason_text: str | None
    detail: str
    frames: int
    reused: bool
    conflict: bool


class ItemList(Shape):
    """A page of items in the order they were taken in."""

    items: list[ItemShown]
    next: str | None


class HistoryShown(Shape):
    """One move of the job or of one of its shards."""

    at: datetime
    shard: int | None
    before: str | None
    after: str
    reason: str
    actor: str
    attempt: int
    items_open: int | None


class HistoryList(Shape):
    """All moves, oldest first."""

    items: list[HistoryShown]
