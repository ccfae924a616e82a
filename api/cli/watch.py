"""Follows a job: a progress bar while it runs, and the exit code of its end."""

import time
from collections import Counter, defaultdict

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.cli.client import Json, patiently
from api.cli.errors import EXIT_FAILED, EXIT_PARTIAL
from api.cli.output import eta_text, plain
from api.cli.session import Session
from shared.states import FINAL_JOB_STATES, JobKind, JobState

POLL_S = 0.5
ATTEMPTS = 8  # a server that restarts is waited for
MAX_FAILED_READ = 10_000  # enough to tell the reasons; a job may have millions
REASONS_SHOWN = 8
EXIT_BY_STATE = {JobState.DONE: 0, JobState.PARTIAL: EXIT_PARTIAL}


def watch_job(session: Session, job_id: str) -> Json:
    """Poll the job until its state is final, and return it."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=session.err,
        disable=session.as_json,
    ) as progress:
        bar = progress.add_task("", total=None, note="")
        while True:
            job = patiently(lambda: session.client.get(f"/api/v1/jobs/{job_id}"), ATTEMPTS)
            what, ended, total = _advance(job)
            progress.update(bar, description=what, total=total, completed=ended, note=note_of(job))
            if JobState(job["state"]) in FINAL_JOB_STATES:
                return job
            time.sleep(POLL_S)


def _advance(job: Json) -> tuple[str, int, int | None]:
    """What is done, how much of it is, and of how much: items, or steps of a training."""
    training, counts = job["training"], job["counts"]
    if training and training["phase"] == "data":
        return "reading images", training["read"], training["to_read"]
    if training:
        return training["phase"], training["step"], training["steps"]
    doing = "verifying" if job["kind"] == JobKind.VERIFICATION else "predicting"
    return doing, counts["total"] - counts["pending"], counts["total"]


def tell_failures(session: Session, job: Json) -> None:
    """Print why items failed: a line for each reason, the commonest first."""
    if session.as_json or not job["counts"]["failed"]:
        return
    items = session.client.collect(f"/api/v1/jobs/{job['id']}/items", {"state": "failed"}, MAX_FAILED_READ)["items"]
    if len(items) < job["counts"]["failed"]:
        session.out.print(f"Of the first {len(items)} failed items:")
    texts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        texts[item["reason"]][item["detail"] or item["reason_text"] or ""] += 1
    for reason, said in sorted(texts.items(), key=lambda pair: -pair[1].total())[:REASONS_SHOWN]:
        such_as = "such as: " if len(said) > 1 else ""
        line = f"{said.total()} {reason}: {such_as}{said.most_common(1)[0][0]}"
        session.out.print(plain(line), soft_wrap=True)
    session.out.print(f"see overread job {job['id']} --items --state failed", soft_wrap=True, markup=False)


def end_by_state(job: Json) -> None:
    """Leave the program with the exit code of the job's end."""
    click.get_current_context().exit(EXIT_BY_STATE.get(JobState(job["state"]), EXIT_FAILED))


def epoch_text(training: Json) -> str:
    """The epoch, and of the ended ones which is kept, and how good the network was after that."""
    place = f"epoch {training['epoch']}/{training['epochs']}"
    if not (history := training["history"]):
        return place
    best = next((one for one in history if one["epoch"] == history[-1]["best_epoch"]), history[-1])
    auc = "" if best["val_auc"] is None else f", AUC {best['val_auc']:.4f}"
    return f"{place}, best so far {best['epoch']}: val loss {best['val_loss']:.4f}{auc}"


def note_of(job: Json) -> str:
    """What is said beside the bar: what failed, what it waits for, when it is likely to be over."""
    parts = []
    if job["counts"]["failed"]:
        parts.append(f"{job['counts']['failed']} failed")
    if job["counts"]["cancelled"]:
        parts.append(f"{job['counts']['cancelled']} cancelled")
    if training := job["training"]:
        parts.append(epoch_text(training))
    if job["waiting"]:
        parts.append(job["waiting"])
    if eta := eta_text(job):
        parts.append(f"likely over {eta}")
    return plain("; ".join(parts)).plain
