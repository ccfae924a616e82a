"""Shapes of queues, workers, models, tokens and health."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from api.schemas.base import Shape, Wanted
from shared.states import Lane, ModelState, Scope


class QueueShown(Shape):
    """A lane: what waits in it and how fast it moves."""

    lane: Lane
    queued_shards: int
    queued_items: int
    running_shards: int
    oldest_queued_at: datetime | None
    oldest_age_s: float | None
    workers: int
    items_per_s: float = Field(description="Items that got an outcome in the last minute, per second.")


class QueueList(Shape):
    """All lanes."""

    items: list[QueueShown]


class WorkerShown(Shape):
    """A worker heard of lately."""

    name: str
    lanes: list[Any]
    concurrency: int
    engines: list[Any]
    rss_bytes: int
    running_shards: int
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float


class WorkerList(Shape):
    """All live workers."""

    items: list[WorkerShown]


class ModelShown(Shape):
    """A registered model version."""

    name: str
    version: int
    state: ModelState
    digest: str
    task: str
    description: str
    intended_use: str
    licence: str
    findings: list[dict[str, Any]]
    created_at: datetime


class ModelList(Shape):
    """All versions, by name, newest first."""

    items: list[ModelShown]


class TokenWanted(Wanted):
    """A token for a principal, who is made where there is none of that name."""

    principal: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")
    name: str = Field("", max_length=64)
    scopes: list[Scope] = Field(min_length=1)
    expires_days: float | None = Field(None, gt=0, le=3650)


class TokenShown(Shape):
    """The secret is shown this once."""

    id: UUID
    principal: str
    scopes: list[Scope]
    expires_at: datetime | None
    token: str


class Health(Shape):
    """How the service is."""

    status: str
    checks: dict[str, str] = Field(default_factory=dict)
