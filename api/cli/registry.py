"""`models list` and `models add`: the model packages that jobs can name."""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from api.cli.client import Client, Json
from api.cli.output import make_table, moment
from api.cli.session import Session, client_command

MODELS = "/api/v1/models"
CHUNK_BYTES = 256 * 1024

MODEL_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("model", lambda model: model["name"]),
    ("version", lambda model: model["version"]),
    ("state", lambda model: model["state"]),
    ("digest", lambda model: model["digest"][:16]),
    ("added", lambda model: moment(model["created_at"])),
]


@click.group()
def models() -> None:
    """List and add model packages."""


@models.command("list")
@client_command
def list_models(session: Session) -> None:
    """List the registered model versions."""
    session.show_list(session.client.collect(MODELS), MODEL_COLUMNS, "There are no models.")


@models.command("add")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@client_command
def add(session: Session, path: Path) -> None:
    """Register the model package at PATH: a folder or zip of model.json and its weights."""
    model = add_model(session.client, path)
    session.show(model, lambda: make_table(MODEL_COLUMNS, [model]))


def add_model(client: Client, path: Path) -> Json:
    """Send the package and return its registered version."""
    with _as_zip(path) as package:
        size_bytes = package.seek(0, 2)
        package.seek(0)
        headers = {"Content-Type": "application/zip", "Content-Length": str(size_bytes)}
        return client.stream(MODELS, iter(lambda: package.read(CHUNK_BYTES), b""), headers)


@contextmanager
def _as_zip(path: Path) -> Iterator[BinaryIO]:
    if path.is_file():
        with path.open("rb") as package:
            yield package
        return
    with tempfile.TemporaryFile() as package:
        # Weights are compressed already, or do not compress.
        with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(path.iterdir()):
                if file.is_file() and not file.name.startswith("."):
                    archive.write(file, file.name)
        yield package
