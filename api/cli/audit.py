"""`audit`: who did what, and whether the chain of the audit trail holds."""

from collections.abc import Callable
from typing import Any

import click

from api.cli.client import Json
from api.cli.errors import EXIT_DIFFERS
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command, limit_option

AUDIT = "/api/v1/audit"
Columns = list[tuple[str, Callable[[Json], Any]]]

EVENT_COLUMNS: Columns = [
    ("event", lambda event: event["id"]),
    ("at", lambda event: moment(event["at"])),
    ("who", lambda event: event["principal"] or "the system"),
    ("action", lambda event: event["action"]),
    ("object", lambda event: f"{event['object_kind']} {event['object_id']}"),
    ("detail", lambda event: ", ".join(f"{name} {value}" for name, value in event["detail"].items())),
    ("seal", lambda event: event["seal"]),
]


@click.command()
@click.option("--check", is_flag=True, help="Compute the chain again instead of listing events.")
@click.option("--kept", metavar="SEAL", help="With --check: a head that was kept elsewhere; is it in the chain?")
@click.option("--object", "named", nargs=2, metavar="KIND ID", help="Only what was done to it, such as: report ID.")
@click.option("--principal", help="Only what this person or program did.")
@click.option("--action", help="Only such acts, such as report.make.")
@click.option("--since", metavar="TIME", help="Only from then on, such as 2026-01-31T22:00:00Z.")
@limit_option
@client_command
def audit(
    session: Session, check: bool, kept: str | None, named: tuple[str, str] | None, limit: int, **given: str | None
) -> None:
    """List the audit trail, the newest first; or check that nothing in it was altered or taken out.

    With --check the exit code is 1 where the chain does not hold. Its head is printed: keep it where whoever can write
    to the database cannot, and give it later as --kept.
    """
    if check:
        _check(session, kept)
        return
    if kept is not None:
        raise click.UsageError("--kept goes with --check")
    parameters = {name: value for name, value in given.items() if value is not None}
    if named is not None:
        parameters |= {"object_kind": named[0], "object_id": named[1]}
    session.show_list(session.client.collect(AUDIT, parameters, limit), EVENT_COLUMNS, "There are no such events.")


def _check(session: Session, kept: str | None) -> None:
    found = session.client.get(f"{AUDIT}/chain")
    while found["holds"] and found["next"]:
        found = session.client.get(f"{AUDIT}/chain", {"cursor": found["next"]})
    if found["holds"] and kept is not None:
        through = session.client.get(f"{AUDIT}/chain", {"cursor": kept, "limit": "1"})
        found = found if through["holds"] else found | {name: through[name] for name in ("holds", "broken")}
    session.show(found, lambda: make_table([("", lambda row: row[0]), ("", lambda row: row[1])], _rows(found)))
    click.get_current_context().exit(0 if found["holds"] else EXIT_DIFFERS)


def _rows(found: Json) -> list[tuple[str, Any]]:
    broken, age = found["broken"], found["oldest_unsealed_s"]
    place = None if broken is None else f"at seal {broken['sequence']}: {broken['why']}"
    event = None if broken is None else broken["event_id"]
    return [
        ("the chain", "holds" if found["holds"] else "DOES NOT HOLD"),
        *([("broken", place), ("its event", event)] if broken else []),
        ("sealed events", found["sealed"]),
        ("not sealed yet", found["unsealed"] if age is None else f"{found['unsealed']}, since {age:.0f} s"),
        ("head, to be kept", found["head"]),
    ]
