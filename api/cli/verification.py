"""`report ID --verify`: whether the record of a report still says what it said, and its images what they gave."""

from collections.abc import Callable
from typing import Any

import click

from api.cli.client import Json
from api.cli.errors import EXIT_DIFFERS, EXIT_FAILED
from api.cli.output import make_table
from api.cli.session import Session
from api.cli.watch import watch_job

NAMES = {
    "document": "document, against its digest",
    "audit_event": "audit event, against the document",
    "audit_chain": "audit trail, seal by seal",
    "review": "review, verdicts and labels",
    "documents": "documents that the signature froze",
    "predictions": "stored predictions",
    "inputs": "bytes of the instances",
    "model": "model package",
    "computed_again": "predictions, computed again",
}
COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("check", lambda check: NAMES.get(check["name"], check["name"])),
    ("result", lambda check: {True: "passed", False: "DIFFERS", None: "not checked"}[check["passed"]]),
    ("checked", lambda check: check["checked"]),
    ("what differs, or why", lambda check: "\n".join(check["told"])),
]
EXITS = {"passed": 0, "differs": EXIT_DIFFERS}


def sample_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """How many instances, or `all`."""
    if value is None or value == "all":
        return value
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} came; give a number of instances, or all")
    return int(value)


def verify_report(session: Session, report_id: str, sample: int | str | None) -> None:
    """Ask for it, wait for its end, show what it found; exit code 0: passed, 1: it differs, 5: not all was checked."""
    wanted = {} if sample is None else {"sample": sample}
    job = session.client.post(f"/api/v1/reports/{report_id}/verify", wanted)
    watch_job(session, job["id"])
    found = session.client.get(f"/api/v1/jobs/{job['id']}/verification")
    session.show(found, lambda: make_table(COLUMNS, found["checks"]))
    if not session.as_json:
        session.out.print(f"{found['verdict']} (job {job['id']})", markup=False)
    click.get_current_context().exit(EXITS.get(found["verdict"], EXIT_FAILED))
