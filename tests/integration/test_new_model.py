"""`overread models new`: a contract and a network of ours that has learnt nothing become a version to train from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from shared.model_package import open_package
from tests.command_line import Run, answer_of, command_line
from tests.conftest import Api
from tests.model_samples import contract_fields
from worker.engines.keras import load_network

NOWHERE = ("--url", "http://127.0.0.1:1")


@pytest.fixture
def run(api: Api) -> Iterator[Run]:
    with command_line(api) as running:
        yield running


def draft(folder: Path, **changes: Any) -> Path:
    """A contract as it is before there are weights."""
    fields = contract_fields(**changes)
    path = folder / "contract.json"
    path.write_text(json.dumps({name: fields[name] for name in fields if name not in ("weights", "training")}))
    return path


def alone(*words: object) -> Result:
    """The command where no server is."""
    return CliRunner().invoke(main, ["models", "new", *map(str, words), *NOWHERE])


def test_new_model_serves_and_says_that_it_learnt_nothing(api: Api, run: Run, tmp_path: Path) -> None:
    contract = draft(tmp_path, side=18)

    made = run("models", "new", contract)
    again = run("models", "new", contract, "--seed", "1")

    model = answer_of(made)
    assert (model["name"], model["version"], model["state"]) == ("sample-binary", 1, "champion")
    assert "sample-binary:1 is untrained: its probabilities mean nothing" in made.stderr
    assert "overread train sample-binary --from-scratch" in made.stderr
    card = api.get("/api/v1/models/sample-binary/versions/1/card").json
    assert card["stated_training"] == {"data_digest": "", "description": "Not trained.", "trained": False}
    assert again.exit_code == 1
    assert "there is a model called sample-binary already" in again.stderr
    assert len(api.get("/api/v1/models").json["items"]) == 1


def test_package_is_only_written_when_a_folder_is_named(tmp_path: Path) -> None:
    out = tmp_path / "made" / "package"
    findings = [{"code": code, "display": code, "threshold": 0.25} for code in "abcd"]
    proof = {"tolerance": 0.005, "golden": {"file": "golden.npz", "sha256": "f" * 64}}
    contract = draft(tmp_path, task="multiclass", channels=3, side=28, findings=findings, proof=proof)

    result = alone(contract, "--network", "resnet18", "-o", out)
    again = alone(contract, "-o", out)

    assert result.exit_code == 0, result.output
    assert "is untrained" in result.stderr
    assert sorted(path.name for path in out.parent.iterdir()) == ["package"]
    package = open_package(out, max_bytes=10**9)
    network = load_network(package.contract, out / "weights.keras", batch_size=1)
    assert (network.input_shape, network.output_shape) == ((None, 28, 28, 3), (None, 4))
    assert [finding.threshold for finding in package.contract.findings] == [0.25] * 4
    assert (package.contract.proof.tolerance, package.contract.proof.golden) == (0.005, None)
    assert again.exit_code == 2
    assert "is there already; name a folder that is not" in again.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "the contract is not JSON (Expecting property name"),
        ("[]", "Input should be an object"),
        (json.dumps(contract_fields(task="multilabel")), "says multilabel and logits: change its task or its output"),
        (json.dumps(contract_fields(output="probabilities")), "says binary and probabilities"),
        (json.dumps(contract_fields(licence=None)), "licence: got None"),
    ],
)
def test_contract_that_cannot_be_trained_is_refused_in_words(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "contract.json"
    path.write_text(text)

    result = alone(path)

    assert result.exit_code == 1, "refused before any server was asked"
    assert told in result.stderr


def test_images_too_small_for_the_network_are_refused_in_words(tmp_path: Path) -> None:
    result = alone(draft(tmp_path, side=17), "--network", "mission_cnn", "-o", tmp_path / "package")

    assert result.exit_code == 1
    assert "mission_cnn cannot take images of 17 x 17: it takes images of 18 x 18 and larger ones;" in result.stderr
    assert "use a larger input; or choose another network" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contract.json"]


def test_images_too_large_for_the_network_are_refused_before_its_weights_are_drawn(tmp_path: Path) -> None:
    result = alone(draft(tmp_path, side=4096), "--network", "mission_cnn", "-o", tmp_path / "package")

    assert result.exit_code == 1
    assert "mission_cnn cannot take images of 4096 x 4096: the network would have 42" in result.stderr
    assert "use a smaller input; or choose another network" in result.stderr


@pytest.mark.parametrize("text", ["[" * 200_000, '{"name":' + "[" * 200_000, " " * 2**20 + "{}"])
def test_contract_that_is_too_deep_or_too_long_is_refused_in_words(tmp_path: Path, text: str) -> None:
    contract = tmp_path / "contract.json"
    contract.write_text(text)

    result = alone(contract, "-o", tmp_path / "package")

    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert "the contract" in result.stderr


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("keras", "No module named keras); pip install 'overread[worker]'"),
        ("tensorflow", "tensorflow, which is not installed here; pip install tensorflow-cpu"),
    ],
)
def test_missing_packages_of_a_worker_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, told: str
) -> None:
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('No module named {missing}')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    result = alone(draft(tmp_path), "-o", tmp_path / "package")

    assert result.exit_code == 1
    assert told in result.stderr


def test_same_seed_gives_the_same_package(tmp_path: Path) -> None:
    contract = draft(tmp_path)

    def made(name: str, seed: int) -> bytes:
        result = alone(contract, "--seed", seed, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        return (tmp_path / name / "model.json").read_bytes()

    assert made("first", 1) == made("again", 1) != made("other", 2)
