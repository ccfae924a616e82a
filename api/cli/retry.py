"""`retry`: try again what failed, of one job or of all that fit a filter."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import click
from rich.table import Table

from api.cli.client import Json, patiently
from api.cli.ids import checked_id
from api.cli.jobs import JOBS, show_job
from api.cli.output import make_table, plain
from api.cli.session import Session, client_command
from api.cli.transfer import ATTEMPTS
from shared.reasons import Failure, Reason
from shared.states import JobState

Columns = list[tuple[str, Callable[[Any], Any]]]
STATES = [str(state) for state in (JobState.FAILED, JobState.PARTIAL, JobState.CANCELLED)]
BY_REASON_COLUMNS: Columns = [("items", lambda row: row[1]), ("reason", lambda row: row[0])]
RETRIED_HEADINGS = ("job", "tried again as")
RETRIED_COLUMNS: Columns = [
    (RETRIED_HEADINGS[0], lambda row: row["job"]),
    (RETRIED_HEADINGS[1], lambda row: row["retry"]),
]


@click.command()
@click.argument("job_id", metavar="[ID]", required=False, callback=checked_id("job"))
@click.option("--all", "every", is_flag=True, help="All jobs that are over, fit the filters and were not retried yet.")
@click.option("--state", type=click.Choice(STATES), help="With --all: only jobs that ended so.")
@click.option("--reason", type=click.Choice([str(one) for one in Reason]), help="With --all: only items with it.")
@click.option("--failure", type=click.Choice([str(one) for one in Failure]), help="With --all: its class.")
@click.option("--label", help="With --all: only jobs with this label.")
@click.option("--model", help="With --all: only jobs of NAME, or of NAME:VERSION.")
@click.option("--dry-run", is_flag=True, help="With --all: only count.")
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@client_command
def retry(session: Session, job_id: str | None, every: bool, dry_run: bool, yes: bool, **filters: str | None) -> None:
    """Make a new job of what failed in the job ID, or in each job that --all and its filters name.

    What would fail again the same way is left out, unless --reason names it.
    """
    wanted = {name: value for name, value in filters.items() if value is not None}
    if every == (job_id is not None):
        raise click.UsageError("name one job, or --all")
    if not every and (wanted or dry_run or yes):
        raise click.UsageError("filters, --dry-run and --yes go with --all")
    if job_id is not None:
        show_job(session, session.client.post(f"{JOBS}/{job_id}/retry"))
        return
    would = _ask(session, wanted | {"dry_run": "true"})
    if dry_run or not would["jobs"]:
        session.show(would, lambda: _tell(session, would, BY_REASON_COLUMNS, would["by_reason"].items()))
        return
    if not yes:
        question = f"Retry {_counted(would)}?"
        click.confirm(question, abort=True, err=True)
    done = _retry_all(session, wanted | {"created_before": would["created_before"]})
    session.show(done, lambda: _tell(session, done, RETRIED_COLUMNS, done["retried"]))


def _retry_all(session: Session, wanted: dict[str, str]) -> Json:
    """One request after the other until nothing that fits is left; their answers as one."""
    whole: Json = {"retried": [], "refused": [], "items": 0, "not_retryable": 0, "by_reason": {}}
    while True:
        answer = _ask(session, wanted)
        for name in ("retried", "refused", "items", "not_retryable"):
            whole[name] += answer[name]
        for reason, number in answer["by_reason"].items():
            whole["by_reason"][reason] = whole["by_reason"].get(reason, 0) + number
        if not answer["remaining"] or not answer["retried"]:
            return answer | whole | {"jobs": len(whole["retried"])}


def _ask(session: Session, wanted: dict[str, str]) -> Json:
    key = {"Idempotency-Key": str(uuid4())}
    return patiently(lambda: session.client.post(f"{JOBS}/retry", headers=key, parameters=wanted), ATTEMPTS)


def _tell(session: Session, answer: Json, columns: Columns, rows: Iterable[Any]) -> Table | None:
    session.out.print(plain(_sum(answer)), soft_wrap=True)
    shown = list(rows)
    return make_table(columns, shown, whole=RETRIED_HEADINGS) if shown else None


def _items_of(answer: Json) -> str:
    return f"{answer['items']} items of {answer['jobs']} jobs"


def _counted(would: Json) -> str:
    return ("at least " if would["is_least"] else "") + _items_of(would)


def _sum(answer: Json) -> str:
    verb = "would be" if answer["dry_run"] else "are"
    said = f"{_counted(answer) if answer['dry_run'] else _items_of(answer)} {verb} tried again"
    if answer["not_retryable"]:
        said += f"; {answer['not_retryable']} rejected files have no bytes to be tried with: send them again"
    if answer["refused"]:
        said += f"; {len(answer['refused'])} jobs cannot be retried, such as {answer['refused'][0]['job']}"
        said += f" ({answer['refused'][0]['detail']})"
    return said
