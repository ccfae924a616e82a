"""A package's golden set: read as numpy wrote it, refused in words, and never believed about its size."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import InvalidModelPackageError
from shared.golden_set import MAX_INPUTS, read_golden_set
from shared.model_package import load_contract, open_package
from tests.model_samples import accept_everything_package, add_golden_set, contract_fields, write_contract, zip_package

CONTRACT = load_contract(json.dumps(contract_fields(side=4)))
FRAMES = np.ones((3, 4, 4, 1), np.float32)
PROBABILITIES = np.full((3, 1), 0.5, np.float32)


def written(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "golden.npz", **{"frames": FRAMES, "probabilities": PROBABILITIES} | arrays)
    return folder / "golden.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_golden_set_is_read_as_numpy_wrote_it(tmp_path: Path, save: Any) -> None:
    frames = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    save(tmp_path / "golden.npz", frames=frames, probabilities=PROBABILITIES)

    golden = read_golden_set(tmp_path / "golden.npz", CONTRACT)

    np.testing.assert_array_equal(golden.frames, frames)
    np.testing.assert_array_equal(golden.probabilities, PROBABILITIES)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"frames": FRAMES.astype(np.float64)}, "frames.npy is float64 of shape (3, 4, 4, 1); expected float32"),
        ({"frames": FRAMES[:, :3]}, "expected float32 of shape (1 to 1024, 4, 4, 1)"),
        ({"frames": np.asfortranarray(np.random.rand(3, 4, 4, 1).astype(np.float32))}, "in C order"),
        ({"frames": FRAMES[:0]}, "expected float32 of shape (1 to 1024"),
        ({"frames": FRAMES * np.nan}, "frames.npy holds numbers that are not finite"),
        ({"frames": FRAMES[:2]}, "holds 2 inputs and probabilities of 3"),
        ({"probabilities": PROBABILITIES * 3}, "no logits are meant"),
        ({"probabilities": np.full((3, 2), 0.5, np.float32)}, "expected float32 of shape (1 to 1024, 1)"),
        ({"frames": np.array([object()], dtype=object)}, "frames.npy is object of shape (1,)"),
        ({"more": FRAMES}, "expected exactly frames.npy, probabilities.npy"),
    ],
)
def test_golden_set_of_another_form_is_refused_in_words(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidModelPackageError) as caught:
        read_golden_set(written(tmp_path, **arrays), CONTRACT)

    assert words in caught.value.message


def npy(header: str, data: bytes = b"") -> bytes:
    raw = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"PK not numpy",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1024, 4, 4, 1), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 4, 1), }", b"\0" * 191),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4, 4, 1), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 4, 1"),
        npy("__import__('os').system('true')"),
        b"\x93NUMPY\x03\x00\xff\xff\xff\x7f",
    ],
)
def test_golden_set_is_refused_when_its_arrays_lie(tmp_path: Path, data: bytes) -> None:
    good = io.BytesIO()
    np.save(good, PROBABILITIES)
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("frames.npy", data)
        archive.writestr("probabilities.npy", good.getvalue())

    with pytest.raises(InvalidModelPackageError):
        read_golden_set(tmp_path / "golden.npz", CONTRACT)


def test_golden_set_has_a_limit(tmp_path: Path) -> None:
    many = MAX_INPUTS + 1
    path = written(
        tmp_path, frames=np.zeros((many, 4, 4, 1), np.float32), probabilities=np.zeros((many, 1), np.float32)
    )

    with pytest.raises(InvalidModelPackageError, match=str(many)):
        read_golden_set(path, CONTRACT)


@pytest.mark.parametrize("zipped", [False, True])
def test_package_with_a_golden_set_opens_and_has_a_digest_of_its_own(tmp_path: Path, zipped: bool) -> None:
    folder = accept_everything_package(tmp_path / "package")
    without = open_package(folder, max_bytes=10**8)
    add_golden_set(folder, 3)

    opened = open_package(zip_package(folder, tmp_path / "package.zip") if zipped else folder, max_bytes=10**8)

    golden = opened.contract.proof.golden
    assert golden is not None
    assert b"".join(opened.stream(golden)) == (folder / "golden.npz").read_bytes()
    assert opened.digest != without.digest


def test_package_whose_contract_and_golden_set_disagree_is_refused(tmp_path: Path) -> None:
    folder = add_golden_set(accept_everything_package(tmp_path / "package"), 3)
    contract = json.loads((folder / "model.json").read_text())
    golden = (folder / "golden.npz").read_bytes()

    (folder / "golden.npz").unlink()
    with pytest.raises(InvalidModelPackageError, match=r"lacks golden\.npz, which model\.json names"):
        open_package(folder, max_bytes=10**8)
    del contract["proof"]
    write_contract(folder, contract)
    (folder / "golden.npz").write_bytes(golden)
    with pytest.raises(InvalidModelPackageError, match=r"holds golden\.npz, which model\.json does not name"):
        open_package(folder, max_bytes=10**8)


def test_golden_set_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder = add_golden_set(accept_everything_package(tmp_path / "package"), 3)
    add = (folder / "golden.npz").read_bytes()
    (folder / "golden.npz").write_bytes(add + b"\0")
    opened = open_package(folder, max_bytes=10**8)
    assert opened.contract.proof.golden is not None

    with pytest.raises(InvalidModelPackageError, match="was changed after the contract was written"):
        list(opened.stream(opened.contract.proof.golden))


@pytest.mark.parametrize("tolerance", [0.0, 0.011, -1.0])
def test_tolerance_beyond_a_hundredth_is_refused(tolerance: float) -> None:
    with pytest.raises(InvalidModelPackageError, match=r"proof.tolerance"):
        load_contract(json.dumps(contract_fields(proof={"tolerance": tolerance})))
