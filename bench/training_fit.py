"""What `bench.training` has in a process of its own: a network as a file, and Keras' own `fit` of it."""

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

from bench.training import CLASSES, LEARNING_RATE, NETWORKS

SEED = 1


def build(name: str, path: str) -> None:
    """One of our networks, with new weights."""
    import keras

    keras.utils.set_random_seed(SEED)
    shape = NETWORKS[name]
    module = importlib.import_module(f"worker.networks.{name}")
    module.build(shape.side, shape.side, shape.channels, CLASSES).save(path)


def fit(name: str, weights: str, frames_path: str, epochs: str) -> list[dict[str, Any]]:
    """Loss and time of each epoch's end, the validation included, as a training process tells them."""
    import keras

    network = keras.models.load_model(weights, compile=False)
    count = NETWORKS[name].count
    frames = np.fromfile(frames_path, np.float32).reshape(-1, *network.input_shape[1:])
    classes = np.arange(len(frames)) % CLASSES
    ended: list[dict[str, Any]] = []
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: ended.append({"at": time.monotonic(), "loss": logs["loss"]})
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(LEARNING_RATE), loss)
    network.fit(
        frames[:count],
        classes[:count],
        validation_data=(frames[count:], classes[count:]),
        batch_size=NETWORKS[name].batch_size,
        epochs=int(epochs),
        verbose=0,
        callbacks=[tell],
    )
    return ended


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    act, *given = sys.argv[1:]
    if act == "build":
        build(*given)
    else:
        sys.stdout.write(json.dumps(fit(*given)) + "\n")
