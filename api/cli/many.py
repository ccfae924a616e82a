"""What is done to one job, or to all that fit: how that is said, counted and asked about before it is done."""

from collections.abc import Callable
from uuid import uuid4

import click

from api.cli.client import Json, patiently
from api.cli.ids import checked_id
from api.cli.jobs import JOBS
from api.cli.session import Session
from api.cli.transfer import ATTEMPTS

Wanted = dict[str, str]


def one_or_all_options(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the job's ID, or --all with what goes with it."""
    options = (
        click.argument("job_id", metavar="[ID]", required=False, callback=checked_id("job")),
        click.option("--all", "every", is_flag=True, help=f"All jobs that {what} and fit the filters."),
        click.option("--label", help="With --all: only jobs with this label."),
        click.option("--find", "q", help="With --all: only jobs that this finds, as in overread jobs --find."),
        click.option("--dry-run", is_flag=True, help="With --all: only count."),
        click.option("--yes", is_flag=True, help="With --all: do not ask."),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def check_clear(job_id: str | None, *, every: bool, is_narrowed: bool) -> None:
    """Raise UsageError where it is not clear whether one job is meant or all."""
    if every == (job_id is not None):
        raise click.UsageError("name one job, or --all")
    if not every and is_narrowed:
        raise click.UsageError("filters, --dry-run and --yes go with --all")


def ask_many(session: Session, act: str, wanted: Wanted) -> Json:
    """One request about all that fit; it can be sent again without being done twice."""
    key = {"Idempotency-Key": str(uuid4())}
    return patiently(lambda: session.client.post(f"{JOBS}/{act}", headers=key, parameters=wanted), ATTEMPTS)


def confirm(verb: str, would: Json) -> None:
    """Go on only after a yes to the number."""
    click.confirm(f"{verb} {counted(would)}?", abort=True, err=True)


def counted(answer: Json) -> str:
    """How many, and whether there are more."""
    least = "at least " if answer["dry_run"] and answer["is_least"] else ""
    return f"{least}{answer['items']} items of {answer['jobs']} jobs"
