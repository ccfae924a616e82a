"""`datasets list` and `datasets show`: what models learnt from."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from api.cli.client import Json
from api.cli.output import make_table, moment, plain
from api.cli.session import Session, client_command, limit_option

DATASETS = "/api/v1/datasets"
DIGEST_SHOWN = 16
Columns = list[tuple[str, Callable[[Json], Any]]]


def _size(dataset: Json, split: str) -> str:
    found = dataset["splits"][split]
    return f"{found['instances']} of {found['patients']}"


LISTED_COLUMNS: Columns = [
    ("dataset", lambda dataset: dataset["digest"][:DIGEST_SHOWN]),
    ("model", lambda dataset: dataset["model"]),
    ("train, of patients", lambda dataset: _size(dataset, "train")),
    ("val", lambda dataset: _size(dataset, "val")),
    ("holdout", lambda dataset: _size(dataset, "holdout")),
    ("left out", lambda dataset: sum(dataset["left_out"].values())),
    ("frozen", lambda dataset: moment(dataset["created_at"])),
]
SPLIT_COLUMNS: list[tuple[str, Callable[[tuple[str, Json]], Any]]] = [
    ("split", lambda row: row[0]),
    ("instances", lambda row: row[1]["instances"]),
    ("patients", lambda row: row[1]["patients"]),
    ("classes", lambda row: _counts(row[1]["classes"])),
    ("sites", lambda row: _counts(row[1]["sites"])),
    ("scanners", lambda row: _counts(row[1]["scanners"])),
]


@click.group()
def datasets() -> None:
    """See what models learnt from: lists of labelled images, frozen when a training began."""


@datasets.command("list")
@click.option("--model", help="Only what was frozen for this model.")
@limit_option
@client_command
def list_datasets(session: Session, limit: int, model: str | None) -> None:
    """List the dataset snapshots, the newest first."""
    found = session.client.collect(DATASETS, {"model": model} if model else {}, limit)
    session.show_list(found, LISTED_COLUMNS, "There are no dataset snapshots; overread train MODEL makes one.")


@datasets.command("show")
@click.argument("digest")
@client_command
def show(session: Session, digest: str) -> None:
    """Show the snapshot whose digest begins with DIGEST (8 characters or more)."""
    dataset = session.client.get(f"{DATASETS}/{quote(digest, safe='')}")

    def human() -> None:
        session.out.print(f"{dataset['digest']} for {dataset['model']}, {moment(dataset['created_at'])}", markup=False)
        session.out.print(make_table(SPLIT_COLUMNS, list(dataset["splits"].items())))
        for why, number in dataset["left_out"].items():
            session.out.print(plain(f"{number} left out: {why}"), soft_wrap=True)

    session.show(dataset, human)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
