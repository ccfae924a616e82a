"""The networks that are measured, fitted a little on the same images, as model packages with a golden set."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.inference_work import WINDOW_CENTER, WINDOW_WIDTH, Images
from shared.dicom.pixels import Frame
from shared.model_contract import ModelContract
from shared.model_package import load_contract
from tests.model_samples import contract_fields, write_contract
from worker.inference.preprocess import to_input
from worker.networks import densenet121, mission_cnn, resnet18

EPOCHS = 2
BATCH_SIZE = 16
NUM_GOLDEN = 48


@dataclass(frozen=True)
class Model:
    """A package directory and what it says."""

    folder: Path
    contract: ModelContract


# Side and channels of the input, and what builds the network.
MODELS: dict[str, tuple[int, int, Callable[[], Any]]] = {
    "mission-cnn": (32, 3, lambda: mission_cnn.build(32, 32, 3, 2)),
    "resnet-18": (28, 1, lambda: resnet18.build(28, 28, 1, 2)),
    "densenet-121": (224, 3, lambda: densenet121.build(224, 224, 3, 2)),
}


def make_model(name: str, folder: Path, images: Images) -> Model:
    """Fit the network for a few epochs, and write its package."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    side, channels, build = MODELS[name]
    keras.utils.set_random_seed(1)
    network = build()
    fields = _fields(name, side, channels)
    frames = inputs(load_contract(json.dumps(fields)), images)
    network.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(frames, images.lesions.astype(np.int64), epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0)
    folder.mkdir()
    network.save(folder / "weights.keras")
    golden = frames[:NUM_GOLDEN]
    logits = np.asarray(network.predict(golden, verbose=0), np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]
    np.savez(folder / "golden.npz", frames=golden, probabilities=probabilities.astype(np.float32))
    write_contract(folder, fields)
    return Model(folder, load_contract((folder / "model.json").read_bytes()))


def inputs(contract: ModelContract, images: Images) -> NDArray[np.float32]:
    """The images, preprocessed as the product does."""
    return np.stack([to_input(_frame(at, values), contract) for at, values in enumerate(images.values, start=1)])


def _frame(number: int, values: NDArray[Any]) -> Frame:
    window = {"window_center": WINDOW_CENTER, "window_width": WINDOW_WIDTH}
    return Frame(number=number, values=values, photometric_interpretation="MONOCHROME2", bits_stored=16, **window)


def _fields(name: str, side: int, channels: int) -> dict[str, Any]:
    preprocess = {
        "units": "modality",
        "intensity": {"kind": "dicom_window"},
        "resize": "stretch",
        "normalise": {"mean": [0.5] * channels, "std": [0.25] * channels},
    }
    return contract_fields(name=f"bench-{name}", side=side, channels=channels, preprocess=preprocess)
