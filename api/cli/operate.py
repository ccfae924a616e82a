"""`queues`, `workers` and `token create`: for whoever operates the system."""

from collections.abc import Callable
from typing import Any

import click

from api.cli.client import Json
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command
from shared.states import Scope

Columns = list[tuple[str, Callable[[Json], Any]]]

QUEUE_COLUMNS: Columns = [
    ("lane", lambda queue: queue["lane"]),
    ("queued shards", lambda queue: queue["queued_shards"]),
    ("queued items", lambda queue: queue["queued_items"]),
    ("running shards", lambda queue: queue["running_shards"]),
    ("oldest, s", lambda queue: queue["oldest_age_s"]),
    ("workers", lambda queue: queue["workers"]),
    ("items/s", lambda queue: queue["items_per_s"]),
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
    ("principal", lambda token: token["principal"]),
    ("scopes", lambda token: token["scopes"]),
    ("expires", lambda token: moment(token["expires_at"]) or "never"),
    ("token (shown this once)", lambda token: token["token"]),
]


@click.command()
@client_command
def queues(session: Session) -> None:
    """Show the lanes: how much waits in each, and for how long."""
    session.show_list(session.client.collect("/api/v1/queues"), QUEUE_COLUMNS, "There are no lanes.")


@click.command()
@client_command
def workers(session: Session) -> None:
    """Show the workers and when each was last heard of."""
    session.show_list(session.client.collect("/api/v1/workers"), WORKER_COLUMNS, "No worker has been heard of.")


@click.group()
def token() -> None:
    """Make tokens for people and programs."""


@token.command()
@click.option("--name", required=True, help="The principal: the person or program that the token is for.")
@click.option(
    "--scopes",
    required=True,
    help=f"What it may do, separated by commas: {', '.join(Scope)}.",
    callback=lambda _context, _parameter, value: _checked_scopes(value),
)
@click.option("--expires-days", type=click.FloatRange(min=0, min_open=True), help="Default: it does not expire.")
@client_command
def create(session: Session, name: str, scopes: list[str], expires_days: float | None) -> None:
    """Make a token; it is shown once and stored hashed."""
    wanted = {"principal": name, "scopes": scopes, "expires_days": expires_days}
    made = session.client.post("/api/v1/tokens", wanted)
    session.show(made, lambda: make_table(TOKEN_COLUMNS, [made]))


def _checked_scopes(value: str) -> list[str]:
    scopes = [part.strip() for part in value.split(",") if part.strip()]
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise click.BadParameter(f"{', '.join(unknown) or 'nothing'} was given; expected {', '.join(Scope)}")
    return scopes
