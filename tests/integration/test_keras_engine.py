"""The Keras engine on real packages: right probabilities, compiled once a batch size, and malice refused."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.model_package import ModelContract, load_contract, open_package
from tests.model_samples import (
    accept_everything_package,
    contract_fields,
    lambda_config,
    malicious_configs,
    malicious_hdf5,
    network_config,
    write_keras,
)
from worker.engines import keras as keras_engine
from worker.engines.backends import TensorFlowBackend
from worker.engines.compiled import CompiledEngine
from worker.engines.keras import load_keras_engine
from worker.engines.shapes import Shape
from worker.networks import mission_cnn

# Keras's own conversion of TensorFlow variables, when it saves a network.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SLOPE = 4.0


def load(folder: Path, batch_size: int = 32) -> CompiledEngine:
    contract = open_package(folder, max_bytes=10**8).contract
    return load_keras_engine(contract, folder / "weights.keras", batch_sizes=[batch_size])


def contract_for(weights: Path, **changes: Any) -> ModelContract:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    fields = contract_fields(**changes) | {"weights": {"file": "weights.keras", "sha256": digest}}
    return load_contract(json.dumps(fields))


def frames(count: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 32, 32, channels), np.float32)


def expected_logits(batch: NDArray[np.float32], num_outputs: int) -> NDArray[np.float64]:
    means = batch.mean(axis=(1, 2, 3), dtype=np.float64)
    return SLOPE * np.arange(1, num_outputs + 1) * (means[:, np.newaxis] - 0.5)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


@pytest.fixture(scope="session")
def binary_engine(tmp_path_factory: pytest.TempPathFactory) -> CompiledEngine:
    return load(accept_everything_package(tmp_path_factory.mktemp("binary")))


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ({"task": "binary", "num_outputs": 1}, lambda batch: sigmoid(expected_logits(batch, 1))),
        ({"task": "binary"}, lambda batch: softmax(expected_logits(batch, 2))[:, 1:]),
        ({"task": "multiclass", "channels": 3}, lambda batch: softmax(expected_logits(batch, 3))),
        ({"task": "multilabel"}, lambda batch: sigmoid(expected_logits(batch, 3))),
        (
            {"task": "binary", "num_outputs": 1, "output": "probabilities", "activation": "sigmoid"},
            lambda batch: sigmoid(expected_logits(batch, 1)),
        ),
        (
            {"task": "multiclass", "output": "probabilities", "activation": "softmax"},
            lambda batch: softmax(expected_logits(batch, 3)),
        ),
    ],
)
def test_engine_gives_the_probabilities_of_the_contract(tmp_path: Path, package: dict[str, Any], expected: Any) -> None:
    engine = load(accept_everything_package(tmp_path, slope=SLOPE, **package))
    batch = frames(5, package.get("channels", 1)) * np.linspace(0.2, 1.0, 5, dtype=np.float32)[:, None, None, None]

    probabilities = engine.predict(batch)

    assert probabilities.dtype == np.float32
    assert (engine.name, engine.precision) == ("keras", "float32")
    np.testing.assert_allclose(probabilities, expected(batch), atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 16, 17, 32, 33, 70])
def test_engine_gives_the_same_however_frames_are_batched(binary_engine: CompiledEngine, count: int) -> None:
    batch = frames(count)

    probabilities = binary_engine.predict(batch)

    assert probabilities.shape == (count, 1)
    np.testing.assert_allclose(probabilities, softmax(expected_logits(batch, 2))[:, 1:], atol=1e-5)


def test_engine_compiles_once_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Shape] = []
    graph = TensorFlowBackend.graph
    monkeypatch.setattr(
        TensorFlowBackend,
        "graph",
        lambda self, forward, shape: shapes.append(shape) or graph(self, forward, shape),
    )

    engine = load(accept_everything_package(tmp_path), batch_size=20)
    for count in (1, 2, 9, 17, 20, 41, 1):
        engine.predict(frames(count))

    assert shapes == [(20, 32, 32, 1)]


def test_engine_gives_each_thread_its_own_answer_when_threads_call_at_once(binary_engine: CompiledEngine) -> None:
    batches = [frames(count, seed=count) for count in range(1, 41)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(binary_engine.predict, batches))

    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, softmax(expected_logits(batch, 2))[:, 1:], atol=1e-5)


def test_engine_refuses_a_batch_of_another_shape(binary_engine: CompiledEngine) -> None:
    with pytest.raises(ValueError, match="preprocess them first"):
        binary_engine.predict(np.zeros((1, 32, 31, 1), np.float32))


def test_engine_marks_only_the_frame_that_is_not_finite(binary_engine: CompiledEngine) -> None:
    batch = frames(3)
    batch[1, 0, 0, 0] = np.nan

    probabilities = binary_engine.predict(batch)

    assert np.isnan(probabilities).ravel().tolist() == [False, True, False]


def test_engine_loads_what_keras_saved_when_the_network_is_the_missions(tmp_path: Path) -> None:
    import keras

    network = mission_cnn.build(32, 32, 1, 2)
    network.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.save(tmp_path / "weights.keras")
    engine = load_keras_engine(contract_for(tmp_path / "weights.keras"), tmp_path / "weights.keras", batch_sizes=[4])

    probabilities = engine.predict(frames(6))

    logits = np.asarray(network(frames(6)), np.float64)
    np.testing.assert_allclose(probabilities, softmax(logits)[:, 1:], atol=1e-5)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Conv2D", "MaxPooling2D", "Conv2D", "MaxPooling2D", "Conv2D", "Flatten", "Dense", "Dense"]


def test_engine_loads_a_residual_network_with_named_input_and_output(tmp_path: Path) -> None:
    import keras

    image = keras.Input((32, 32, 3), name="image")
    convolved = keras.layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(image)
    normalised = keras.layers.BatchNormalization()(convolved)
    joined = keras.ops.relu(normalised + keras.layers.Conv2D(4, 1, activation=keras.activations.gelu)(image)) * 2.0
    pooled = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(joined[:, 1:, :, :]))
    network = keras.Model({"image": image}, {"logits": keras.layers.Dense(3)(pooled)})
    network.save(tmp_path / "weights.keras")
    contract = contract_for(tmp_path / "weights.keras", task="multilabel", channels=3)

    probabilities = load_keras_engine(contract, tmp_path / "weights.keras", batch_sizes=[4]).predict(frames(2, 3))

    logits = np.asarray(network({"image": frames(2, 3)}, training=False)["logits"], np.float64)
    np.testing.assert_allclose(probabilities, sigmoid(logits), atol=1e-5)


def test_engine_refuses_weights_of_another_digest(tmp_path: Path) -> None:
    folder = accept_everything_package(tmp_path)
    contract = open_package(folder, max_bytes=10**8).contract
    write_keras(folder / "weights.keras", network_config(), bias=[9.0, 9.0])

    with pytest.raises(InvalidModelPackageError, match="register the package again"):
        load_keras_engine(contract, folder / "weights.keras", batch_sizes=[4])


def test_engine_blames_no_package_when_memory_is_exhausted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    monkeypatch.setattr(keras_engine, "_run_in", lambda graph: exhausted)

    with pytest.raises(MemoryError):
        load(accept_everything_package(tmp_path))


@pytest.mark.parametrize("attack", sorted(malicious_configs(Path("canary"))))
def test_engine_refuses_before_any_code_runs_when_the_config_is_malicious(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    weights = write_keras(tmp_path / "weights.keras", malicious_configs(canary)[attack])

    with pytest.raises(InvalidModelPackageError, match="not on the list of plain Keras classes"):
        load_keras_engine(contract_for(weights), weights, batch_sizes=[4])

    assert not canary.exists()


def test_canary_is_made_when_the_lambda_is_loaded_unguarded(tmp_path: Path) -> None:
    import keras

    canary = tmp_path / "canary"
    weights = write_keras(tmp_path / "weights.keras", lambda_config(canary))

    keras.saving.load_model(weights, safe_mode=False)

    assert canary.exists()


@pytest.mark.parametrize("attack", sorted(malicious_hdf5(Path("secret"))))
def test_engine_refuses_when_the_weights_reach_outside_or_claim_too_much(tmp_path: Path, attack: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.zeros((1, 2), np.float32)
    weights = write_keras(tmp_path / "weights.keras", network_config(), hdf5=malicious_hdf5(secret)[attack])

    with pytest.raises(InvalidModelPackageError, match=r"weights (hold|claim)"):
        load_keras_engine(contract_for(weights), weights, batch_sizes=[4])


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ({"input": {"rows": 64, "columns": 32, "channels": 1}}, "input: the network takes (None, 32, 32, 1)"),
        ({"num_outputs": 3}, "findings: the network gives (None, 3), but a binary model of 1 finding(s) gives"),
        ({"task": "multilabel", "num_outputs": 2}, "gives (None, 3)"),
        ({"output": "logits", "activation": "softmax"}, "ends in softmax; state 'probabilities'"),
        ({"output": "probabilities"}, "output: 'probabilities' is stated, but on made frames the network gives none"),
        ({"slope": float("nan")}, "see that its weights hold no NaN"),
    ],
)
def test_engine_says_what_differs_when_contract_and_network_disagree(
    tmp_path: Path, package: dict[str, Any], words: str
) -> None:
    folder = accept_everything_package(tmp_path, **package)

    with pytest.raises(InvalidModelPackageError) as caught:
        load(folder)

    assert words in caught.value.message


def test_engine_says_so_when_keras_cannot_load_the_weights(tmp_path: Path) -> None:
    weights = write_keras(tmp_path / "weights.keras", network_config(outputs=2), kernel=np.zeros((7, 2)))

    with pytest.raises(InvalidModelPackageError, match="save the model again with this version"):
        load_keras_engine(contract_for(weights), weights, batch_sizes=[4])


def test_engine_refuses_at_once_when_the_network_is_larger_than_its_weights(tmp_path: Path) -> None:
    config = network_config(outputs=10**9)
    config["config"]["layers"].insert(-1, config["config"]["layers"][-1] | {"config": {"units": 10**9, "name": "wide"}})
    weights = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match=r"has 1000000003000000000 weights, but 4 are stored"):
        load_keras_engine(contract_for(weights), weights, batch_sizes=[4])


def test_engine_refuses_at_once_when_a_layer_gives_too_much(tmp_path: Path) -> None:
    config = network_config()
    widened = {"module": "keras.layers", "class_name": "UpSampling2D", "config": {"size": [10**5, 10**5], "name": "up"}}
    config["config"]["layers"].insert(1, widened)
    weights = write_keras(tmp_path / "weights.keras", config)

    with pytest.raises(InvalidModelPackageError, match=r"a layer gives 10240000000000 values for one frame"):
        load_keras_engine(contract_for(weights), weights, batch_sizes=[4])
