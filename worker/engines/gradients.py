"""Heat maps of Keras networks whatever they end in: compiled Grad-CAM, for frames whose map somebody wants.

After R. R. Selvaraju et al., DOI 10.1109/ICCV.2017.74, of the logit. The gradient is summed over the map, not averaged,
and negative values stay, so that behind pooling and one dense layer it is the class activation map.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineMissingError
from shared.model_contract import ModelContract
from worker.engines.backends import TENSORFLOW, backend_name
from worker.engines.base import EXPLAINER_ENGINE, FLOAT32
from worker.engines.heads import last_features, logits
from worker.engines.keras import load_network
from worker.engines.maps import fits
from worker.engines.shapes import input_shape

Frames = NDArray[np.float32]
# Frames (size, rows, columns, channels), and what to explain of each as weights of its logits (size, outputs), to maps
# (size, map rows, map columns); all float32.
Explain = Callable[[Frames, Frames], Frames]


class GradientExplainer:
    """A loaded network that computes heat maps; see `worker.engines.base.Explainer`."""

    name = EXPLAINER_ENGINE
    precision = FLOAT32

    def __init__(self, runs: dict[int, Explain], directions: Frames, map_shape: tuple[int, int] | None) -> None:
        self.map_shape = map_shape
        self._runs = dict(sorted(runs.items()))
        self._directions = directions
        self._lock = threading.Lock()

    def explain(self, batch: Frames, wanted: NDArray[np.bool_]) -> Frames:
        """Heat maps (batch, findings, map rows, map columns), float32; 0 where none is wanted."""
        size = max(self._runs)
        places = np.argwhere(wanted)
        with self._lock:
            parts = [self._run(batch, places[start : start + size]) for start in range(0, len(places), size)]
        maps = np.zeros((*wanted.shape, *(self.map_shape or ())), np.float32)
        if parts:
            maps[wanted] = np.concatenate(parts)
        return maps

    def _run(self, batch: Frames, places: NDArray[np.intp]) -> Frames:
        """The maps of so many (frame, finding), in the smallest compiled size that holds them, filled up."""
        size = next(size for size in self._runs if size >= len(places))
        frames, findings = np.resize(places, (size, 2)).T
        return self._runs[size](batch[frames], self._directions[findings])[: len(places)]


def load_explainer(contract: ModelContract, weights_path: Path, batch_sizes: Sequence[int]) -> GradientExplainer:
    """Verify the weights, load them and make them ready; raises InvalidModelPackageError, EngineMissingError."""
    if backend_name() != TENSORFLOW:
        raise EngineMissingError("heat maps of this network are differentiated with Keras on TensorFlow only")
    import keras

    network = load_network(contract, weights_path, batch_size=max(batch_sizes))
    features, output = last_features(network), logits(network)
    directions = _directions(contract, int(output.shape[-1]))
    hides_its_logits = contract.output == "probabilities" and output is network.outputs[0]
    if features is None or hides_its_logits or not fits(len(directions), *features.shape[1:3]):
        return GradientExplainer({}, directions, None)
    trunk = keras.Model(network.inputs[0], features)
    try:
        head = keras.Model(features, output)
    except ValueError:  # the output does not come of these features alone
        return GradientExplainer({}, directions, None)
    runs = {size: _compile_for_tensorflow(contract, trunk, head, size) for size in batch_sizes}
    return GradientExplainer(runs, directions, features.shape[1:3])


def _directions(contract: ModelContract, num_outputs: int) -> Frames:
    """What the logit of each finding is made of, (findings, outputs): of two outputs of a binary network, both."""
    if contract.task == "binary" and num_outputs > 1:
        return np.array([[-1.0, 1.0]], np.float32)
    return np.eye(num_outputs, dtype=np.float32)


def _compile_for_tensorflow(contract: ModelContract, trunk: Any, head: Any, size: int) -> Explain:
    """One graph for batches of exactly this size; only the head is differentiated.

    Another backend of Keras needs its own way to the gradient, and nothing else of this file.
    """
    import tensorflow as tf

    def explain(batch: Any, directions: Any) -> Any:
        features = trunk(batch, training=False)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = tf.reduce_sum(tf.cast(head(features, training=False), tf.float32) * directions)
        return _weighted(features, tape.gradient(score, features))

    num_outputs = head.outputs[0].shape[-1]
    signature = [
        tf.TensorSpec(input_shape(contract, size), tf.float32),
        tf.TensorSpec((size, num_outputs), tf.float32),
    ]
    graph = tf.function(explain).get_concrete_function(*signature)
    return lambda batch, directions: np.asarray(graph(tf.constant(batch), tf.constant(directions)))


def _weighted(features: Any, gradient: Any) -> Any:
    """Feature maps (batch, rows, columns, channels), weighted by their summed gradient and added up."""
    from keras import ops

    weights = ops.sum(ops.cast(gradient, "float32"), axis=(1, 2), keepdims=True)
    return ops.sum(ops.cast(features, "float32") * weights, axis=-1)
