"""`submit`: files, folders and zips in, a job out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from api.cli.client import Client, Json, patiently
from api.cli.jobs import JOBS, show_job
from api.cli.output import json_text, make_table
from api.cli.preflight import check_model
from api.cli.session import Session, client_command
from api.cli.transfer import ATTEMPTS
from api.cli.upload import found_files, paths_argument, resume_option, sending
from api.cli.watch import end_by_state, tell_failures, watch_job
from shared.states import FINAL_JOB_STATES, INFERENCE_LANES, Explain, JobState

DRY_RUN_COLUMNS: list[tuple[str, Callable[[tuple[str, Any]], Any]]] = [
    ("items", lambda count: count[0].replace("_", " ")),
    ("", lambda count: _count_text(count[1])),
]


@click.command()
@paths_argument
@click.option("--model", default="", help="NAME (its champion) or NAME:VERSION; needless while there is only one.")
@click.option(
    "--priority", type=click.Choice([str(lane) for lane in INFERENCE_LANES]), default="routine", show_default=True
)
@click.option("--label", default="", help="A word of yours to find the job by.")
@click.option(
    "--explain",
    type=click.Choice([str(how) for how in Explain]),
    default="positives",
    show_default=True,
    help="Which findings get a heat map: those over their threshold, all, or none.",
)
@click.option("--watch", is_flag=True, help="Follow the job to its end; exit code 0: done, 4: partial, 5: failed.")
@click.option("--dry-run", is_flag=True, help="Send the files, but only count what a job would run.")
@resume_option
@client_command
def submit(session: Session, paths: tuple[Path, ...], watch: bool, resume: str | None, **request: Any) -> None:
    """Send DICOM files, folders of them and zips, and have a model predict on them.

    Only bytes that the server lacks are sent, several files at once. A zip goes whole.
    """
    collected = found_files(session, paths)
    check_model(session.client, request["model"])
    with sending(session, collected, request["label"], resume) as upload:
        answer = create_job(session.client, request | {"uploads": [upload["id"]]})
    is_job = "id" in answer
    if watch and is_job:
        answer = watch_job(session, answer["id"])
    _show(session, answer, upload)
    if is_job and JobState(answer["state"]) in FINAL_JOB_STATES:
        tell_failures(session, answer)
        end_by_state(answer)


def create_job(client: Client, request: Json) -> Json:
    """Ask for the job; the key makes it safe to ask again when the answer was lost."""
    key = {"Idempotency-Key": str(uuid4())}
    return patiently(lambda: client.post(JOBS, request, key), ATTEMPTS)


def _show(session: Session, answer: Json, upload: Json) -> None:
    if session.as_json:
        click.echo(json_text({"upload": upload, "job": answer}))
    elif "id" in answer:
        show_job(session, answer)
    else:
        session.out.print(make_table(DRY_RUN_COLUMNS, list(answer["counts"].items()), title="A job would have"))


def _count_text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{number}: {why}" for why, number in value.items())
    return str(value)
