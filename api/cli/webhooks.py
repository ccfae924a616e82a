"""`webhooks` and `notices`: who is told of what happens, and what could not be told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from click.core import ParameterSource

from api.cli.client import Json
from api.cli.ids import is_id
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command, limit_option
from shared.events import EVENTS

WEBHOOKS, NOTICES = "/api/v1/webhooks", "/api/v1/notices"
Columns = list[tuple[str, Callable[[Json], Any]]]

WEBHOOK_COLUMNS: Columns = [
    ("webhook", lambda webhook: webhook["name"]),
    ("url", lambda webhook: webhook["url"]),
    ("events", lambda webhook: webhook["events"]),
    ("by", lambda webhook: webhook["by"]),
    ("since", lambda webhook: moment(webhook["created_at"])),
]
MADE_COLUMNS: Columns = [*WEBHOOK_COLUMNS[:3], ("secret (shown this once)", lambda webhook: webhook["secret"])]
NOTICE_COLUMNS: Columns = [
    ("notice", lambda notice: notice["id"]),
    ("webhook", lambda notice: notice["webhook"]),
    ("event", lambda notice: notice["event"]),
    ("of", lambda notice: f"{notice['body']['object']['kind']} {notice['body']['object']['id']}"),
    ("state", lambda notice: notice["state"]),
    ("tries", lambda notice: notice["attempts"]),
    ("what came last", lambda notice: notice["last_error"] or notice["last_status"]),
    ("next try", lambda notice: moment(notice["next_try_at"])),
]
SPARE_COLUMNS = ("of", "next try", "tries")

name_argument = click.argument("name")


def _path(name: str) -> str:
    return f"{WEBHOOKS}/{quote(name, safe='')}"


@click.group()
def webhooks() -> None:
    """Have other programs told when jobs end and reports are made, signed, amended or retracted."""


@webhooks.command()
@name_argument
@click.argument("target", metavar="URL")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([str(event) for event in EVENTS]),
    help="What it is told of; may be given again.  [default: all]",
)
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign with the secret in this file, of 32 characters or more.  [default: one is made]",
)
@client_command
def add(session: Session, name: str, target: str, events: tuple[str, ...], secret_file: Path | None) -> None:
    """Add the webhook NAME: notices go to URL, whose host the operator allows.

    The secret that signs them is shown this once.
    """
    wanted: Json = {"name": name, "url": target} | ({"events": list(events)} if events else {})
    if secret_file is not None:
        wanted["secret"] = secret_file.read_text().strip()
    made = session.client.post(WEBHOOKS, wanted)
    session.show(made, lambda: make_table(MADE_COLUMNS, [made], whole=(MADE_COLUMNS[-1][0],)))


@webhooks.command("list")
@client_command
def list_webhooks(session: Session) -> None:
    """List the webhooks."""
    session.show_list(session.client.get(WEBHOOKS), WEBHOOK_COLUMNS, "There are no webhooks.")


@webhooks.command()
@name_argument
@client_command
def rm(session: Session, name: str) -> None:
    """Remove NAME: it is told nothing any more, also not what waits for it."""
    session.client.delete(_path(name))
    session.show({"removed": name}, lambda: f"The webhook {name} is removed.")


@webhooks.command()
@name_argument
@client_command
def test(session: Session, name: str) -> None:
    """Send NAME a notice that means nothing, to see whether it arrives."""
    notice = session.client.post(f"{_path(name)}/test")
    session.show(notice, lambda: f"It is sent within seconds; see overread notices --webhook {name}")


@click.group(invoke_without_command=True)
@click.option("--dead", is_flag=True, help="Only what was given up.")
@click.option("--webhook", help="Only to this webhook.")
@limit_option
@client_command
def notices(session: Session, webhook: str | None, limit: int, *, dead: bool) -> None:
    """List what webhooks were told, the newest first, and what could not be told."""
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
            # The subcommand has options of its own, and would not see these.
            raise click.UsageError(f"options go after the word: overread notices {context.invoked_subcommand} ...")
        return
    parameters = ({"state": "dead"} if dead else {}) | ({"webhook": webhook} if webhook else {})
    answer = session.client.collect(NOTICES, parameters, limit)
    session.show_list(answer, NOTICE_COLUMNS, "There are no notices.", SPARE_COLUMNS)


@notices.command()
@click.argument("notice_id", metavar="[ID]", required=False)
@click.option("--webhook", help="All that was given up to this webhook.")
@client_command
def resend(session: Session, notice_id: str | None, webhook: str | None) -> None:
    """Send the notice ID again, or with --webhook all that were given up."""
    if bool(notice_id) == bool(webhook):
        raise click.UsageError("give the ID of a notice, or --webhook NAME")
    if webhook:
        number = session.client.post(f"{_path(webhook)}/resend")
        session.show(number, lambda: f"{number['resent']} notices are sent again.")
        return
    if not is_id(str(notice_id)):
        raise click.UsageError(f"{notice_id} is not a notice id; list them with overread notices")
    notice = session.client.post(f"{NOTICES}/{notice_id}/resend")
    session.show(notice, lambda: make_table(NOTICE_COLUMNS, [notice], whole=("notice",)))
