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
from worker.training.settle import settled_findings

BATCH_SIZE = 32
NOT_TRAINED = "Not trained."
# Of a .keras file: with which Keras, and when, it was saved.
METADATA_FILE = "metadata.json"
# In a network's config: objects of the same one are one.
SHARED_ID = "shared_object_id"


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

    Thresholds and calibrations come from the split val and the reference engine. `num_golden`
    frames of val go into the golden set: only of images that may leave the house.
    """
    fields, engine = _begun(network, contract, out)
    val = [sample for sample in samples if sample.split is Split.VAL]
    fields["findings"] = [one.model_dump(mode="json") for one in settled_findings(contract, engine, val)]
    if num_golden:
        frames = np.concatenate([sample.frames for sample in val])[:num_golden]
        fields["proof"]["golden"] = _write_golden(out / GOLDEN_FILE, engine, frames)
    return _ended(fields, out, {"data_digest": data_digest, "description": _describe(samples)})


def write_untrained_package(network: Any, contract: ModelContract, out: Path) -> ModelContract:
    """Write the package directory `out` of a network that has learnt nothing, and says so; the thresholds stay."""
    fields, _ = _begun(network, contract, out)
    return _ended(fields, out, {"data_digest": "", "description": NOT_TRAINED, "trained": False})


def _begun(network: Any, contract: ModelContract, out: Path) -> tuple[dict[str, Any], Engine]:
    """Save the network: the contract's fields that name the file, and the reference engine that runs it."""
    out.mkdir(parents=True, exist_ok=True)
    _save(network, out / WEIGHTS_FILE)
    fields = contract.model_dump(mode="json")
    fields["weights"] = {"file": WEIGHTS_FILE, "sha256": _sha256(out / WEIGHTS_FILE)}
    fields["proof"]["golden"] = None
    engine = load_keras_engine(load_contract(json.dumps(fields)), out / WEIGHTS_FILE, batch_sizes=[BATCH_SIZE])
    return fields, engine


def _ended(fields: dict[str, Any], out: Path, training: dict[str, Any]) -> ModelContract:
    fields["training"] = training
    written = load_contract(json.dumps(fields))
    (out / CONTRACT_FILE).write_text(json.dumps(fields, indent=2) + "\n")
    return written


def _save(network: Any, path: Path) -> None:
    """The network's archive without time and addresses: the same weights are the same file, and so the same version."""
    network.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(parts[METADATA_FILE])
    parts[METADATA_FILE] = json.dumps({name: about[name] for name in sorted(about) if name != "date_saved"}).encode()
    parts[CONFIG_FILE] = json.dumps(_with_small_ids(json.loads(parts[CONFIG_FILE]), {})).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def _with_small_ids(part: Any, numbers: dict[int, int]) -> Any:
    """The config with ids that count from 1 as they come: Keras takes where an object lies in this process's memory."""
    if isinstance(part, list):
        return [_with_small_ids(one, numbers) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: numbers.setdefault(value, len(numbers) + 1) if name == SHARED_ID else _with_small_ids(value, numbers)
        for name, value in part.items()
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
