"""Fault test 19, the inside of the weights: nothing outside the file is read, no memory is taken on its word."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from shared.errors import InvalidModelPackageError
from tests.model_samples import malicious_hdf5
from worker.engines.weights import check_hdf5_weights

ATTACKS = sorted(malicious_hdf5(Path("secret")))


def weights(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((1, 2), np.float32)
        file["layers/dense/vars/1"] = np.ones(2, np.float32)
    return path


def test_weights_pass_when_they_are_numbers(tmp_path: Path) -> None:
    check_hdf5_weights(weights(tmp_path / "w.h5"))


def test_weights_pass_when_hard_links_form_a_ring(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file["layers/dense/again"] = file["layers"]

    check_hdf5_weights(path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_weights_are_refused_when_they_reach_outside_or_claim_too_much(tmp_path: Path, attack: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.full((1, 2), 42.0, np.float32)
    path = weights(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        malicious_hdf5(secret)[attack](file)

    with pytest.raises(InvalidModelPackageError, match=r"weights (hold|claim)"):
        check_hdf5_weights(path)


@pytest.mark.parametrize("keep", [0, 8, 100, 700])
def test_weights_are_refused_when_cut_short(tmp_path: Path, keep: int) -> None:
    path = weights(tmp_path / "w.h5")
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(InvalidModelPackageError, match="damaged HDF5"):
        check_hdf5_weights(path)
