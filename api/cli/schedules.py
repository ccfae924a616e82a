"""`schedules`: what is asked for again and again, and what became of each time."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from api.cli.client import Json
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command, limit_option
from api.cli.training_options import training_options, wanted_training
from shared.states import INFERENCE_LANES, Explain, JobKind, Overlap

SCHEDULES = "/api/v1/schedules"
Columns = list[tuple[str, Callable[[Json], Any]]]
HOUR_S = 3600
CALENDAR_FIELDS = ("cron", "time_zone", "overlap", "catch_up_s", "jitter_s", "min_new")

name_argument = click.argument("name")


def standing_text(schedule: Json) -> str:
    """The next moment in the schedule's own time, or why there is none."""
    if schedule["paused_at"]:
        return f"paused: {schedule['pause_reason']}"
    return str(schedule["next_fires"][0]) if schedule["next_fires"] else "never"


def run_text(run: Json | None) -> str:
    """What became of a moment."""
    return f"{run['state']} {moment(run['decided_at'])}: {run['reason']}" if run else "never ran"


SCHEDULE_COLUMNS: Columns = [
    ("schedule", lambda schedule: schedule["name"]),
    ("cron", lambda schedule: schedule["cron"]),
    ("time zone", lambda schedule: schedule["time_zone"]),
    ("what", lambda schedule: schedule["kind"]),
    ("model", lambda schedule: schedule["job"].get("model") or "the only one"),
    ("overlap", lambda schedule: schedule["overlap"]),
    ("next", standing_text),
    ("last run", lambda schedule: run_text(schedule["last_run"])),
]
RUN_COLUMNS: Columns = [
    ("due", lambda run: moment(run["fires_at"])),
    ("by", lambda run: run["origin"]),
    ("what came of it", lambda run: run["state"]),
    ("why", lambda run: run["reason"]),
    ("job", lambda run: run["job_id"] or ""),
    ("settled", lambda run: moment(run["decided_at"])),
]


_CALENDAR: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--cron",), {"required": True, "help": 'Minute, hour, day of the month, month, day of the week: "30 2 * * *".'}),
    (
        ("--time-zone",),
        {"default": "UTC", "show_default": True, "help": "Of the IANA's list, such as Europe/Berlin."},
    ),
    (
        ("--overlap",),
        {
            "type": click.Choice([str(what) for what in Overlap]),
            "default": "skip",
            "show_default": True,
            "help": "While the job of the run before is open: leave the run out, let one wait, or cancel that job.",
        },
    ),
    (
        ("--catch-up-hours",),
        {
            "type": click.FloatRange(min=0),
            "default": 12,
            "show_default": True,
            "help": "A moment that no scheduler saw is made up for within so long.",
        },
    ),
    (
        ("--jitter", "jitter_s"),
        {"type": click.IntRange(min=0), "default": 0, "help": "Start up to so many seconds later."},
    ),
    (("--min-new",), {"type": click.IntRange(min=1), "default": 1, "help": "Start from so many new ones on."}),
)
_AS_IT_IS = {"required": False, "default": None, "show_default": False}
# Of all these, what the moments come from.
_MOMENTS = _CALENDAR[:2]


def calendar_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say when."""
    return _with(command, _CALENDAR, {})


def _changed_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same; what is not given stays as it is."""
    return _with(command, _CALENDAR, _AS_IT_IS)


def _moment_options(command: Callable[..., None]) -> Callable[..., None]:
    return _with(command, _MOMENTS, {})


def _with(command: Callable[..., None], options: Any, instead: dict[str, Any]) -> Callable[..., None]:
    for names, settings in reversed(options):
        command = click.option(*names, **settings | instead)(command)
    return command


@click.group()
def schedules() -> None:
    """Have new images predicted on, and models trained, every night, or as often as you like."""


@schedules.command()
@name_argument
@calendar_options
@click.option("--model", default="", help="NAME (its champion then) or NAME:VERSION; needless while there is one.")
@click.option(
    "--priority",
    type=click.Choice([str(lane) for lane in INFERENCE_LANES]),
    default="background",
    show_default=True,
)
@click.option("--label", default="", help="A word of yours to find the jobs by.")
@click.option("--explain", type=click.Choice([str(how) for how in Explain]), default="positives", show_default=True)
@click.option("--every-version", is_flag=True, help="After a promotion, predict on all that is stored once more.")
@client_command
def add(session: Session, **wanted: Any) -> None:
    """Add the schedule NAME: inference over the stored images that no job has asked the model about."""
    job = {name: wanted.pop(name) for name in ("model", "priority", "label", "explain", "every_version")}
    _add(session, wanted, {"job": job})


@schedules.command("add-training")
@name_argument
@calendar_options
@click.option("--model", default="", help="NAME (its champion then) or NAME:VERSION; needless while there is one.")
@click.option("--label", default="", help="A word of yours to find the jobs by.")
@training_options
@client_command
def add_training(session: Session, **wanted: Any) -> None:
    """Add the schedule NAME: train the model on the labels that stand then.

    --min-new counts what was said since the schedule last started a training, whoever trained since.
    """
    training = {"options": wanted_training(wanted)} | {name: wanted.pop(name) for name in ("model", "label")}
    _add(session, wanted, {"training": training})


def _add(session: Session, calendar: dict[str, Any], what: Json) -> None:
    catch_up_s = round(calendar.pop("catch_up_hours") * HOUR_S)
    _show(session, session.client.post(SCHEDULES, calendar | {"catch_up_s": catch_up_s} | what))


@schedules.command()
@name_argument
@_changed_options
@click.option("--model", help="NAME (its champion then) or NAME:VERSION.")
@click.option("--label", help="A word of yours to find the jobs by.")
@click.option("--priority", type=click.Choice([str(lane) for lane in INFERENCE_LANES]), help="Not of a training.")
@click.option("--explain", type=click.Choice([str(how) for how in Explain]), help="Not of a training.")
@client_command
def change(session: Session, name: str, **given: Any) -> None:
    """Change the schedule NAME: what is given, and its jobs are yours from then on; all else stays, its runs too."""
    changes = {option: value for option, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change was given")
    if "catch_up_hours" in changes:
        changes["catch_up_s"] = round(changes.pop("catch_up_hours") * HOUR_S)
    now = session.client.get(_path(name))
    calendar = {field: changes.pop(field, now[field]) for field in ("name", *CALENDAR_FIELDS)}
    what = "training" if now["kind"] == JobKind.TRAINING else "job"
    changed = session.client.put(_path(name), calendar | {what: now["job"] | changes})
    _show(session, changed or {})


@schedules.command()
@_moment_options
@client_command
def preview(session: Session, **calendar: str) -> None:
    """Show the next ten moments of a calendar, before there is a schedule of it."""
    told = session.client.get(f"{SCHEDULES}/preview", calendar)
    session.show(told, lambda: "\n".join(told["fires"]) or "never")


@schedules.command("list")
@client_command
def list_schedules(session: Session) -> None:
    """List the schedules, each with its next moment and its last run."""
    session.show_list(session.client.get(SCHEDULES), SCHEDULE_COLUMNS, "There are no schedules.")


@schedules.command()
@name_argument
@limit_option
@client_command
def runs(session: Session, name: str, limit: int) -> None:
    """List every moment at which NAME was due, the latest first: fired, skipped or missed, and why."""
    found = session.client.collect(f"{_path(name)}/runs", limit=limit)
    session.show_list(found, RUN_COLUMNS, "It was never due.", whole=("job",))


@schedules.command()
@name_argument
@click.option("--reason", required=True, help="Shown wherever the schedule is.")
@client_command
def pause(session: Session, name: str, reason: str) -> None:
    """Let NAME be due no more; nothing is made up for later."""
    _show(session, session.client.post(f"{_path(name)}/pause", {"reason": reason}))


@schedules.command()
@name_argument
@client_command
def resume(session: Session, name: str) -> None:
    """Let NAME be due again, from its next moment on."""
    _show(session, session.client.post(f"{_path(name)}/resume"))


@schedules.command()
@name_argument
@client_command
def trigger(session: Session, name: str) -> None:
    """Run NAME now, or when the job of its run before is over."""
    run = session.client.post(f"{_path(name)}/trigger")
    session.show(run, lambda: f"It starts within seconds; see overread schedules runs {name}")


@schedules.command()
@name_argument
@client_command
def rm(session: Session, name: str) -> None:
    """Remove NAME; its runs stay on record, its open job goes on."""
    session.client.delete(_path(name))
    session.show({"removed": name}, lambda: f"The schedule {name} is removed.")


def _path(name: str) -> str:
    return f"{SCHEDULES}/{quote(name, safe='')}"


def _show(session: Session, schedule: Json) -> None:
    def human() -> None:
        session.out.print(make_table(SCHEDULE_COLUMNS, [schedule]))
        for at in schedule["next_fires"]:
            session.out.print(f"  {at}")

    session.show(schedule, human)
