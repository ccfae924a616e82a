"""Whether to worry, of what the API says of queues, workers, disk and failures."""

from collections.abc import Iterator
from datetime import UTC, datetime

from api.web.inner import Json
from api.web.site import reason_text, words
from api.web.telling import number, size, span

OK = "ok"
# A scheduler looks at the queues every minute.
SCHEDULER_SILENT_S = 180
# Times what must stay free, from which on uploads are refused.
DISK_LOW = 10
# Fewer failures than so many are a bad file or two. Studies bring files that are no images, so some always fail.
MANY_FAILED, MANY_SHARE = 10, 0.25


def worries(
    lanes: list[Json], workers: Json, activity: Json, failures: Json, checks: Json, disk: Json | None
) -> list[str]:
    """In words, what a person should look at; nothing: all is well. `disk` is None where it cannot be looked at."""
    return [
        *_of_checks(checks, disk),
        *_of_lanes(lanes, workers["items"]),
        *_of_services(workers, activity["looked_at"]),
        *_of_failures(failures, sum(step["items"] for step in activity["items"])),
    ]


def _of_checks(checks: Json, disk: Json | None) -> Iterator[str]:
    say = words().say
    for name, said in checks.items():
        if said != OK and not (name == "disk" and disk):
            yield say("worry.check", what=words().of("check", name), said=said)
    if disk and disk["free_bytes"] < DISK_LOW * disk["min_free_bytes"]:
        is_full = disk["free_bytes"] < disk["min_free_bytes"]
        values = {"free": size(disk["free_bytes"]), "least": size(disk["min_free_bytes"])}
        yield say("worry.disk_full" if is_full else "worry.disk_low", **values)


def _of_lanes(lanes: list[Json], workers: list[Json]) -> Iterator[str]:
    say = words().say
    served = {lane for worker in workers for lane in worker["lanes"]}
    for lane in lanes:
        name, paused = say(f"lane.{lane['lane']}"), lane["paused"]
        if paused:
            yield say("worry.paused", lane=name, by=paused["by"], reason=paused["reason"])
        elif lane["queued_shards"] and lane["lane"] not in served:
            yield say("worry.no_worker", lane=name, shards=number(lane["queued_shards"]))


def _of_services(workers: Json, looked_at: str | None) -> Iterator[str]:
    say = words().say
    if not workers["items"]:
        yield say("worry.no_workers")
    for worker in workers["silent"]:
        yield say("worry.silent", name=worker["name"], span=span(worker["heartbeat_age_s"]))
    if looked_at is None:
        yield say("worry.no_scheduler")
    elif (silence_s := (datetime.now(UTC) - datetime.fromisoformat(looked_at)).total_seconds()) > SCHEDULER_SILENT_S:
        yield say("worry.scheduler", span=span(silence_s))


def _of_failures(failures: Json, done: int) -> Iterator[str]:
    failed = failures["counted"]
    if failed >= MANY_FAILED and failed >= MANY_SHARE * done:
        reason = reason_text(failures["items"][0])
        yield words().say("worry.failures", failed=number(failed), done=number(done), reason=reason)
