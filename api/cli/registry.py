"""`models`: the model packages that jobs can name, what runs them, and which of them serves."""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click

from api.cli.client import Client, Json
from api.cli.gates import show_card, show_gate
from api.cli.jobs import model_name
from api.cli.output import json_text, make_table, moment, plain, write_private
from api.cli.session import Session, client_command

MODELS = "/api/v1/models"
CHUNK_BYTES = 256 * 1024
PAGES = (".html", ".htm")

MODEL_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("model", lambda model: model["name"]),
    ("version", lambda model: model["version"]),
    ("state", lambda model: model["state"]),
    ("digest", lambda model: model["digest"][:16]),
    ("added", lambda model: moment(model["created_at"])),
]


PROMOTION_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("version", lambda one: one["version"]),
    ("how", lambda one: one["kind"].replace("_", " ")),
    ("by", lambda one: "the gate" if one["by_gate"] else one["by"]),
    ("since", lambda one: moment(one["created_at"])),
    ("reason", lambda one: one["reason"]),
]


reason_option = click.option("--reason", default="", help="For whoever asks later.")


@click.group()
def models() -> None:
    """List and add model packages; see what runs them, and choose which one serves."""


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


@models.command("engines")
@click.argument("model")
@click.option("--prove-again", is_flag=True, help="Have them proved again, on the images that are stored by now.")
@client_command
def show_engines(session: Session, model: str, *, prove_again: bool) -> None:
    """Show what engines were proved to do with MODEL, a name (its champion) or `name:version`."""
    name, number = _version_of(session.client, model)
    path = f"{_path_of(name, number)}/engines"
    answer = session.client.post(path) if prove_again else session.client.get(path)
    session.show(answer, lambda: _show_proofs(session, f"{name}:{number}", answer["items"]))


@models.command("gate")
@click.argument("model")
@client_command
def gate(session: Session, model: str) -> None:
    """Show how MODEL, `name:version`, compared with the champion on the patients who are held out."""
    name, number = _version_of(session.client, model)
    answer = session.client.get(f"{_path_of(name, number)}/gate")
    session.show(answer, lambda: show_gate(session, answer))


@models.command("card")
@click.argument("model")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it here: .html or .json.")
@client_command
def card(session: Session, model: str, output: Path | None) -> None:
    """Show what MODEL is for, what it learnt from, what it was shown to do, and its limits."""
    if output is not None and output.suffix not in (*PAGES, ".json"):
        raise click.UsageError(f"{output} is neither .html nor .json; name it so")
    name, number = _version_of(session.client, model)
    path = f"{_path_of(name, number)}/card"
    if output is not None and output.suffix in PAGES:
        write_private(output, session.client.text(f"{path}.html", "text/html"))
        session.err.print(f"Written to {output}", markup=False)
        return
    answer = session.client.get(path)
    if output is not None:
        write_private(output, json_text(answer))
        session.err.print(f"Written to {output}", markup=False)
    else:
        session.show(answer, lambda: show_card(session, answer))


@models.command("promote")
@click.argument("model")
@reason_option
@client_command
def promote(session: Session, model: str, *, reason: str) -> None:
    """Have MODEL, `name:version`, serve its name: for jobs that are asked for from now on."""
    name, number = _version_of(session.client, model)
    answer = session.client.post(f"{_path_of(name, number)}/promote", {"reason": reason})
    session.show(answer, lambda: make_table(MODEL_COLUMNS, [answer]))


@models.command("rollback")
@click.argument("name")
@reason_option
@client_command
def rollback(session: Session, name: str, *, reason: str) -> None:
    """Have the version that served NAME before its champion serve again; once more goes back one more."""
    if ":" in name:
        raise click.UsageError("a name is taken back to what served it before: leave the version out")
    _, number = _version_of(session.client, name)
    answer = session.client.post(f"{_path_of(name, number)}/rollback", {"reason": reason})
    session.show(answer, lambda: make_table(MODEL_COLUMNS, [answer]))


@models.command("history")
@click.argument("name")
@client_command
def history(session: Session, name: str) -> None:
    """Show which versions have served NAME, the last first."""
    path = f"{MODELS}/{quote(name, safe='')}/promotions"
    session.show_list(session.client.collect(path), PROMOTION_COLUMNS, "Nothing has served this model.")


def _version_of(client: Client, model: str) -> tuple[str, int]:
    name, colon, number = model.partition(":")
    if colon and number.isascii() and number.isdigit():
        return name, int(number)
    listed = client.collect(MODELS)["items"]
    serving = [one for one in listed if not colon and one["name"] == name and one["state"] == "champion"]
    if not serving:
        known = ", ".join(map(model_name, listed)) or "none: see overread models add and overread models new"
        raise click.UsageError(f"There is no such model version; known are: {known}.")
    return name, int(serving[0]["version"])


def _path_of(name: str, number: int) -> str:
    return f"{MODELS}/{quote(name, safe='')}/versions/{number}"


def _show_proofs(session: Session, model: str, proofs: list[Json]) -> None:
    if not proofs:
        session.out.print(f"No worker has looked at {model} yet; until one has, the reference serves.")
    for proof in proofs:
        session.out.print(plain(f"{model} on {proof['hardware']}"))
        if proof["state"] != "done":
            session.out.print(plain(f"{proof['state']}: {proof['detail'] or 'by ' + proof['worker']}"))
            continue
        drawn = f", {proof['num_drawn']} of them drawn from stored images" if proof["num_drawn"] else ""
        session.out.print(f"{proof['num_inputs']} inputs{drawn}; tolerance {proof['tolerance']:g}")
        session.out.print(make_table(_engine_columns(proof["engines"]), proof["engines"]))


def _engine_columns(engines: list[Json]) -> list[tuple[str, Callable[[Json], Any]]]:
    """With a column for each size of batch that was timed."""
    sizes = sorted({int(size) for engine in engines for size in engine["images_per_s"]})
    timed = [(f"{size} at once, /s", lambda engine, size=size: engine["images_per_s"].get(str(size))) for size in sizes]
    return [
        ("engine", lambda engine: engine["engine"]),
        ("precision", lambda engine: engine["precision"]),
        ("in parts of", lambda engine: engine["part_size"] or ""),
        ("proof", lambda engine: engine["standing"]),
        ("difference", lambda engine: engine["max_difference"]),
        *timed,
        ("loaded in, s", lambda engine: engine["load_s"]),
        ("serves", lambda engine: "yes" if engine["serves"] else ""),
        ("why", lambda engine: engine["detail"]),
    ]


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
