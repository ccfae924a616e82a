"""`jobs`, `job`, `watch`: what was asked for, and what becomes of it."""

from collections.abc import Callable
from typing import Any

import click

from api.cli.client import Json
from api.cli.ids import id_argument
from api.cli.output import eta_text, make_table, moment, plain, state
from api.cli.session import Session, client_command, limit_option
from api.cli.watch import end_by_state, epoch_text, tell_failures, watch_job
from shared.states import ItemState, JobState, Lane

JOBS = "/api/v1/jobs"
Columns = list[tuple[str, Callable[[Json], Any]]]


def _reason_text(item: Json) -> str:
    """The reason as other commands take it, and what is behind it in words."""
    return ": ".join(filter(None, [item["reason"], item["detail"] or item["reason_text"]]))


def evidence_text(item: Json) -> str:
    """What is known of the process that an item killed, in a line; --json shows all."""
    evidence = item["evidence"] or {}
    last_words = str(evidence.get("log") or "").strip().rpartition("\n")[2]
    parts = {
        "signal": evidence.get("signal"),
        "tries": item["tries"] if item["quarantined"] else None,
        "sha256": str(evidence.get("sha256") or "")[:DIGEST_SHOWN],
        "log": last_words,
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value)


JOB_COLUMNS: Columns = [
    ("job", lambda job: job["id"]),
    ("state", lambda job: state(job["state"])),
    ("done", lambda job: f"{job['counts']['done']}/{job['counts']['total'] - job['counts']['skipped']}"),
    ("failed", lambda job: job["counts"]["failed"]),
    ("model", lambda job: model_name(job["model"])),
    ("priority", lambda job: job["priority"]),
    ("label", lambda job: job["label"]),
    ("created", lambda job: moment(job["created_at"])),
]
SPARE_COLUMNS = ("model", "created", "priority")
ITEM_COLUMNS: Columns = [
    ("file", lambda item: item["name"]),
    ("instance", lambda item: item["sop_instance_uid"]),
    ("state", lambda item: state(item["state"])),
    ("frames", lambda item: item["frames"]),
    ("reused", lambda item: "yes" if item["reused"] else ""),
    ("reason", _reason_text),
    ("evidence", evidence_text),
]
ID_COLUMNS = ("instance",)  # to be copied in one piece
DIGEST_SHOWN = 12


def model_name(model: Json) -> str:
    """A model version as it is named on the command line."""
    return f"{model['name']}:{model['version']}"


@click.command()
@click.option("--state", type=click.Choice([str(value) for value in JobState]), help="Only these.")
@click.option("--label", help="Only jobs with this label.")
@click.option("--priority", type=click.Choice([str(lane) for lane in Lane]), help="Only jobs of this lane.")
@click.option("--find", "q", help="What a label, a model or a name begins with, or the first 8 digits of an id.")
@click.option("--mine", is_flag=True, help="Only jobs of the token's own principal.")
@limit_option
@client_command
def jobs(session: Session, mine: bool, limit: int, **filters: str | None) -> None:
    """List jobs, the newest first."""
    parameters = {name: value for name, value in filters.items() if value is not None}
    parameters |= {"mine": "true"} if mine else {}
    session.show_list(session.client.collect(JOBS, parameters, limit), JOB_COLUMNS, "There are no jobs.", SPARE_COLUMNS)


@click.command()
@id_argument("job")
@click.option("--items", "with_items", is_flag=True, help="List the outcome and reason of each item instead.")
@click.option("--state", "of_state", type=click.Choice([str(value) for value in ItemState]), help="Only items in it.")
@limit_option
@client_command
def job(session: Session, job_id: str, with_items: bool, of_state: str | None, limit: int) -> None:
    """Show a job."""
    if with_items or of_state:
        items = session.client.collect(f"{JOBS}/{job_id}/items", {"state": of_state} if of_state else {}, limit)
        session.show_list(items, ITEM_COLUMNS, "The job has no items.", whole=ID_COLUMNS)
        return
    show_job(session, session.client.get(f"{JOBS}/{job_id}"))


@click.command()
@id_argument("job")
@client_command
def watch(session: Session, job_id: str) -> None:
    """Follow a job to its end; exit code 0: done, 4: partial, 5: failed or cancelled."""
    ended = watch_job(session, job_id)
    show_job(session, ended)
    tell_failures(session, ended)
    end_by_state(ended)


def _training_rows(training: Json | None) -> list[tuple[str, Any]]:
    if training is None:
        return []
    return [
        ("training", f"{training['phase']}; {epoch_text(training)}"),
        ("why", training["why"]),
        ("dataset", training["dataset"]),
        ("new version", training["model"]),
        ("gate", gate_text(training["gate"])),
    ]


def gate_text(gate: Json | None) -> str | None:
    """What the gate said of a trained version, and why."""
    return "; ".join([gate["outcome"], *gate["reasons"]]) if gate else None


def show_job(session: Session, job: Json) -> None:
    """A job as two columns: what, and its value."""
    counts = job["counts"]
    rows = [
        ("job", job["id"]),
        ("state", state(job["state"])),
        ("items", ", ".join(f"{value} {name}" for name, value in counts.items() if value or name == "total")),
        ("model", model_name(job["model"])),
        *_training_rows(job["training"]),
        ("priority", job["priority"]),
        ("label", job["label"] or None),
        ("position", job["position"]),
        ("waiting", job["waiting"]),
        ("likely over", eta_text(job)),
        ("created", moment(job["created_at"])),
        ("started", moment(job["started_at"])),
        ("finished", moment(job["finished_at"])),
        ("retry of", job["retry_of"]),
    ]
    present = [(name, plain(value)) for name, value in rows if value is not None]
    session.show(job, lambda: make_table([("", lambda row: row[0]), ("", lambda row: row[1])], present))
