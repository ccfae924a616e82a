"""Shapes of jobs and their items."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas.base import NO_CONTROL_CHARACTERS, InferenceLane, Label, Moment, Page, Shape, Wanted
from api.schemas.training import TrainingShown
from shared.reasons import Failure, Reason
from shared.states import Explain, ItemState, JobKind, JobState, Lane


class WaitsFor(StrEnum):
    """Stable names of what a job can wait for, that which matters most first."""

    CANCEL = "cancel_requested"
    BROKER = "broker_unreachable"
    PAUSED = "lane_paused"
    WORKER = "no_live_worker"
    RETRY = "retry_later"
    AHEAD = "shards_ahead"
    MODEL = "model_loading"
    FREE_WORKER = "free_worker"


ExplainWanted = Annotated[
    Explain,
    Field(
        description="Which findings of a frame get a heat map: those over their threshold, all, or none. What was "
        "predicted before without the maps that this asks for is predicted again."
    ),
]
RetryState = Literal["failed", "partial", "cancelled"]
Typed = Annotated[
    str,
    StringConstraints(max_length=128, pattern=NO_CONTROL_CHARACTERS, strip_whitespace=True),
    Field(
        description="What the label, the name of the model or that of who submitted begins with, capitals or not; or "
        "eight or more digits that the id begins with. Where more than 50 names begin so, the newest of them."
    ),
]
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
PatientKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class JobWanted(Wanted):
    """What to predict on, with which model, how soon."""

    kind: Literal["inference"] = "inference"
    uploads: list[UUID] = Field(default_factory=list, max_length=1000)
    studies: list[Uid] = Field(default_factory=list, max_length=100_000, description="Study Instance UIDs.")
    patients: list[PatientKey] = Field(default_factory=list, max_length=100_000, description="Patient keys.")
    jobs: list[UUID] = Field(
        default_factory=list, max_length=1000, description="The stored instances of these jobs: for another model."
    )
    model: str = Field("", max_length=80, description="`name` (its champion) or `name:version`.")
    priority: InferenceLane = Lane.ROUTINE
    label: Label = ""
    explain: ExplainWanted = Explain.POSITIVES
    dry_run: bool = Field(False, description="Only count what would run.")
    force: bool = Field(False, description="Predict again what this model predicted before.")


class JobOfFilesWanted(Wanted):
    """The same, as query parameters of a request whose body is the files."""

    model: str = Field("", max_length=80)
    priority: InferenceLane = Lane.ROUTINE
    label: Label = ""
    explain: ExplainWanted = Explain.POSITIVES


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
    skipped: int = Field(description="Slices that the model package does not select; nothing is missing without them.")
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
    by: str = Field(description="The principal who asked for it.")
    explain: Explain
    model: ModelNamed
    counts: JobCounts
    progress: float = Field(description="Share of items with an outcome, or of a training's steps, 0 to 1.")
    position: int | None = Field(description="Queued shards of the lane before this job's next one.")
    position_is_least: bool = Field(description="In lists: the position is this or higher; ask for the job itself.")
    eta_s: float | None = Field(
        description="Seconds until it is likely to be over, by the lane's measured pace; null while that is not known."
    )
    eta_error_s: float | None = Field(description="Standard error of `eta_s`, from how much the pace varied.")
    waiting: str | None = Field(description="What it, or its next shard, waits for most; null when final or running.")
    waits_for: list[WaitsFor] = Field(description="All that it waits for, that which matters most first.")
    training: TrainingShown | None = Field(description="Null for inference.")
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


class RetryWanted(Wanted):
    """Which jobs to retry, by their own properties, and which of their items, by reason or its class."""

    state: RetryState | None = Field(None, description="Only jobs that ended so.")
    reason: Reason | None = Field(None, description="Only items that ended for this reason.")
    failure: Failure | None = Field(None, description="Only items whose reason is of this class.")
    label: Label | None = None
    priority: Lane | None = None
    mine: bool = Field(False, description="Only jobs of the token's own principal.")
    model: str | None = Field(None, max_length=80, description="`name` (any version) or `name:version`.")
    created_after: Moment | None = Field(None, description="Only jobs made then or later.")
    created_before: Moment | None = Field(None, description="Only jobs made earlier; null: than this request.")
    q: Typed = ""
    dry_run: bool = Field(False, description="Only count what would be tried again.")


class Retried(Shape):
    """A job and the new one that tries again what failed of it."""

    job: UUID
    retry: UUID


class NotRetried(Shape):
    """A job that could not be retried, and why."""

    job: UUID
    detail: str


class BulkRetry(Shape):
    """What was tried again, or would be."""

    dry_run: bool
    jobs: int = Field(description="Jobs that were retried, or would be.")
    items: int = Field(description="Their items that are tried again.")
    by_reason: dict[str, int] = Field(description="The items by why they had ended.")
    not_retryable: int = Field(description="Items that fit but have no bytes to be tried with: rejected files.")
    retried: list[Retried]
    refused: list[NotRetried]
    remaining: int = Field(description="Jobs that fit and were left for another request like this.")
    is_least: bool = Field(
        description="More than counted: all of a dry run, else `remaining`; it ends at 1,000 jobs or 50,000 items."
    )
    created_before: datetime = Field(description="To be sent with that request, so that it leaves these retries alone.")


class CancelWanted(Wanted):
    """Which of the jobs that are not over to cancel."""

    state: Literal["queued", "running"] | None = None
    kind: JobKind | None = None
    priority: Lane | None = None
    label: Label | None = None
    mine: bool = Field(False, description="Only jobs of the token's own principal.")
    created_before: Moment | None = Field(None, description="Only jobs made earlier; null: than this request.")
    q: Typed = ""
    dry_run: bool = Field(False, description="Only count what would be cancelled.")


class BulkCancel(Shape):
    """What was cancelled, or would be."""

    dry_run: bool
    jobs: int = Field(description="Jobs that were asked to end, or would be.")
    items: int = Field(description="Their items that had no outcome yet.")
    cancelled: list[UUID]
    remaining: int = Field(description="Jobs that fit and were left for another request like this.")
    is_least: bool = Field(description="More than counted: all of a dry run, else `remaining`; it ends at 10,000 jobs.")
    created_before: datetime = Field(description="To be sent with that request, so that it leaves newer jobs alone.")


class JobQuery(Page):
    """Filters of the job list."""

    state: JobState | None = None
    kind: JobKind | None = None
    priority: Lane | None = None
    label: Label | None = None
    mine: bool = Field(False, description="Only jobs of the token's own principal.")
    q: Typed = ""


class JobsByState(Shape):
    """How many jobs there are in each state, of all principals and kinds."""

    counts: dict[JobState, int]
    mine: int = Field(description="Jobs of the token's own principal, counted to 10,000.")
    mine_is_least: bool = Field(description="There are more than that.")


class ItemQuery(Page):
    """Filters of a job's items."""

    state: ItemState | None = None
    reason: Reason | None = None
    failure: Failure | None = Field(None, description="The class of the reason.")
    quarantined: bool | None = None


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
    failure: Failure | None = Field(description="The class of the reason, which settles whether a retry may help.")
    quarantined: bool = Field(description="It killed what worked on it, each time, and is set aside for a person.")
    evidence: dict[str, Any] | None = Field(description="Of a process that it ended: signal, tail of the log, sha256.")
    tries: int = Field(description="Attempts that began on it and did not tell its outcome.")
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
    fence: int
    items_open: int | None


class HistoryList(Shape):
    """A page of moves, oldest first."""

    items: list[HistoryShown]
    next: str | None
