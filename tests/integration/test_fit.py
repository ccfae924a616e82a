"""A labelled cohort -> a model package that serves: one short training, looked at from every side."""

import contextlib
import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli.phantoms import write_cohort
from shared.model_package import open_package
from tests.model_samples import contract_fields
from worker.engines.keras import load_keras_engine
from worker.training import fit

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@dataclass(frozen=True)
class Training:
    """One run of the command and the rows it was given."""

    package: Path
    lines: list[dict[str, Any]]
    rows: list[dict[str, str]]

    def count(self, split: str) -> int:
        return sum(row["split"] == split for row in self.rows)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("fit")
    cohort = folder / "cohort"
    write_cohort(cohort, patients=8, seed=3)
    with (cohort / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        if row["split"] == "test":  # whatever touches these fails
            (cohort / row["path"]).unlink(missing_ok=True)
    contract = contract_fields(time_scope={"kind": "latest_study"})
    (folder / "contract.json").write_text(json.dumps({k: contract[k] for k in contract if k != "weights"}))
    lines = run(folder, cohort, epochs=3)
    return Training(folder / "package", lines, rows)


def run(folder: Path, cohort: Path, *, epochs: int) -> list[dict[str, Any]]:
    arguments = ["--cohort", cohort, "--labels", cohort / "labels.csv", "--contract", folder / "contract.json"]
    arguments += ["--out", folder / "package", "--epochs", epochs, "--seed", 3]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = fit.main([str(argument) for argument in arguments])
    assert status == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_fit_reads_train_and_val_and_nothing_of_test(training: Training) -> None:
    first = training.lines[0]

    assert training.count("test") > 0
    assert first == {
        "event": "data",
        "train": training.count("train"),
        "val": training.count("val"),
        "left_out": 0,
    }


def test_fit_says_a_line_an_epoch(training: Training) -> None:
    epochs = [line for line in training.lines if line["event"] == "epoch"]

    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert all(line["epochs"] == 3 and line["loss"] > 0 and line["val_loss"] > 0 for line in epochs)


def test_fit_writes_a_package_that_serves(training: Training) -> None:
    package = open_package(training.package, max_bytes=10**8)

    engine = load_keras_engine(package.contract, training.package / "weights.keras", batch_sizes=[4])

    assert sorted(path.name for path in training.package.iterdir()) == ["model.json", "weights.keras"]
    assert len(b"".join(package.stream(package.contract.weights))) > 0
    assert engine.name == "keras"
    assert package.contract.findings[0].threshold == training.lines[-1]["thresholds"][0]
    assert package.contract.training is not None
    assert len(package.contract.training.data_digest) == 64
    assert "instances of" in package.contract.training.description


def test_fit_says_what_is_wrong_when_no_file_is_there(
    tmp_path: Path, training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(training.package / "model.json", tmp_path / "contract.json")
    (tmp_path / "labels.csv").write_text("patient_id,sop_instance_uid,label,split\na,1.2,1,train\n")
    arguments = ["--cohort", tmp_path, "--labels", tmp_path / "labels.csv", "--contract", tmp_path / "contract.json"]

    status = fit.main([str(argument) for argument in [*arguments, "--out", tmp_path / "package"]])

    assert status == 1
    assert "0 instances to train on and 0 to validate on" in capsys.readouterr().err
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("changes", [{"task": "multilabel"}, {"output": "probabilities"}])
def test_fit_refuses_a_contract_that_it_cannot_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str]
) -> None:
    (tmp_path / "contract.json").write_text(json.dumps(contract_fields(**changes)))
    (tmp_path / "labels.csv").write_text("patient_id,sop_instance_uid,label,split\n")
    arguments = ["--cohort", tmp_path, "--labels", tmp_path / "labels.csv", "--contract", tmp_path / "contract.json"]

    status = fit.main([str(argument) for argument in [*arguments, "--out", tmp_path / "package"]])

    assert status == 1
    assert "binary and multiclass models that give logits" in capsys.readouterr().err
