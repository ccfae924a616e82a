"""A network that learns in this process, in seconds: whether a frame shows a bright square."""

from io import BytesIO
from typing import Any

import numpy as np

from shared.model_contract import ModelContract
from shared.training_options import TrainingOptions
from tests.model_samples import contract_fields
from worker.engines.keras import import_keras
from worker.networks import mission_cnn
from worker.training.data import Examples
from worker.training.loop import Moment, Training
from worker.training.peers import Peers

SIDE = 24
OPTIONS = TrainingOptions(epochs=3, batch_size=8, seed=5, learning_rate=3e-3, patience_epochs=0)


def contract(**changes: Any) -> ModelContract:
    return ModelContract.model_validate(contract_fields(side=SIDE, **changes))


def examples(count: int, seed: int) -> Examples:
    """Noise; class 1 has a bright square somewhere."""
    rng = np.random.default_rng(seed)
    frames, classes = rng.normal(size=(count, SIDE, SIDE, 1)).astype(np.float32), np.arange(count) % 2
    for at in np.flatnonzero(classes):
        row, column = rng.integers(0, SIDE - 6, 2)
        frames[at, row : row + 6, column : column + 6] += 2
    return Examples(frames, np.arange(count), classes)


def make(
    options: TrainingOptions = OPTIONS,
    *,
    build: Any = mission_cnn.build,
    train: Examples | None = None,
    val: Examples | None = None,
    peers: Peers | None = None,
) -> Training:
    import_keras().utils.set_random_seed(1)
    network = build(SIDE, SIDE, 1, 2)
    return Training(network, contract(), train or examples(60, 1), val or examples(30, 2), options, peers)


def weights(training: Training) -> list[Any]:
    return list(training._network.get_weights())


def run(training: Training, steps: int | None = None) -> list[Moment]:
    moments = []
    for moment in training.moments():
        moments.append(moment)
        if len(moments) == steps:
            break
    return moments


def through_a_file(training: Training) -> Any:
    """Its state, as it comes out of a checkpoint."""
    file = BytesIO()
    np.savez(file, **training.state())
    file.seek(0)
    return np.load(file)
