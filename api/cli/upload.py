"""`upload`: files, folders and zips in, to be stored and indexed; and how every command sends them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from api.cli.client import Client, Json, patiently
from api.cli.collect import Collected, LocalFile, collect
from api.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PARTIAL
from api.cli.output import plain
from api.cli.preflight import find_upload
from api.cli.session import Session, client_command
from api.cli.transfer import ATTEMPTS, Transfer, TransferResult
from shared.errors import OverreadError
from shared.states import FileOutcome

UPLOADS = "/api/v1/uploads"
REJECTED_SHOWN = 10
EXAMPLES_SHOWN = 3

paths_argument = click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
resume_option = click.option(
    "--resume", metavar="UPLOAD_ID", help="Continue an upload that broke off; nothing is sent twice."
)


@click.command()
@paths_argument
@click.option("--label", default="", help="A word of yours to find the upload by.")
@resume_option
@client_command
def upload(session: Session, paths: tuple[Path, ...], label: str, resume: str | None) -> None:
    """Send DICOM files, folders of them and zips, without any job: to learn from, or for jobs to come.

    Only bytes that the server lacks are sent, several files at once. A zip goes whole. Exit code 4: some were rejected,
    5: all.
    """
    with sending(session, found_files(session, paths), label, resume) as sent:
        session.show(sent, lambda: sent["id"])
    if sent["rejected"]:
        is_all = not sent["stored"] and not sent["duplicate"]
        click.get_current_context().exit(EXIT_FAILED if is_all else EXIT_PARTIAL)


def found_files(session: Session, paths: tuple[Path, ...]) -> Collected:
    """What there is to send, after saying what is passed over; raises UsageError where that is nothing."""
    collected = collect(paths)
    _tell_skipped(session, collected)
    if not collected.files:
        raise click.UsageError("there are no files under these paths")
    return collected


@contextmanager
def sending(session: Session, collected: Collected, label: str, resume: str | None) -> Iterator[Json]:
    """Send the files, say what became of them, and give that: what fails from then on is told how to continue."""
    before = find_upload(session.client, resume) if resume else None
    upload_id = resume or create_upload(session.client, label)
    session.err.print(f"Upload {upload_id}", markup=False)
    with _saying_how_to_continue(session, upload_id):
        sent = send_files(session, upload_id, collected.files, _refused(before))
        _tell_transfer(session, sent)
        skipped = {kind: len(found) for kind, found in collected.skipped.items()}
        yield {"id": upload_id, "skipped": skipped} | asdict(sent)


def create_upload(client: Client, label: str) -> str:
    """Make an empty upload; returns its id."""
    return str(patiently(lambda: client.post(UPLOADS, {"label": label}), ATTEMPTS)["id"])


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
        session.err.print("  ... the others: --json tells of all, and of a job overread job ID --items", markup=False)
