"""Fault test 19: malicious `.keras` files are refused by looking at them, before Keras or any code sees them."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from shared.errors import InvalidModelPackageError
from shared.keras_archive import check_keras_archive
from tests.model_samples import malicious_configs, network_config, write_keras

ATTACKS = sorted(malicious_configs(Path("canary")))


def test_archive_passes_when_it_is_a_plain_network(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "weights.keras", network_config())

    check_keras_archive(path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_archive_is_refused_and_no_code_runs_when_the_config_is_malicious(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    path = write_keras(tmp_path / "weights.keras", malicious_configs(canary)[attack])

    with pytest.raises(InvalidModelPackageError, match="not on the list of plain Keras classes"):
        check_keras_archive(path)

    assert not canary.exists()


@pytest.mark.parametrize(
    "class_name",
    [
        "FlaxLayer",
        "IntegerLookup",
        "JaxLayer",
        "Lambda",
        "Layer",
        "Pipeline",
        "StringLookup",
        "TFSMLayer",
        "TextVectorization",
        "TorchModuleWrapper",
        "Wrapper",
    ],
)
def test_archive_is_refused_when_a_layer_can_carry_code_or_read_files(tmp_path: Path, class_name: str) -> None:
    config = network_config()
    harmless = {"module": "keras.activations", "class_name": "function", "config": "relu", "registered_name": "relu"}
    config["config"]["layers"][1] |= {"class_name": class_name, "config": {"function": harmless}}
    path = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match=f"class_name '{class_name}'"):
        check_keras_archive(path)


def test_archive_passes_when_an_activation_is_named_as_a_function(tmp_path: Path) -> None:
    config = network_config()
    config["config"]["layers"][-1]["config"]["activation"] = {
        "module": "keras.activations",
        "class_name": "function",
        "config": "relu",
        "registered_name": "relu",
    }

    check_keras_archive(write_keras(tmp_path / "weights.keras", config))


@pytest.mark.parametrize("place", ["activation", "kernel_initializer", "units", "name", "anything"])
def test_archive_is_refused_when_code_is_named_in_any_place(tmp_path: Path, place: str) -> None:
    config = network_config()
    config["config"]["layers"][-1]["config"][place] = [
        {"deep": {"class_name": "function", "module": "os", "config": "x"}}
    ]
    path = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match="not on the list"):
        check_keras_archive(path)


@pytest.mark.parametrize("class_name", [None, 1, ["Dense"], {"a": "b"}])
def test_archive_is_refused_when_a_class_name_is_no_text(tmp_path: Path, class_name: Any) -> None:
    config = network_config()
    config["config"]["layers"][-1]["class_name"] = class_name
    path = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match="not on the list"):
        check_keras_archive(path)


@pytest.mark.parametrize("config", [[], "text", 7, {}, {"class_name": "Model"}, {"class_name": "MyModel"}])
def test_archive_is_refused_when_the_config_is_no_functional_model(tmp_path: Path, config: Any) -> None:
    path = write_keras(tmp_path / "weights.keras", json.dumps(config))

    with pytest.raises(InvalidModelPackageError, match="Functional or Sequential"):
        check_keras_archive(path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 200_000, "cannot be read as JSON"),
        (json.dumps(network_config() | {"deep": json.loads("[" * 150 + "]" * 150)}), "nested deeper"),
        (" " * (5 * 1024 * 1024), "more than the"),
    ],
    ids=["cut", "bottomless", "deep", "large"],
)
def test_archive_is_refused_when_the_config_is_a_bomb(tmp_path: Path, config: str, words: str) -> None:
    path = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match=words):
        check_keras_archive(path)


def test_archive_is_refused_when_it_is_a_zip_bomb_of_a_few_kilobytes(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(network_config()))
        archive.writestr("model.weights.h5", bytes(4 * 1024 * 1024))
    assert path.stat().st_size < 8 * 1024

    with pytest.raises(InvalidModelPackageError, match="more than 200 times"):
        check_keras_archive(path)


@pytest.mark.parametrize("name", ["assets/vocabulary.txt", "model.weights.npz", "../../evil.py", "config.json.py"])
def test_archive_is_refused_when_it_holds_more_than_the_three_files(tmp_path: Path, name: str) -> None:
    path = write_keras(tmp_path / "weights.keras", network_config(), extra={name: b"x"})

    with pytest.raises(InvalidModelPackageError, match="expected exactly"):
        check_keras_archive(path)


def test_archive_is_refused_when_the_weights_are_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    np.savez_compressed(tmp_path / "bomb.npz", weights=np.zeros((1024, 1024), np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(network_config()))
        archive.write(tmp_path / "bomb.npz", "model.weights.h5")

    with pytest.raises(InvalidModelPackageError, match="is not HDF5"):
        check_keras_archive(path)


def test_archive_is_refused_when_it_is_legacy_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "weights.keras"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(network_config())

    with pytest.raises(InvalidModelPackageError, match=r"HDF5 file \(\.h5\)"):
        check_keras_archive(path)


class Bait:
    """Makes its canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def test_archive_is_refused_and_no_code_runs_when_it_is_a_pickle(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "weights.keras"
    path.write_bytes(pickle.dumps(Bait(canary)))

    with pytest.raises(InvalidModelPackageError, match="is a pickle"):
        check_keras_archive(path)

    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the bait is live
    assert canary.exists()
