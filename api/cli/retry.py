"""`retry`: try again what failed, of one job or of all that fit a filter."""

from collections.abc import Callable, Iterable
from typing import Any

import click
from rich.table import Table

from api.cli.client import Json
from api.cli.jobs import JOBS, show_job
from api.cli.many import Wanted, ask_many, check_clear, confirm, counted, one_or_all_options
from api.cli.output import make_table, plain
from api.cli.session import Session, client_command
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
@one_or_all_options("are over, were not retried yet")
@click.option("--state", type=click.Choice(STATES), help="With --all: only jobs that ended so.")
@click.option("--reason", type=click.Choice([str(one) for one in Reason]), help="With --all: only items with it.")
@click.option("--failure", type=click.Choice([str(one) for one in Failure]), help="With --all: its class.")
@click.option("--model", help="With --all: only jobs of NAME, or of NAME:VERSION.")
@client_command
def retry(session: Session, job_id: str | None, every: bool, dry_run: bool, yes: bool, **filters: str | None) -> None:
    """Make a new job of what failed in the job ID, or in each job that --all and its filters name.

    What would fail again the same way is left out, unless --reason names it.
    """
    wanted = {name: value for name, value in filters.items() if value is not None}
    check_clear(job_id, every=every, is_narrowed=bool(wanted or dry_run or yes))
    if job_id is not None:
        show_job(session, session.client.post(f"{JOBS}/{job_id}/retry"))
        return
    would = ask_many(session, "retry", wanted | {"dry_run": "true"})
    if dry_run or not (would["jobs"] or would["is_least"]):
        session.show(would, lambda: _tell(session, would, BY_REASON_COLUMNS, would["by_reason"].items()))
        return
    if not yes:
        confirm("Retry", would)
    done = _retry_all(session, wanted | {"created_before": would["created_before"]})
    session.show(done, lambda: _tell(session, done, RETRIED_COLUMNS, done["retried"]))


def _retry_all(session: Session, wanted: Wanted) -> Json:
    """One request after the other until nothing that fits is left; their answers as one."""
    whole: Json = {"retried": [], "refused": [], "items": 0, "not_retryable": 0, "by_reason": {}}
    while True:
        answer = ask_many(session, "retry", wanted)
        for name in ("retried", "refused", "items", "not_retryable"):
            whole[name] += answer[name]
        for reason, number in answer["by_reason"].items():
            whole["by_reason"][reason] = whole["by_reason"].get(reason, 0) + number
        if not answer["remaining"] or not answer["retried"]:
            return answer | whole | {"jobs": len(whole["retried"])}


def _tell(session: Session, answer: Json, columns: Columns, rows: Iterable[Any]) -> Table | None:
    session.out.print(plain(_sum(answer)), soft_wrap=True)
    shown = list(rows)
    return make_table(columns, shown, whole=RETRIED_HEADINGS) if shown else None


def _sum(answer: Json) -> str:
    verb = "would be" if answer["dry_run"] else "are"
    said = f"{counted(answer)} {verb} tried again"
    if answer["not_retryable"]:
        said += f"; {answer['not_retryable']} rejected files have no bytes to be tried with: send them again"
    if answer["refused"]:
        said += f"; {len(answer['refused'])} jobs cannot be retried, such as {answer['refused'][0]['job']}"
        said += f" ({answer['refused'][0]['detail']})"
    return said
