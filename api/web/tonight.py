"""Home: what runs, what waits, what is wrong, on one page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from api.web.charts import HEIGHT, WIDTH, bars
from api.web.inner import Json, RefusedError, ask
from api.web.site import blueprint, page, reason_text, words
from api.web.telling import number
from api.web.worries import worries
from shared.states import Lane

NEXT = 5
DECISIONS = 3


@blueprint.get("/")
def get_tonight() -> Any:
    """The verdict first, then what it is made of."""
    lanes, workers = ask("/api/v1/queues")["items"], ask("/api/v1/workers")
    activity, failures, disk = ask("/api/v1/activity"), ask("/api/v1/failures"), _disk()
    schedules = [one for one in ask("/api/v1/schedules")["items"] if one["next_fires"]]
    return page(
        "tonight.html",
        worries=worries(lanes, workers, activity, failures, _checks(), disk),
        lanes=lanes,
        workers=workers,
        counts=ask("/api/v1/jobs/counts")["counts"],
        disk=disk,
        running=ask("/api/v1/jobs", state="running", limit=NEXT)["items"],
        failed=ask("/api/v1/jobs", state="failed", limit=NEXT)["items"],
        failures=failures | {"items": [one | {"text": reason_text(one)} for one in failures["items"]]},
        decisions=ask("/api/v1/gate-decisions", limit=DECISIONS)["items"],
        schedules=sorted(schedules, key=lambda one: datetime.fromisoformat(one["next_fires"][0]))[:NEXT],
        throughput=_throughput(activity["items"]),
        depth=_depth(activity["items"]),
    )


def _throughput(steps: list[Json]) -> Json:
    """How many images got an outcome."""
    done = [step["items"] for step in steps]
    return _chart(done, [f"{_begun(step)}: {number(step['items'])}" for step in steps]) | {"done": sum(done)}


def _depth(steps: list[Json]) -> Json:
    """How many images waited at most, and in which lanes; where nobody looked, that is not known."""
    waited = [None if step["queued"] is None else sum(step["queued"].values()) for step in steps]
    texts = [_waited_text(step, most) for step, most in zip(steps, waited, strict=True)]
    return _chart(waited, texts) | {"gaps": waited.count(None), "steps": len(steps)}


def _waited_text(step: Json, most: int | None) -> str:
    say = words().say
    if most is None:
        return f"{_begun(step)}: {say('tonight.nobody_looked')}"
    queued = step["queued"]
    lanes = [f"{say(f'lane.{lane}')} {number(queued[lane])}" for lane in Lane if queued.get(lane)]
    return f"{_begun(step)}: {number(most)}" + (f" ({words().list(lanes)})" if lanes else "")


def _chart(values: Sequence[float | None], texts: Sequence[str]) -> Json:
    most = max((value for value in values if value is not None), default=0)
    return {"bars": bars(values, texts), "width": WIDTH, "height": HEIGHT, "most": most}


def _begun(step: Json) -> str:
    return f"{datetime.fromisoformat(step['at']):%H:%M} UTC"


def _checks() -> Json:
    """What /readyz looks at; it answers 503 where something is wrong."""
    try:
        checks: Json = ask("/readyz")["checks"]
    except RefusedError as error:
        checks = error.problem["checks"]
    return checks


def _disk() -> Json | None:
    """None where the disk cannot be looked at, which /readyz says too."""
    try:
        return ask("/api/v1/disk")
    except RefusedError:
        return None
