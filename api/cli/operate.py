"""`queues`, `workers`, `token`, `principals` and `password`: for whoever operates the system."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import click
from click.core import ParameterSource

from api.cli.client import Json
from api.cli.ids import is_id
from api.cli.output import make_table, moment, plain
from api.cli.session import Session, client_command, limit_option
from shared.states import Lane, Role, Scope

QUEUES, TOKENS, PRINCIPALS = "/api/v1/queues", "/api/v1/tokens", "/api/v1/principals"
lane_argument = click.argument("lane", type=click.Choice([str(lane) for lane in Lane]))
Columns = list[tuple[str, Callable[[Json], Any]]]


def standing_text(token: Json) -> str:
    """Until when a token is good, or since when it is not."""
    if token["revoked_at"]:
        return f"revoked {moment(token['revoked_at'])}"
    return f"expires {moment(token['expires_at'])}" if token["expires_at"] else "does not expire"


def held_up_text(queue: Json) -> str:
    """A pause or the broker, whichever holds a lane up."""
    paused = queue["paused"]
    told = [f"paused by {paused['by']} at {moment(paused['at'])}: {paused['reason']}"] if paused else []
    return "; ".join(told + ([] if queue["broker"] == "ok" else [queue["broker"]]))


QUEUE_COLUMNS: Columns = [
    ("lane", lambda queue: queue["lane"]),
    ("queued shards", lambda queue: queue["queued_shards"]),
    ("queued items", lambda queue: queue["queued_items"]),
    ("running shards", lambda queue: queue["running_shards"]),
    ("oldest, s", lambda queue: queue["oldest_age_s"]),
    ("workers", lambda queue: queue["workers"]),
    ("items/s", lambda queue: queue["items_per_s"]),
    ("held up by", held_up_text),
]
WORKER_COLUMNS: Columns = [
    ("worker", lambda worker: worker["name"]),
    ("lanes", lambda worker: worker["lanes"]),
    ("at once", lambda worker: worker["concurrency"]),
    ("running shards", lambda worker: worker["running_shards"]),
    ("memory, MiB", lambda worker: worker["rss_bytes"] // 2**20),
    ("started", lambda worker: moment(worker["started_at"])),
    ("heard of, s ago", lambda worker: worker["heartbeat_age_s"]),
]
TOKEN_COLUMNS: Columns = [
    ("id", lambda token: token["id"]),
    ("principal", lambda token: token["principal"]),
    ("scopes", lambda token: token["scopes"]),
    ("standing", standing_text),
]
PRINCIPAL_COLUMNS: Columns = [
    ("principal", lambda principal: principal["name"]),
    ("roles", lambda principal: principal["roles"]),
    ("since", lambda principal: moment(principal["created_at"])),
    ("disabled", lambda principal: moment(principal["disabled_at"]) or ""),
]
SPARE_TOKEN_COLUMNS = ("begins with", "requests/min", "open items")
LISTED_TOKEN_COLUMNS: Columns = [
    *TOKEN_COLUMNS,
    ("open items", lambda token: token["max_open_items"] or "as set"),
    ("requests/min", lambda token: token["requests_per_minute"] or "as set"),
    ("begins with", lambda token: token["prefix"]),
]
NEW_TOKEN_COLUMNS: Columns = [*TOKEN_COLUMNS, ("token (shown this once)", lambda token: token["token"])]


@click.group(invoke_without_command=True)
@client_command
def queues(session: Session) -> None:
    """Show the lanes: how much waits in each, for how long, and what holds it up."""
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        session.show_list(session.client.collect(QUEUES), QUEUE_COLUMNS, "There are no lanes.")
    elif any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in context.params):
        # The subcommand has these options too, and would not see them here.
        raise click.UsageError(f"options go after the word: overread queues {context.invoked_subcommand} ...")


@queues.command()
@lane_argument
@click.option("--reason", required=True, help="Shown to everybody whose jobs wait.")
@client_command
def pause(session: Session, lane: str, reason: str) -> None:
    """Claim nothing from LANE any more; what runs is finished."""
    shown = session.client.post(f"{QUEUES}/{lane}/pause", {"reason": reason})
    session.show(shown, lambda: make_table(QUEUE_COLUMNS, [shown]))


@queues.command()
@lane_argument
@client_command
def resume(session: Session, lane: str) -> None:
    """Let LANE run again."""
    shown = session.client.post(f"{QUEUES}/{lane}/resume")
    session.show(shown, lambda: make_table(QUEUE_COLUMNS, [shown]))


@click.command()
@client_command
def workers(session: Session) -> None:
    """Show the workers and when each was last heard of."""
    session.show_list(session.client.collect("/api/v1/workers"), WORKER_COLUMNS, "No worker has been heard of.")


@click.group()
def token() -> None:
    """Make, list and revoke tokens of people and programs."""


@token.command()
@click.option("--principal", "--name", "name", required=True, help="The person or program that the token is for.")
@click.option(
    "--scope",
    "--scopes",
    "scopes",
    required=True,
    multiple=True,
    help=f"What it may do, again or separated by commas: {', '.join(Scope)}.",
    callback=lambda _context, _parameter, values: _checked(values, Scope),
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    help=f"What its principal is from now on, again or separated by commas: {', '.join(Role)}. A physician signs "
    "reports.  [default: what it is]",
    callback=lambda _context, _parameter, values: _checked(values, Role) if values else None,
)
@click.option("--expires-days", type=click.FloatRange(min=0, min_open=True), help="Default: it does not expire.")
@click.option("--max-open-items", type=click.IntRange(min=1), help="Most instances open at once.  [default: as set]")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Most requests.  [default: as set]")
@client_command
def create(session: Session, name: str, roles: list[str] | None, **wanted: Any) -> None:
    """Make a token; it is shown once and stored hashed."""
    given = {} if roles is None else {"roles": roles}
    made = session.client.post(TOKENS, {"principal": name} | given | wanted)
    session.show(made, lambda: make_table(NEW_TOKEN_COLUMNS, [made], whole=("id", NEW_TOKEN_COLUMNS[-1][0])))


@token.command("list")
@limit_option
@client_command
def list_tokens(session: Session, limit: int) -> None:
    """List tokens, the newest first; their secrets are not kept."""
    found = session.client.collect(TOKENS, limit=limit)
    session.show_list(found, LISTED_TOKEN_COLUMNS, "There are no tokens.", SPARE_TOKEN_COLUMNS)


@token.command()
@click.argument("token_id", metavar="ID")
@client_command
def revoke(session: Session, token_id: str) -> None:
    """End a token for good; its jobs go on."""
    if not is_id(token_id):
        raise click.UsageError(f"{token_id} is not a token's id; list them with overread token list")
    session.client.delete(f"{TOKENS}/{token_id}")
    session.show({"revoked": token_id}, lambda: f"The token {token_id} is revoked.")


@click.command()
@limit_option
@client_command
def principals(session: Session, limit: int) -> None:
    """List the people and programs that tokens are for, with their roles."""
    found = session.client.collect(PRINCIPALS, limit=limit)
    session.show_list(found, PRINCIPAL_COLUMNS, "There are no principals.")


@click.command()
@click.argument("name")
@client_command
def password(session: Session, name: str) -> None:
    """Set what NAME logs in with in the browser; it is asked for, not shown, and stored hashed."""
    chosen = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    session.client.put(f"{PRINCIPALS}/{quote(name, safe='')}/password", {"password": chosen})
    session.show({"principal": name}, lambda: plain(f"{name} logs in with the new password from now on."))


def _checked(values: Sequence[str], kind: type[StrEnum]) -> list[str]:
    words = [part.strip() for value in values for part in value.split(",") if part.strip()]
    unknown = sorted(set(words) - set(kind))
    if unknown or not words:
        raise click.BadParameter(f"{', '.join(unknown) or 'nothing'} was given; expected {', '.join(kind)}")
    return list(dict.fromkeys(words))
