"""The form of a schedule: its fields of what the API tells, and what the API is asked of its fields."""

from api.web.inner import Json, RefusedError, ask
from shared.states import Explain, JobKind, Lane, Overlap

HOUR_S = 3600
# More are no number of anything here, and Python reads no number of thousands of digits.
MOST_DIGITS = 18
NIGHTLY = "30 2 * * *"
NEW: Json = {
    "name": "",
    "kind": JobKind.INFERENCE,
    "cron": NIGHTLY,
    "time_zone": "UTC",
    "overlap": Overlap.SKIP,
    "catch_up_hours": "12",
    "jitter_s": "0",
    "min_new": "1",
    "model": "",
    "label": "",
    "priority": Lane.BACKGROUND,
    "explain": Explain.POSITIVES,
    "every_version": "",
}
# Of the job of a run; those of a training are fewer.
OF_JOB = {
    JobKind.INFERENCE: ("model", "label", "priority", "explain", "every_version"),
    JobKind.TRAINING: ("model", "label"),
}


def fields_of(schedule: Json | None) -> Json:
    """The form's fields as text; None: of a new one."""
    if schedule is None:
        return dict(NEW)
    told = schedule | schedule["job"] | {"catch_up_hours": f"{schedule['catch_up_s'] / HOUR_S:g}"}
    found = {name: told.get(name, usual) for name, usual in NEW.items()}
    return {name: str(value) if value is not False else "" for name, value in found.items()}


def body_of(given: Json, schedule: Json | None) -> Json:
    """What the API is to make of the fields; what no field says of a training stays as it was."""
    kind = JobKind.TRAINING if given["kind"] == JobKind.TRAINING else JobKind.INFERENCE
    job = {name: given[name] for name in OF_JOB[kind]}
    if kind is JobKind.INFERENCE:
        job["every_version"] = bool(given["every_version"])
    named = {name: given[name].strip() for name in ("name", "cron", "time_zone", "overlap")}
    numbers = {name: _number(given[name]) for name in ("jitter_s", "min_new")}
    before = schedule["job"] if schedule else {}
    of_kind = {"job": job} if kind is JobKind.INFERENCE else {"training": before | job}
    return named | numbers | {"catch_up_s": _seconds(given["catch_up_hours"])} | of_kind


def preview_of(given: Json) -> Json:
    """`fires`, or `said`: why there are none."""
    try:
        found = ask("/api/v1/schedules/preview", cron=given["cron"], time_zone=given["time_zone"].strip())
    except RefusedError as error:
        return {"fires": [], "said": error.problem}
    return found | {"said": None}


def _number(text: str) -> int | str:
    """What is none the API refuses in its own words."""
    return int(text) if text.strip().isdecimal() and len(text) <= MOST_DIGITS else text


def _seconds(hours: str) -> int | str:
    try:
        return round(float(hours) * HOUR_S)
    except (ValueError, OverflowError):
        return hours
