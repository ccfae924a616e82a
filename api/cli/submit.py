"""`submit`: files, folders and zips in, a job out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from api.cli.client import Client, Json, patiently
from api.cli.collect import Collected, LocalFile, collect
from api.cli.errors import EXIT_INTERRUPTED
from api.cli.jobs import JOBS, show_job
from api.cli.output import json_text, make_table, plain
from api.cli.preflight import check_model, find_upload
from api.cli.session import Session, client_command
from api.cli.transfer import ATTEMPTS, Transfer, TransferResult
from api.cli.watch import end_by_state, tell_failures, watch_job
from shared.errors import OverreadError
from shared.states import FINAL_JOB_STATES, INFERENCE_LANES, Explain, FileOutcome, JobState

UPLOADS = "/api/v1/uploads"
REJECTED_SHOWN = 10
EXAMPLES_SHOWN = 3
DRY_RUN_COLUMNS: list[tuple[str, Callable[[tuple[str, Any]], Any]]] = [
    ("items", lambda count: count[0].replace("_", " ")),
    ("", lambda count: _count_text(count[1])),
]


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
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
@click.option("--resume", metavar="UPLOAD_ID", help="Continue an upload that broke off; nothing is sent twice.")
@client_command
def submit(session: Session, paths: tuple[Path, ...], watch: bool, resume: str | None, **request: Any) -> None:
    """Send DICOM files, folders of them and zips, and have a model predict on them.

    Only bytes that the server lacks are sent, several files at once. A zip goes whole.
    """
    collected = collect(paths)
    _tell_skipped(session, collected)
    if not collected.files:
        raise click.UsageError("there are no files under these paths")
    check_model(session.client, request["model"])
    before = find_upload(session.client, resume) if resume else None
    upload_id = resume or create_upload(session.client, request["label"])
    session.err.print(f"Upload {upload_id}", markup=False)
    with _saying_how_to_continue(session, upload_id):
        sent = send_files(session, upload_id, collected.files, _refused(before))
        _tell_transfer(session, sent)
        answer = create_job(session.client, request | {"uploads": [upload_id]})
    is_job = "id" in answer
    if watch and is_job:
        answer = watch_job(session, answer["id"])
    skipped = {kind: len(found) for kind, found in collected.skipped.items()}
    _show(session, answer, {"id": upload_id, "skipped": skipped} | asdict(sent))
    if is_job and JobState(answer["state"]) in FINAL_JOB_STATES:
        tell_failures(session, answer)
        end_by_state(answer)


def create_upload(client: Client, label: str) -> str:
    """Make an empty upload; returns its id."""
    return str(patiently(lambda: client.post(UPLOADS, {"label": label}), ATTEMPTS)["id"])


def create_job(client: Client, request: Json) -> Json:
    """Ask for the job; the key makes it safe to ask again when the answer was lost."""
    key = {"Idempotency-Key": str(uuid4())}
    return patiently(lambda: client.post(JOBS, request, key), ATTEMPTS)


def send_files(
    session: Session, upload_id: str, files: list[LocalFile], refused: Mapping[str, Json] | None = None
) -> TransferResult:
    """Send the files to the upload under a progress bar; `refused`: its rejected entries by sha256."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=session.err,
        disable=session.as_json,
    ) as progress:
        bar = progress.add_task(f"sending {len(files)} files", total=sum(file.size_bytes for file in files))
        transfer = Transfer(session.client, upload_id, lambda size: progress.advance(bar, size), refused)
        return transfer.run(files)


def _refused(upload: Json | None) -> dict[str, Json]:
    files = upload["files"] if upload else []
    return {file["sha256"]: file for file in files if file["outcome"] == FileOutcome.REJECTED and file["sha256"]}


@contextmanager
def _saying_how_to_continue(session: Session, upload_id: str) -> Iterator[None]:
    advice = f"What was sent is kept: continue with the same command and --resume {upload_id}"
    try:
        yield
    except OverreadError:
        session.err.print(advice, markup=False)
        raise
    except KeyboardInterrupt:
        session.err.print(advice, markup=False)
        click.get_current_context().exit(EXIT_INTERRUPTED)


def _tell_skipped(session: Session, collected: Collected) -> None:
    for kind, found in collected.skipped.items():
        examples = ", ".join(path.name for path in found[:EXAMPLES_SHOWN])
        more = ", ..." if len(found) > EXAMPLES_SHOWN else ""
        session.err.print(plain(f"skipped {len(found)} ({kind}): {examples}{more}"), soft_wrap=True)


def _tell_transfer(session: Session, sent: TransferResult) -> None:
    session.err.print(
        f"{sent.stored} stored, {sent.duplicate} already there or sent twice, {len(sent.rejected)} rejected"
    )
    for entry in sent.rejected[:REJECTED_SHOWN]:
        session.err.print(plain(f"  {entry['name']}: {entry['detail'] or entry['reason']}"))
    if len(sent.rejected) > REJECTED_SHOWN:
        session.err.print("  ... the others: overread job ID --items")


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
