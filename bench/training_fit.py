"""What `bench.training` has in a process of its own: a network as a file, and Keras' own `fit` of it."""

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

CLASSES = 10
SEED = 1


def build(name: str, path: str) -> None:
    """One of our networks, with new weights."""
    import keras

    keras.utils.set_random_seed(SEED)
    side, channels = {"mission_cnn": (32, 3), "resnet18": (28, 1)}[name]
    importlib.import_module(f"worker.networks.{name}").build(side, side, channels, CLASSES).save(path)


def fit(weights: str, frames_path: str, count: int, batch_size: int, epochs: int) -> list[dict[str, Any]]:
    """Loss and time of each epoch's end, the validation included, as a training process tells them."""
    import keras

    network = keras.models.load_model(weights, compile=False)
    frames = np.fromfile(frames_path, np.float32).reshape(-1, *network.input_shape[1:])
    classes = np.arange(len(frames)) % CLASSES
    ended: list[dict[str, Any]] = []
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: ended.append({"at": time.monotonic(), "loss": logs["loss"]})
    )
    network.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(
        frames[:count],
        classes[:count],
        validation_data=(frames[count:], classes[count:]),
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[tell],
    )
    return ended


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    act, name, *given = sys.argv[1:]
    if act == "build":
        build(name, *given)
    else:
        weights, frames_path, *numbers = given
        sys.stdout.write(json.dumps(fit(weights, frames_path, *map(int, numbers))) + "\n")
