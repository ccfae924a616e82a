"""`train`: a model learns from the labels, and its next version is registered."""

from typing import Any

import click

from api.cli.jobs import show_job
from api.cli.session import Session, client_command
from api.cli.submit import create_job
from api.cli.training_options import training_options, wanted_training
from api.cli.watch import end_by_state, tell_failures, watch_job


@click.command()
@click.argument("model")
@training_options
@click.option("--label", default="", help="A word of yours to find the job by.")
@click.option("--watch", is_flag=True, help="Follow the training to its end; exit code 0: done, 5: failed.")
@client_command
def train(session: Session, model: str, watch: bool, label: str, **given: Any) -> None:
    """Train MODEL, a name (its champion) or NAME:VERSION, on the labels that stand now.

    What comes of it is the next version of that name, and serves if the gate finds it better: see `models gate`.
    """
    wanted = {"kind": "training", "model": model, "label": label, "options": wanted_training(given)}
    job = create_job(session.client, wanted)
    if watch:
        session.err.print(f"Training {job['id']}; Ctrl-C does not end it, overread cancel ID does", markup=False)
        job = watch_job(session, job["id"])
    show_job(session, job)
    if watch:
        tell_failures(session, job)
        end_by_state(job)
