"""What a job waits for, in words and as codes, and when it is likely to be over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from api.schemas.jobs import WaitsFor
from api.views.situation import Situation
from shared.models import Job, LaneBrake, Shard
from shared.reasons import Failure
from shared.states import FINAL_JOB_STATES, JobState

# While it waits for one of these, nobody can say when it will be over.
UNFORESEEABLE = frozenset({WaitsFor.CANCEL, WaitsFor.BROKER, WaitsFor.PAUSED, WaitsFor.WORKER})

_FAILED: Mapping[Failure | None, str] = MappingProxyType(
    {
        Failure.TRANSIENT: "storage or database failed (transient)",
        Failure.RESOURCE: "memory ran out (resource)",
        Failure.CRASH: "a worker or engine was lost (crash)",
        Failure.TIMEOUT: "an engine hung and was ended (timeout)",
    }
)


@dataclass(frozen=True)
class Waiting:
    """A job's place in line, the seconds until it is likely to be over, and what it waits for, by code."""

    position: int | None = None
    position_is_least: bool = False
    eta_s: float | None = None
    eta_error_s: float | None = None
    causes: Mapping[WaitsFor, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str | None:
        """The cause that matters most."""
        return next(iter(self.causes.values()), None)


def waiting_of(situation: Situation, job: Job, following: Shard | None) -> Waiting:
    """How a job waits; `following` is its queued shard that is claimed first, looked up, None when it has none."""
    if job.state in FINAL_JOB_STATES:
        return Waiting()
    position, is_least = situation.place(following) if following else (None, False)
    causes = dict(_causes(situation, job, following, position, is_least))
    waiting = Waiting(position, is_least, causes=MappingProxyType(causes))
    return _with_eta(situation, job, following, waiting)


def _causes(
    situation: Situation, job: Job, following: Shard | None, position: int | None, is_least: bool
) -> Iterator[tuple[WaitsFor, str]]:
    """All that is true of it, in the order of `WaitsFor`; nothing for a job that only runs."""
    if job.cancel_requested_at is not None:
        yield WaitsFor.CANCEL, "cancel was requested; a running shard stops at its next write"
    if following is not None and situation.outage is not None:
        yield WaitsFor.BROKER, situation.outage.sentence
    brake = situation.brakes.get(job.lane)
    if following is not None and brake is not None:
        yield WaitsFor.PAUSED, paused_text(situation, brake)
    if not situation.serves(job.lane):
        yield WaitsFor.WORKER, f"no live worker serves the {job.lane} lane"
    if following is not None and following.not_before > situation.now:
        failed = _FAILED.get(following.failure, "an attempt failed")
        yield WaitsFor.RETRY, f"{failed}; tried again at {following.not_before:%H:%M:%S} UTC"
    if position:
        least = "at least " if is_least else ""
        shards = "shard is" if position == 1 else "shards are"
        yield WaitsFor.AHEAD, f"{least}{position} {shards} ahead in the {job.lane} lane"
    if situation.is_loading(job.lane, job.model_version.digest):
        yield WaitsFor.MODEL, "the model is still being loaded and compiled"
    if position == 0:
        subject = "first" if job.state is JobState.QUEUED else "its next shard is first"
        yield WaitsFor.FREE_WORKER, f"{subject} in its lane; a worker takes it as soon as one is free"


def paused_text(situation: Situation, brake: LaneBrake) -> str:
    """Who paused a lane, when and why."""
    reason = f": {brake.reason}" if brake.reason else ""
    by = situation.braked_by(brake)
    return f"the {brake.lane} lane was paused by {by} at {brake.paused_at:%Y-%m-%d %H:%M:%S} UTC{reason}"


def _with_eta(situation: Situation, job: Job, following: Shard | None, waiting: Waiting) -> Waiting:
    """With the time that the items before it and its own take at the lane's measured pace."""
    rate = situation.rates.get(job.lane)
    is_open_ended = waiting.position_is_least or not UNFORESEEABLE.isdisjoint(waiting.causes)
    if is_open_ended or rate is None or rate.items_per_s <= 0:
        return waiting
    own = job.items_total - job.items_ended
    eta_s = ((waiting.position or 0) * situation.items_per_shard(job.lane) + own) / rate.items_per_s
    error_s = eta_s * rate.error / rate.items_per_s
    rest_s = (following.not_before - situation.now).total_seconds() if following else 0.0
    return replace(waiting, eta_s=round(max(eta_s, rest_s), 1), eta_error_s=round(error_s, 1))
