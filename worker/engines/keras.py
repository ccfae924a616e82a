"""The reference engine: Keras on TensorFlow, the network compiled once, for one size of batch."""

import hashlib
import json
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.keras_archive import (
    ARCHIVE_NAMES,
    CONFIG_FILE,
    HDF5_FILE,
    LABEL,
    MAX_ARCHIVE_BYTES,
    MAX_CONFIG_BYTES,
    check_keras_archive,
)
from shared.model_contract import ModelContract
from shared.model_zip import CHUNK_BYTES, open_model_zip
from worker.engines.base import is_memory_exhausted
from worker.engines.probabilities import to_probabilities
from worker.engines.skeleton import check_network_size
from worker.engines.weights import check_hdf5_weights


def load_keras_engine(contract: ModelContract, weights_path: Path, *, batch_size: int) -> "KerasEngine":
    """Verify the weights, load them and make them ready to predict.

    What was copied and hashed is what is checked and loaded; nothing that the file names is imported or run before
    every check has passed. Raises InvalidModelPackageError.
    """
    with TemporaryDirectory(prefix="overread-model-") as folder:
        copy = Path(folder) / "weights.keras"
        _copy_verified(weights_path, copy, contract.weights.sha256)
        check_keras_archive(copy)
        network = _load_network(copy, Path(folder) / HDF5_FILE, batch_size=batch_size)
    _check_shapes(contract, network)
    engine = KerasEngine(contract, network, batch_size=batch_size)
    engine.prove()
    return engine


class KerasEngine:
    """A loaded network; see `worker.engines.base.Engine`."""

    name = "keras"

    def __init__(self, contract: ModelContract, network: Any, *, batch_size: int) -> None:
        self.precision = "+".join(sorted({layer.compute_dtype for layer in network.layers}))
        self._contract = contract
        self._batch_size = batch_size
        shape = contract.input
        self._compiled = _compile(network, (batch_size, shape.rows, shape.columns, shape.channels))
        self._lock = threading.Lock()

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (batch, findings), float32, of frames (batch, rows, columns, channels), float32."""
        shape = self._contract.input
        expected = (shape.rows, shape.columns, shape.channels)
        if batch.shape[1:] != expected:
            raise ValueError(f"frames of shape {batch.shape[1:]}, expected {expected}; preprocess them first")
        if not len(batch):
            return np.empty((0, len(self._contract.findings)), np.float32)
        size = self._batch_size
        with self._lock:
            outputs = [self._run(batch[start : start + size]) for start in range(0, len(batch), size)]
        return to_probabilities(self._contract, np.concatenate(outputs))

    def prove(self) -> None:
        """Predict on two made frames; raises InvalidModelPackageError when that fails or the output is misstated."""
        shape = self._contract.input
        noise = np.random.default_rng(0).random((2, shape.rows, shape.columns, shape.channels), np.float32)
        noise[1] *= 100.0
        try:
            good = bool(np.isfinite(self.predict(noise)).all())
        except Exception as error:  # whatever a layer raises, the package is at fault
            if is_memory_exhausted(error):
                raise
            raise InvalidModelPackageError(
                f"the network cannot predict on made frames ({type(error).__name__}: {str(error)[:300]})"
            ) from error
        if not good:
            raise InvalidModelPackageError(
                f"output: {self._contract.output!r} is stated, but on made frames the network gives none; state "
                "'logits' if its last layer is no sigmoid or softmax, and see that its weights hold no NaN"
            )

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # Always one shape: of another one the sums come out in another order, and a frame's answer with them.
        padded = batch
        if len(batch) < self._batch_size:
            padded = np.zeros((self._batch_size, *batch.shape[1:]), np.float32)
            padded[: len(batch)] = batch
        outputs: NDArray[np.float32] = self._compiled(padded)
        return outputs[: len(batch)]


def _compile(network: Any, shape: tuple[int, ...]) -> Any:
    """One TensorFlow graph of the network for batches of exactly this shape; numpy in, numpy out."""
    import keras
    import tensorflow as tf

    # One tensor in and one out, even where the saved network has a list or a dict of one.
    single = keras.Model(network.inputs[0], network.outputs[0])

    def forward(batch: Any) -> Any:
        return tf.cast(single(batch, training=False), tf.float32)

    graph = tf.function(forward).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    return lambda batch: graph(tf.constant(batch)).numpy()


def _copy_verified(source: Path, target: Path, sha256: str) -> None:
    seen = hashlib.sha256()
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                seen.update(chunk)
                writer.write(chunk)
    except FileNotFoundError as error:
        raise InvalidModelPackageError("the stored weights are gone; register the package again") from error
    if seen.hexdigest() != sha256:
        raise InvalidModelPackageError(
            f"the weights have sha256 {seen.hexdigest()}, the contract says {sha256}; they are not loaded: "
            "register the package again"
        )


def import_keras() -> Any:
    """Keras on TensorFlow; the first time this takes seconds."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    return keras


def warm_up() -> None:
    """What `worker.engines.child` runs before the first request."""
    import_keras()


def _load_network(path: Path, scratch: Path, *, batch_size: int) -> Any:
    """Load a file that has passed `check_keras_archive`, once its inside is known to be what it says."""
    keras = import_keras()

    config, stored_values = _inspect(path, scratch)
    try:
        check_network_size(config, stored_values, batch_size=batch_size)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except InvalidModelPackageError:
        raise
    except Exception as error:  # whatever a layer raises, the package is at fault
        if is_memory_exhausted(error):
            raise
        raise InvalidModelPackageError(
            f"Keras {keras.__version__} cannot load the weights ({type(error).__name__}: {str(error)[:300]}); "
            "save the model again with this version"
        ) from error


def _inspect(path: Path, scratch: Path) -> tuple[dict[str, Any], int]:
    """The network's `config.json`, and how many numbers its weights hold."""
    with open_model_zip(path, label=LABEL, names=ARCHIVE_NAMES, max_bytes=MAX_ARCHIVE_BYTES) as archive:
        config = json.loads(archive.read(CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES))
        with scratch.open("wb") as writer:
            for chunk in archive.stream(HDF5_FILE):
                writer.write(chunk)
    return config, check_hdf5_weights(scratch)


def _check_shapes(contract: ModelContract, network: Any) -> None:
    """Compare the network's input and output with the contract, in words."""
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise InvalidModelPackageError(
            f"the network has {len(network.inputs)} inputs and {len(network.outputs)} outputs; give it 1 of each"
        )
    given, wanted = tuple(network.inputs[0].shape), contract.input
    expected = (None, wanted.rows, wanted.columns, wanted.channels)
    if len(given) != len(expected) or any(
        side not in (None, other) for side, other in zip(given, expected, strict=True)
    ):
        raise InvalidModelPackageError(
            f"input: the network takes {given}, model.json says {expected} (batch, rows, columns, channels)"
        )
    shape = tuple(network.outputs[0].shape)
    expected_outputs = [(None, 1), (None, 2)] if contract.task == "binary" else [(None, len(contract.findings))]
    if shape not in expected_outputs:
        raise InvalidModelPackageError(
            f"findings: the network gives {shape}, but a {contract.task} model of {len(contract.findings)} finding(s) "
            f"gives {' or '.join(map(str, expected_outputs))}"
        )
    _check_output(contract, network.outputs[0]._keras_history.operation)


def _check_output(contract: ModelContract, last: Any) -> None:
    name = getattr(getattr(last, "activation", None), "__name__", type(last).__name__).lower()
    if contract.output == "logits" and name in ("sigmoid", "softmax"):
        raise InvalidModelPackageError(
            f"output: 'logits' is stated, but the network ends in {name}; state 'probabilities'"
        )
