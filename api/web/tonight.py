"""Home: what runs, what waits, what is wrong, on one page."""

from datetime import datetime
from typing import Any

from api.web.charts import HEIGHT, WIDTH, bars
from api.web.inner import Json, RefusedError, ask
from api.web.site import blueprint, page, words
from api.web.telling import number

OK = "ok"
NEXT = 5


@blueprint.get("/")
def get_tonight() -> Any:
    """The verdict first, then what it is made of."""
    lanes, workers = ask("/api/v1/queues")["items"], ask("/api/v1/workers")["items"]
    activity, counts = ask("/api/v1/activity"), ask("/api/v1/jobs/counts")["counts"]
    schedules = [one for one in ask("/api/v1/schedules")["items"] if one["next_fires"]]
    done = [bucket["items"] for bucket in activity["items"]]
    texts = [f"{datetime.fromisoformat(one['at']):%H:%M} UTC: {number(one['items'])}" for one in activity["items"]]
    return page(
        "tonight.html",
        worries=list(_worries(lanes, workers, _checks())),
        lanes=lanes,
        workers=workers,
        counts=counts,
        running=ask("/api/v1/jobs", state="running", limit=NEXT)["items"],
        failed=ask("/api/v1/jobs", state="failed", limit=NEXT)["items"],
        schedules=sorted(schedules, key=lambda one: datetime.fromisoformat(one["next_fires"][0]))[:NEXT],
        done=sum(done),
        chart={"bars": bars(done, texts), "width": WIDTH, "height": HEIGHT, "most": max(done, default=0)},
    )


def _checks() -> Json:
    """What /readyz looks at; it answers 503 where something is wrong."""
    try:
        checks: Json = ask("/readyz")["checks"]
    except RefusedError as error:
        checks = error.problem["checks"]
    return checks


def _worries(lanes: list[Json], workers: list[Json], checks: Json) -> Any:
    """In words, what a person should look at; nothing: all is well."""
    say = words().say
    for name, said in checks.items():
        if said != OK:
            yield say("worry.check", what=words().of("check", name), said=said)
    served = {lane for worker in workers for lane in worker["lanes"]}
    for lane in lanes:
        if lane["paused"]:
            yield say("worry.paused", lane=lane["lane"], by=lane["paused"]["by"], reason=lane["paused"]["reason"])
        elif lane["queued_shards"] and lane["lane"] not in served:
            yield say("worry.no_worker", lane=lane["lane"], shards=number(lane["queued_shards"]))
    if not workers:
        yield say("worry.no_workers")
