"""`cancel`: ask for the end of one job or of all that fit a filter."""

import click

from api.cli.client import Json
from api.cli.jobs import JOBS, show_job
from api.cli.many import Wanted, ask_many, check_clear, confirm, counted, one_or_all_options
from api.cli.output import plain
from api.cli.session import Session, client_command
from shared.states import JobKind, JobState, Lane


@click.command()
@one_or_all_options("are not over")
@click.option(
    "--state", type=click.Choice([str(one) for one in (JobState.QUEUED, JobState.RUNNING)]), help="With --all: only so."
)
@click.option("--kind", type=click.Choice([str(one) for one in JobKind]), help="With --all: only jobs of this kind.")
@click.option("--priority", type=click.Choice([str(one) for one in Lane]), help="With --all: only jobs of this lane.")
@client_command
def cancel(session: Session, job_id: str | None, every: bool, dry_run: bool, yes: bool, **filters: str | None) -> None:
    """Ask for the end of the job ID, or of each job that --all and its filters name; what is predicted already stays.

    Jobs of others take a token with the scope operate.
    """
    wanted = {name: value for name, value in filters.items() if value is not None}
    check_clear(job_id, every=every, is_narrowed=bool(wanted or dry_run or yes))
    if job_id is not None:
        show_job(session, session.client.post(f"{JOBS}/{job_id}/cancel"))
        return
    would = ask_many(session, "cancel", wanted | {"dry_run": "true"})
    if dry_run or not would["jobs"]:
        session.show(would, lambda: plain(f"{counted(would)} would be cancelled"))
        return
    if not yes:
        confirm("Cancel", would)
    done = _cancel_all(session, wanted | {"created_before": would["created_before"]})
    session.show(done, lambda: plain(f"{counted(done)} are cancelled"))


def _cancel_all(session: Session, wanted: Wanted) -> Json:
    """One request after the other until nothing that fits is left; their answers as one."""
    cancelled: list[str] = []
    items = 0
    while True:
        answer = ask_many(session, "cancel", wanted)
        cancelled += answer["cancelled"]
        items += answer["items"]
        if not answer["remaining"] or not answer["cancelled"]:
            return answer | {"jobs": len(cancelled), "items": items, "cancelled": cancelled}
