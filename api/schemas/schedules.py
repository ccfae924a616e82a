"""Shapes of schedules and their runs."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from api.schemas.base import NO_CONTROL_CHARACTERS, InferenceLane, Label, Shape, Wanted
from api.schemas.training import ScheduledTraining
from shared.states import Explain, JobKind, Lane, Overlap, RunOrigin, RunState

DAY_S = 24 * 3600
YEAR_S = 366 * DAY_S

PREVIEW = "preview"  # in the place of a name it asks what a calendar would do


def _check_free(name: str) -> str:
    if name == PREVIEW:
        raise ValueError(f"`{PREVIEW}` is a word of the API's own; choose another name")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), AfterValidator(_check_free)]
Cron = Annotated[str, Field(max_length=200, description="Minute, hour, day of the month, month, day of the week.")]
TimeZone = Annotated[str, Field(max_length=64, description="Of the IANA's list, such as Europe/Berlin.")]


class BatchWanted(Wanted):
    """The job of each run: over the stored instances that the model accepts and no job has asked it about."""

    model: str = Field("", max_length=80, description="`name` (its champion then) or `name:version`.")
    priority: InferenceLane = Lane.BACKGROUND
    label: Label = ""
    explain: Explain = Explain.POSITIVES
    every_version: bool = Field(
        False, description="Also what only other versions were asked about: after a promotion, all that is stored."
    )


class ScheduleWanted(Wanted):
    """When, in which time zone, and what if the run before is not over."""

    name: Name
    cron: Cron
    time_zone: TimeZone = "UTC"
    overlap: Overlap = Field(
        Overlap.SKIP,
        description="While the job of the run before is open: leave the run out, let one wait, or cancel it.",
    )
    catch_up_s: int = Field(
        DAY_S // 2, ge=0, le=YEAR_S, description="A moment that no scheduler saw is made up for within so long."
    )
    jitter_s: int = Field(0, ge=0, le=DAY_S, description="Each run starts up to so much later, always by the same.")
    min_new: int = Field(
        1, ge=1, le=10**9, description="A run starts from so many new instances, or labels since its last training, on."
    )
    job: BatchWanted = BatchWanted()
    training: ScheduledTraining | None = Field(None, description="Train, in place of `job`.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.training is not None and "job" in self.model_fields_set:
            raise ValueError("`job` and `training` came; a schedule does one of them: leave the other out")
        return self

    @property
    def kind(self) -> JobKind:
        """What each of its runs is."""
        return JobKind.INFERENCE if self.training is None else JobKind.TRAINING


class PreviewQuery(Wanted):
    """A calendar that somebody thinks of."""

    cron: Cron
    time_zone: TimeZone = "UTC"


class Preview(Shape):
    """When it would be due."""

    fires: list[str] = Field(description="The next ten moments, with the offset from UTC that holds at each.")


class SchedulePauseWanted(Wanted):
    """Why a schedule is paused."""

    reason: str = Field(min_length=1, max_length=300, pattern=NO_CONTROL_CHARACTERS)


class RunShown(Shape):
    """What became of a moment at which the schedule was due."""

    id: int
    fires_at: datetime = Field(description="The moment that the expression named, or that of the trigger.")
    origin: RunOrigin
    state: RunState
    reason: str
    job_id: UUID | None
    decided_at: datetime


class RunList(Shape):
    """A page of runs, the latest first."""

    items: list[RunShown]
    next: str | None


class ScheduleShown(Shape):
    """A schedule, what it will do next and did last."""

    name: str
    kind: JobKind
    cron: str
    time_zone: str
    overlap: Overlap
    catch_up_s: int
    jitter_s: int
    min_new: int
    job: dict[str, Any]
    by: str = Field(description="Whose its jobs are.")
    paused_at: datetime | None
    pause_reason: str
    next_fires: list[str] = Field(description="The next five moments in its time zone, without jitter; none if paused.")
    last_run: RunShown | None
    created_at: datetime


class ScheduleList(Shape):
    """All schedules, by name."""

    items: list[ScheduleShown]
