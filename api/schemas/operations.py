"""Shapes of queues, workers, models and health."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from api.schemas.base import NO_CONTROL_CHARACTERS, Shape, Wanted
from shared.states import Lane, ModelState, PromotionKind, ProofState


class Pause(Shape):
    """Since when a lane is paused, by whom and why."""

    at: datetime
    by: str
    reason: str


class PauseWanted(Wanted):
    """Why a lane is to be paused."""

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROL_CHARACTERS)] = Field(
        description="For those whose jobs wait; nothing about patients."
    )


class QueueShown(Shape):
    """A lane: what waits in it and how fast it moves."""

    lane: Lane
    weight: int | None = Field(
        description="Of the turns at the claim, the share that this lane gets while all have work; null: it has a "
        "thread of its own."
    )
    paused: Pause | None = Field(description="Null while the lane runs.")
    broker: str = Field(description="`ok`, or since when the broker is unreachable.")
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


class ShardInHand(Shape):
    """A shard that a worker works on."""

    id: int
    job: UUID
    lane: Lane
    since: datetime | None = Field(description="When the worker claimed it.")


class WorkerShown(Shape):
    """A worker heard of lately."""

    name: str
    lanes: list[Any]
    concurrency: int
    engines: list[Any]
    loading: list[Any] = Field(description="Models being loaded, by the first characters of their digest.")
    rss_bytes: int
    running_shards: int = Field(description="Small ones that are worked on together count each.")
    shards: list[ShardInHand] = Field(description="Of those the ones that it has longest; ten at most.")
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_s: float


class SilentWorker(Shape):
    """A worker that fell silent within the last hour without a word, and whose host has no new one."""

    name: str
    lanes: list[Any]
    heartbeat_at: datetime
    heartbeat_age_s: float


class WorkerList(Shape):
    """All live workers, and those that are missing."""

    items: list[WorkerShown]
    silent: list[SilentWorker]


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


class ChangeWanted(Wanted):
    """Why another version is to serve."""

    reason: Annotated[str, Field(max_length=200, pattern=NO_CONTROL_CHARACTERS)] = Field(
        "", description="For those who ask later; nothing about patients."
    )


class PromotionShown(Shape):
    """A version began to serve."""

    version: int
    kind: PromotionKind
    by_gate: bool = Field(description="Whether the gate promoted it, and no person.")
    by: str | None = Field(description="Who chose it, by name; null: the gate did, or it is not on record.")
    reason: str
    created_at: datetime


class PromotionList(Shape):
    """The last first."""

    items: list[PromotionShown]


class EngineShown(Shape):
    """What one engine showed with a model version."""

    engine: str
    precision: str
    standing: str = Field(description="`passed`, `failed` or `unavailable`.")
    detail: str = Field(description="Why it failed or is not to be had.")
    max_difference: float | None = Field(
        description="Largest distance of a probability from the reference's; of the reference, from the package's."
    )
    images_per_s: dict[str, float] = Field(description="Frames per second, by size of batch.")
    load_s: float | None = Field(description="Seconds to load it, where nothing was compiled before.")
    is_reference: bool = Field(description="What the others are compared with.")
    serves: bool
    batch_sizes: list[int] = Field(description="Of the one that serves: the sizes of batches that it takes.")
    part_size: int = Field(
        0, description="A batch is computed in parts of so many frames beside each other; 0: all cores on all of it."
    )


class ProofShown(Shape):
    """The proof of a model version's engines on one kind of hardware."""

    hardware: str
    state: ProofState = Field(description="While it is not `done`, the reference serves.")
    detail: str = Field(description="What it waits for, or why it failed.")
    worker: str
    num_inputs: int = Field(description="Inputs that were compared.")
    num_drawn: int = Field(description="Those of them that were drawn from stored images.")
    tolerance: float = Field(description="Most that a probability may be from the reference's.")
    created_at: datetime
    finished_at: datetime | None
    engines: list[EngineShown]


class ProofList(Shape):
    """A proof for each kind of hardware that workers run on, the latest first."""

    items: list[ProofShown]


class Health(Shape):
    """How the service is."""

    status: str = Field(description="`ok`, `degraded` (it works; jobs wait) or `not ready`.")
    checks: dict[str, str] = Field(default_factory=dict)


class Disk(Shape):
    """The disk of the content store."""

    free_bytes: int
    total_bytes: int
    min_free_bytes: int = Field(description="With less than this free, uploads, jobs with files and models get 507.")
