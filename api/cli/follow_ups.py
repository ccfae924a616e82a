"""`follow-ups` and `follow-up`: what is to be done for patients, and what people did with it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from api.cli.client import Json
from api.cli.ids import id_argument
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command, limit_option
from shared.states import FollowUpState

FOLLOW_UPS = "/api/v1/follow-ups"
Columns = list[tuple[str, Callable[[Json], Any]]]


def due_text(item: Json) -> str:
    """When it is due, and whether that is over."""
    return f"{moment(item['due_at'])}{', overdue' if item['is_overdue'] else ''}"


COLUMNS: Columns = [
    ("follow-up", lambda item: item["id"]),
    ("patient", lambda item: item["patient"]["patient_id"]),
    ("what", lambda item: f"{item['action'].replace('_', ' ')}: {item['text']}"),
    ("finding", lambda item: item["finding"]),
    ("urgency", lambda item: item["urgency"]),
    ("due", due_text),
    ("state", lambda item: item["state"]),
    ("model", lambda item: item["model"]),
]
SPARE_COLUMNS = ("model", "finding", "state")
MOVE_COLUMNS: Columns = [
    ("at", lambda move: moment(move["at"])),
    ("state", lambda move: move["after"]),
    ("by", lambda move: move["by"] or "a report"),
    ("due", lambda move: moment(move["due_at"])),
    ("why", lambda move: move["reason"]),
]


@click.command("follow-ups")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in FollowUpState]),
    help="Default: what stands, so neither closed nor withdrawn.",
)
@click.option("--patient", help="Only of this patient, by key.")
@click.option("--finding", help="Only of this finding.")
@click.option("--due-before", metavar="TIME", help="Only what is due before, such as 2026-01-31T22:00:00Z.")
@click.option("--overdue", is_flag=True, help="Only what should have been done by now.")
@limit_option
@client_command
def follow_ups(session: Session, limit: int, *, overdue: bool, **filters: str | None) -> None:
    """List what is to be done for patients: the urgent first, then what is due first."""
    parameters = {name: value for name, value in filters.items() if value is not None}
    if overdue:
        parameters["overdue"] = "true"
    answer = session.client.collect(FOLLOW_UPS, parameters, limit)
    session.show_list(answer, COLUMNS, "There is nothing to do.", SPARE_COLUMNS)


@click.command("follow-up")
@id_argument("follow-up")
@click.option("--acknowledge", "act", flag_value="acknowledge", help="Take it on.")
@click.option("--close", "act", flag_value="close", help="It was done, or is not to be done.")
@click.option("--postpone", "until", metavar="UNTIL", help="A date, or a time such as 2026-01-31T22:00:00Z.")
@click.option("--reason", help="Why; needed for each of these.")
@client_command
def follow_up(session: Session, follow_up_id: str, act: str | None, until: str | None, reason: str | None) -> None:
    """Show a follow-up with all that became of it, or acknowledge, postpone or close it."""
    if act and until:
        raise click.UsageError("give one of --acknowledge, --postpone and --close")
    wanted = act or (until and "postpone")
    if bool(wanted) != bool(reason):
        raise click.UsageError("--reason goes with --acknowledge, --postpone or --close, and each of them needs it")
    path = f"{FOLLOW_UPS}/{follow_up_id}"
    if wanted is None:
        _show(session, session.client.get(path))
        return
    body = {"reason": reason} | ({"until": _with_zone(until)} if until else {})
    _show(session, session.client.post(f"{path}/{wanted}", body))


def _with_zone(until: str) -> str:
    """A date or time without a zone is meant in that of this machine."""
    try:
        return datetime.fromisoformat(until).astimezone().isoformat()
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"{until} is no date or time; such as 2026-01-31 or 2026-01-31T22:00:00Z") from error


def _show(session: Session, item: Json) -> None:
    def human() -> None:
        session.out.print(make_table(COLUMNS, [item], whole=("follow-up",)))
        session.out.print(make_table(MOVE_COLUMNS, item["history"], title="What became of it"))

    session.show(item, human)
