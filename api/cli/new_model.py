"""`models new`: the first version of a model that is yet to learn, for who has labels and no network."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click

from api.cli.client import Client, Json
from api.cli.errors import StartError, WriteError
from api.cli.output import make_table
from api.cli.registry import MODEL_COLUMNS, MODELS, add_model
from api.cli.session import Session, client_command
from api.cli.training_child import run_training_module
from shared.errors import ConflictError, InvalidRequestError
from shared.model_draft import read_draft
from shared.model_package import MAX_CONTRACT_BYTES
from shared.training_options import MAX_SEED, OwnNetwork

MODULE = "new"


@click.command("new")
@click.argument("contract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--network", type=click.Choice(get_args(OwnNetwork)), default="small_resnet", show_default=True)
@click.option(
    "--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Another one: other weights."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Only write the package, into this folder, which is new."
)
@client_command
def new(session: Session, contract: Path, network: str, seed: int, output: Path | None) -> None:
    """Begin the model that CONTRACT describes with a network of ours that has learnt nothing.

    CONTRACT is a model.json in which weights, golden set and training may be left out. What such a version says means
    nothing, until `overread train NAME --from-scratch` has replaced it.
    """
    with contract.open("rb") as file:
        name = read_draft(file.read(MAX_CONTRACT_BYTES + 1)).name
    if output is None:
        _check_is_new(session.client, name, network)
        with TemporaryDirectory(prefix="overread-new-") as folder:
            model = add_model(session.client, make_package(contract, network, seed, Path(folder)))
        session.show(model, lambda: make_table(MODEL_COLUMNS, [model]))
        name = f"{name}:{model['version']}"
    else:
        _write(contract, network, seed, output)
        session.show({"package": str(output)}, lambda: f"Written to {output}; overread models add {output}")
    _warn(session, name)


def _warn(session: Session, model: str) -> None:
    name = model.partition(":")[0]
    session.err.print(
        f"{model} is untrained: its probabilities mean nothing until what comes of overread train {name} "
        "--from-scratch has replaced it",
        markup=False,
        soft_wrap=True,
    )


def _check_is_new(client: Client, name: str, network: str) -> None:
    versions = [one["version"] for one in client.collect(MODELS)["items"] if one["name"] == name]
    if versions:
        raise ConflictError(
            f"there is a model called {name} already, with {len(versions)} version(s): give the contract another name, "
            f"or have it begin anew with overread train {name} --from-scratch --network {network}"
        )


def _write(contract: Path, network: str, seed: int, output: Path) -> None:
    if output.exists():
        raise click.UsageError(f"{output} is there already; name a folder that is not")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside it, to be renamed when it is whole.
        with TemporaryDirectory(prefix=".overread-new-", dir=output.parent) as folder:
            make_package(contract, network, seed, Path(folder)).rename(output)
    except OSError as error:
        raise WriteError(f"{output} cannot be written: {error.strerror}; name another folder or mend that") from error


def make_package(contract: Path, network: str, seed: int, folder: Path) -> Path:
    """The package directory, made in `folder` by a process of its own."""
    package = folder / "package"
    refusals: list[str] = []

    def hear(event: Json) -> None:
        if event["event"] == "refused":
            refusals.append(event["message"])

    options = {"--contract": contract.resolve(), "--network": network, "--seed": seed, "--out": package}
    code = run_training_module(MODULE, options, folder, hear)
    if refusals:
        raise InvalidRequestError(refusals[0])
    if code:
        said = (folder / f"{MODULE}.log").read_text(errors="replace").splitlines()
        raise StartError(
            f"the network could not be made: its process ended with code {code}"
            + (f", and said last: {said[-1][:500]}" if said else "")
        )
    return package
