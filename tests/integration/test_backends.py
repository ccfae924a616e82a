"""Keras on TensorFlow, JAX and torch: the same answers, told apart, and words where something is missing."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import EngineMissingError
from shared.model_package import open_package
from tests.backend_answers import answers
from tests.model_samples import accept_everything_package, add_golden_set, contract_fields, write_contract
from worker.engines import backends
from worker.engines.backends import JAX, TORCH, this_backend
from worker.engines.base import FLOAT32, KERAS, MIXED_BFLOAT16, OPENVINO
from worker.engines.device import Device
from worker.engines.host import EngineHost
from worker.engines.keras import import_keras, load_keras_engine, load_network
from worker.engines.mixed import in_mixed_precision
from worker.engines.proof import Inputs, Proof, Standing
from worker.engines.requests import ServedModel
from worker.engines.wire import ENGINES_TARGET

TIMEOUT_S = 240.0
# JAX comes with the extra `dev`; torch is large, and tested where it is there.
OTHERS = [name for name in (JAX, TORCH) if name == JAX or find_spec(name)]

# Keras's own conversion of TensorFlow variables, when it saves a network.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with branches, attention, a normalisation that was fitted, and operations of `keras.ops`."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((32, 32, 3), name="image")
    normalised = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(image))
    joined = keras.ops.relu(normalised + layers.Conv2D(4, 1, activation="gelu")(image)) * 2.0
    cells = layers.Reshape((-1, 4))(layers.MaxPooling2D(4)(joined[:, 1:, :, :]))
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 2)(cells, cells))
    network = keras.Model({"image": image}, {"logits": layers.Dense(3)(layers.Dropout(0.5)(pooled))})
    network.layers[2].moving_variance.assign(np.full(4, 0.5, np.float32))
    folder = accept_everything_package(tmp_path_factory.mktemp("backends"), task="multilabel", channels=3)
    network.save(folder / "weights.keras")
    write_contract(folder, contract_fields(task="multilabel", channels=3))
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven, dark to bright, in a file."""
    brightness = np.linspace(0.1, 4.0, 7, dtype=np.float32)
    made = np.random.default_rng(0).random((7, 32, 32, 3), np.float32) * brightness[:, None, None, None]
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(path, made)
    return path


@pytest.fixture(scope="module")
def expected(package: Path, frames: Path) -> NDArray[np.float64]:
    """What the network gives when Keras calls it eagerly, on the backend of this process."""
    keras = import_keras()
    network = keras.saving.load_model(package / "weights.keras")
    logits = keras.ops.convert_to_numpy(network({"image": np.load(frames)}, training=False)["logits"])
    return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))


def check_answers(said: dict[str, Any], name: str, expected: NDArray[np.float64]) -> None:
    assert said["engine"] == [name, FLOAT32]
    np.testing.assert_allclose(said["float32"], expected, atol=1e-5)
    assert said["half_engine"] == [name, MIXED_BFLOAT16]
    assert 1e-5 < np.abs(np.array(said["half"]) - expected).max() < 0.01
    assert said["knows_exhausted_memory"]


def test_keras_gives_what_the_network_gives_when_it_is_on_tensorflow(
    package: Path, frames: Path, expected: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends.TensorFlowBackend, "has_gpu", lambda self: True)

    check_answers(answers(package, frames), "keras", expected)


@pytest.mark.parametrize("backend", OTHERS)
def test_keras_gives_the_same_when_it_is_on_another_backend(
    backend: str, package: Path, frames: Path, expected: NDArray[np.float64]
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.backend_answers", str(package), str(frames)],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    check_answers(json.loads(run.stdout.splitlines()[-1]), f"keras-{backend}", expected)


def test_proof_on_another_backend_says_what_openvino_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engines.proof.ROUND_S", 0.01)
    monkeypatch.setenv("KERAS_BACKEND", JAX)
    folder = add_golden_set(accept_everything_package(tmp_path / "package"))
    opened = open_package(folder, max_bytes=10**8)
    model = ServedModel(opened.digest, opened.contract, folder / "weights.keras")
    with np.load(folder / "golden.npz") as golden:
        inputs = Inputs(golden["frames"], golden["probabilities"])
    limits = {"timeout_s": TIMEOUT_S, "load_timeout_s": TIMEOUT_S}
    host = EngineHost(target=ENGINES_TARGET, batch_size=4, cache=tmp_path / "cache", **limits)

    try:
        reference, float32, _ = Proof(host, model, Device(4), lambda: None).run(inputs)
    finally:
        host.discard()

    assert (reference.engine, reference.standing, reference.serves) == ("keras-jax", Standing.PASSED, True)
    assert (float32.engine, float32.standing) == (OPENVINO, Standing.UNAVAILABLE)
    assert "TensorFlow's graph" in float32.detail
    assert "KERAS_BACKEND=jax" in float32.detail


def test_keras_says_what_is_expected_when_the_backend_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "abacus")

    with pytest.raises(EngineMissingError, match="'abacus'; expected tensorflow, jax, torch"):
        this_backend.__wrapped__()


def test_keras_says_what_to_install_when_the_backend_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", TORCH)
    monkeypatch.setitem(sys.modules, TORCH, None)

    with pytest.raises(EngineMissingError, match="not installed here; pip install torch"):
        this_backend.__wrapped__()


def test_half_precision_is_not_there_without_a_gpu(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.TensorFlowBackend, "has_gpu", lambda self: False)
    contract = open_package(package, max_bytes=10**8).contract

    with pytest.raises(EngineMissingError, match="mixed_bfloat16 is for GPUs"):
        load_keras_engine(contract, package / "weights.keras", [1], MIXED_BFLOAT16)


def test_half_precision_is_in_every_layer_but_the_last_and_not_in_the_weights(package: Path) -> None:
    contract = open_package(package, max_bytes=10**8).contract
    network = load_network(contract, package / "weights.keras", batch_size=1)

    mixed = in_mixed_precision(network, MIXED_BFLOAT16)

    kinds = {layer.name: layer.compute_dtype for layer in mixed.layers if layer.variables}
    assert set(kinds.values()) == {"bfloat16", "float32"}
    assert [name for name, kind in kinds.items() if kind == "float32"] == [mixed.layers[-1].name]
    assert {layer.compute_dtype for layer in mixed._flatten_layers() if "query" in layer.name} == {"bfloat16"}
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for given, wanted in zip(mixed.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_engines_on_other_backends_are_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert backends.keras_engine_name() == KERAS
    monkeypatch.setenv("KERAS_BACKEND", JAX)
    assert backends.keras_engine_name() == "keras-jax"


def test_process_imports_nothing_needless_and_still_can() -> None:
    script = (
        "import sys; from worker.engines.keras import import_keras; import_keras()\n"
        "assert {'tensorflow', 'keras'} <= set(sys.modules)\n"
        "assert not {'jax', 'sklearn'} & set(sys.modules), 'they cost a second'\n"
        "import jax, sklearn.base\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )

    assert done.returncode == 0, done.stderr
