"""A trained network becomes a model package: weights, the contract with its operating points, a golden set."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.keras_archive import CONFIG_FILE
from shared.model_contract import ModelContract
from shared.model_package import CONTRACT_FILE, GOLDEN_FILE, WEIGHTS_FILE, load_contract
from shared.states import Split
from worker.engines.base import Engine
from worker.engines.keras import load_keras_engine
from worker.training.samples import LEARNT_FROM, Sample
from worker.training.threshold import choose_thresholds

BATCH_SIZE = 32
# Of a .keras file: with which Keras, and when, it was saved.
METADATA_FILE = "metadata.json"
# How Keras names, by its place in memory, an object that several others share.
SHARED_OBJECT = "shared_object_id"


def write_package(
    network: Any,
    contract: ModelContract,
    samples: Sequence[Sample],
    out: Path,
    *,
    data_digest: str,
    num_golden: int = 0,
) -> ModelContract:
    """Write the package directory `out`; returns the contract as written.

    The thresholds come from the split val and the reference engine; they stay where val allows no choice. `num_golden`
    frames of val go into the golden set: only of images that may leave the house.
    """
    out.mkdir(parents=True, exist_ok=True)
    _save(network, out / WEIGHTS_FILE)
    fields = contract.model_dump(mode="json")
    fields["weights"] = {"file": WEIGHTS_FILE, "sha256": _sha256(out / WEIGHTS_FILE)}
    fields["proof"]["golden"] = None
    engine = load_keras_engine(load_contract(json.dumps(fields)), out / WEIGHTS_FILE, batch_sizes=[BATCH_SIZE])
    val = [sample for sample in samples if sample.split is Split.VAL]
    for finding, threshold in zip(fields["findings"], choose_thresholds(contract, engine, val), strict=True):
        finding["threshold"] = finding["threshold"] if threshold is None else threshold
    if num_golden:
        frames = np.concatenate([sample.frames for sample in val])[:num_golden]
        fields["proof"]["golden"] = _write_golden(out / GOLDEN_FILE, engine, frames)
    fields["training"] = {"data_digest": data_digest, "description": _describe(samples)}
    written = load_contract(json.dumps(fields))
    (out / CONTRACT_FILE).write_text(json.dumps(fields, indent=2) + "\n")
    return written


def _save(network: Any, path: Path) -> None:
    """The network's archive without time and place: the same weights are the same file, and so the same version."""
    network.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(parts[METADATA_FILE])
    parts[METADATA_FILE] = json.dumps({name: about[name] for name in sorted(about) if name != "date_saved"}).encode()
    parts[CONFIG_FILE] = json.dumps(_numbered(json.loads(parts[CONFIG_FILE]), {})).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    """A serialized network whose shared objects are named by numbers, in the order in which they come."""
    if isinstance(value, list):
        return [_numbered(one, numbers) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(one, len(numbers) + 1) if key == SHARED_OBJECT else _numbered(one, numbers)
        for key, one in value.items()
    }


def _write_golden(path: Path, engine: Engine, frames: NDArray[np.float32]) -> dict[str, str]:
    np.savez(path, frames=frames, probabilities=engine.predict(frames))
    return {"file": path.name, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(samples: Sequence[Sample]) -> str:
    parts = []
    for split in LEARNT_FROM:
        mine = [sample for sample in samples if sample.split is split]
        patients = len({sample.patient for sample in mine})
        parts.append(f"{split}: {len(mine)} instances of {patients} patients")
    return "; ".join(parts)
