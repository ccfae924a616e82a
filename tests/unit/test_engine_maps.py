"""Heat maps of engines: the closed form is the logit's gradient map, engines agree, and nothing untrue is believed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from shared.model_contract import ModelContract
from shared.model_package import load_contract
from shared.states import Explain
from tests.model_samples import accept_everything_package, contract_fields, write_contract
from tests.onnx_samples import channels_first, mean_network, onnx_package, pooled_network
from worker.engines.gradients import load_explainer
from worker.engines.keras import load_keras_engine
from worker.engines.maps import MAX_CELLS, checked_shape, pack, unpack, wanted_maps
from worker.engines.onnxruntime import load_onnxruntime_engine
from worker.engines.openvino import load_openvino_engine
from worker.networks import mission_cnn, pooled_cnn

SIDE, COUNT = 32, 5
SIZES = (8,)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def package(folder: Path, network: Any, **changes: Any) -> ModelContract:
    network.save(folder / "weights.keras")
    write_contract(folder, contract_fields(side=SIDE, **changes))
    return load_contract((folder / "model.json").read_bytes())


def frames() -> NDArray[np.float32]:
    return np.random.default_rng(2).random((COUNT, SIDE, SIDE, 1), np.float32)


def pooled(outputs: int, activation: str = "linear", *, normalised: bool = False) -> Any:
    """A network with a pooling head and, between pooling and dense layer, what changes nothing or folds."""
    import keras

    base = pooled_cnn.build(SIDE, SIDE, 1, outputs)
    features = base.layers[-3].output
    pool = keras.layers.GlobalAveragePooling2D(keepdims=normalised)(features)
    if normalised:
        scale = keras.layers.BatchNormalization()
        pool = keras.layers.Dropout(0.5)(keras.layers.Flatten()(scale(pool)))
        numbers = np.random.default_rng(1).random((4, features.shape[-1])) + 0.5
        scale.set_weights(list(numbers))
    return keras.Model(base.inputs[0], keras.layers.Dense(outputs, activation=activation)(pool))


@pytest.mark.parametrize(
    ("network", "contract"),
    [
        ({"outputs": 2}, {}),
        ({"outputs": 1, "normalised": True}, {}),
        ({"outputs": 2, "activation": "softmax"}, {"output": "probabilities"}),
        ({"outputs": 3, "activation": "sigmoid"}, {"output": "probabilities", "task": "multilabel"}),
        ({"outputs": 3}, {"task": "multiclass"}),
    ],
)
def test_closed_form_is_the_gradient_map_of_the_logit(
    tmp_path: Path, network: dict[str, Any], contract: dict[str, Any]
) -> None:
    import keras

    keras.utils.set_random_seed(3)
    stated = package(tmp_path, pooled(**network), **contract)

    engine = load_keras_engine(stated, tmp_path / "weights.keras", SIZES)
    probabilities, maps = engine.predict_with_maps(frames())
    explainer = load_explainer(stated, tmp_path / "weights.keras", (1, 4))
    gradients = explainer.explain(frames(), np.ones_like(probabilities, np.bool_))

    assert maps is not None
    assert engine.map_shape == explainer.map_shape == (SIDE // 4, SIDE // 4)
    assert maps.shape == (COUNT, len(stated.findings), SIDE // 4, SIDE // 4)
    assert np.abs(maps).max() > 1e-3
    np.testing.assert_allclose(maps, gradients, atol=1e-5)


@pytest.mark.parametrize("part_size", [0, 2])
def test_openvino_gives_the_same_maps_and_no_output_changes_by_them(tmp_path: Path, part_size: int) -> None:
    import keras

    keras.utils.set_random_seed(3)
    network = pooled(2)
    stated = package(tmp_path, network)
    logits = np.asarray(network(frames()), np.float64)

    probabilities, maps = load_keras_engine(stated, tmp_path / "weights.keras", SIZES).predict_with_maps(frames())
    weights, cache = tmp_path / "weights.keras", tmp_path / "cache"
    fast = load_openvino_engine(stated, weights, "float32", SIZES, cache, part_size=part_size)
    other_probabilities, other_maps = fast.predict_with_maps(frames())

    np.testing.assert_allclose(probabilities[:, 0], 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), atol=1e-6)
    np.testing.assert_allclose(other_probabilities, probabilities, atol=1e-6)
    assert maps is not None
    assert other_maps is not None
    np.testing.assert_allclose(other_maps, maps, atol=1e-5)


def test_network_without_pooling_head_is_left_to_the_gradient(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    stated = package(tmp_path, mission_cnn.build(SIDE, SIDE, 1, 2))

    engine = load_keras_engine(stated, tmp_path / "weights.keras", SIZES)
    explainer = load_explainer(stated, tmp_path / "weights.keras", (1, 4))
    wanted = np.array([[True], [False], [True], [True], [True]])
    maps = explainer.explain(frames(), wanted)

    assert (engine.map_shape, engine.predict_with_maps(frames())[1]) == (None, None)
    assert explainer.map_shape == (4, 4)
    assert np.abs(maps).max(axis=(1, 2, 3)).astype(bool).tolist() == wanted.ravel().tolist()
    # A frame's map does not depend on what is explained together with it.
    np.testing.assert_allclose(maps[4], explainer.explain(frames()[4:], wanted[4:])[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["no features", "features of the input alone", "two paths"])
def test_network_that_nothing_explains_still_loads(tmp_path: Path, kind: str) -> None:
    import keras

    layers, image = keras.layers, keras.Input((SIDE, SIDE, 1))
    flat = layers.Flatten()(image)
    if kind == "two paths":
        paths = [layers.Flatten()(layers.Conv2D(2, 3, strides=4)(image)) for _ in range(2)]
        flat = layers.Concatenate()(paths)
    elif kind == "no features":
        flat = layers.Dense(4)(flat)
    stated = package(tmp_path, keras.Model(image, layers.Dense(2)(flat)))

    explainer = load_explainer(stated, tmp_path / "weights.keras", (1,))

    assert explainer.map_shape is None
    assert load_keras_engine(stated, tmp_path / "weights.keras", SIZES).map_shape is None


@pytest.mark.parametrize(
    ("pooling", "transposed", "activation"),
    [
        ("GlobalAveragePool", True, None),
        ("ReduceMean", True, None),
        ("GlobalAveragePool", False, "Softmax"),
    ],
)
def test_pooling_head_of_an_onnx_network_gives_maps_in_both_engines(
    tmp_path: Path, pooling: str, transposed: bool, activation: str | None
) -> None:
    network = pooled_network(pooling=pooling, transposed=transposed, activation=activation)
    output = "probabilities" if activation else "logits"
    folder = onnx_package(tmp_path / "package", network, input=channels_first(), output=output)
    contract = load_contract((folder / "model.json").read_bytes())

    batch = frames()
    probabilities, maps = load_onnxruntime_engine(contract, folder / "weights.onnx", SIZES).predict_with_maps(batch)
    # In parts: what is turned to channels first for one must last until it is computed.
    weights, cache = folder / "weights.onnx", tmp_path / "cache"
    fast = load_openvino_engine(contract, weights, "float32", SIZES, cache, part_size=2)
    _, fast_maps = fast.predict_with_maps(batch)

    assert maps is not None
    assert fast_maps is not None
    assert maps.shape == (COUNT, 1, 8, 8)
    np.testing.assert_allclose(fast_maps, maps, atol=1e-5)
    # The mean of a map and the biases' difference are the difference of the logits.
    np.testing.assert_allclose(probabilities[:, 0], 1 / (1 + np.exp(0.3 - maps.mean(axis=(1, 2, 3)))), atol=1e-5)


def test_onnx_network_without_pooling_head_is_served_without_maps(tmp_path: Path) -> None:
    folder = onnx_package(tmp_path / "package", mean_network(layout="channels_first"), input=channels_first())
    contract = load_contract((folder / "model.json").read_bytes())

    engine = load_onnxruntime_engine(contract, folder / "weights.onnx", SIZES)

    assert engine.map_shape is None
    assert engine.predict_with_maps(frames())[1] is None


def test_map_larger_than_is_kept_is_not_computed(tmp_path: Path) -> None:
    accept_everything_package(tmp_path, side=SIDE)
    whole = load_contract((tmp_path / "model.json").read_bytes())
    large = accept_everything_package(tmp_path / "large", side=129)
    stated = load_contract((large / "model.json").read_bytes())

    assert load_keras_engine(whole, tmp_path / "weights.keras", SIZES).map_shape == (SIDE, SIDE)
    assert load_keras_engine(stated, large / "weights.keras", SIZES).map_shape is None
    assert load_explainer(stated, large / "weights.keras", SIZES).map_shape is None


def test_maps_are_wanted_of_what_is_at_its_threshold_or_over() -> None:
    findings = [
        {"code": code, "display": code, "threshold": 0.5, "background": code == "normal"}
        for code in ("normal", "bacteria", "virus")
    ]
    stated = load_contract(json.dumps(contract_fields(task="multiclass", findings=findings)))
    rows = np.array([[0.6, 0.4, 0.0], [0.0, 0.4999996, 0.4999994]] * 2 + [[0.0, 0.5, 0.5]], np.float32)

    wanted = wanted_maps(stated, rows, [Explain.POSITIVES] * 2 + [Explain.ALL] * 2 + [Explain.NONE])

    assert wanted.astype(int).tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 1, 1], [0, 0, 0]]


@given(
    maps=arrays.arrays(np.float32, (3, 2, 4, 5), elements=st.floats(-70000, 70000, width=32) | st.just(np.nan)),
    wanted=arrays.arrays(np.bool_, (3, 2)),
)
def test_wanted_maps_arrive_but_for_those_that_half_precision_cannot_hold(
    maps: NDArray[np.float32], wanted: NDArray[np.bool_]
) -> None:
    found = unpack(pack(maps, wanted), wanted, (4, 5))

    for frame, finding in np.ndindex(3, 2):
        with np.errstate(over="ignore"):
            expected = maps[frame, finding].astype(np.float16)
        if wanted[frame, finding] and np.isfinite(expected).all():
            np.testing.assert_array_equal(found[frame][finding], expected)
        else:
            assert finding not in found[frame]


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Flags of two frames with two findings, and numbers as they say or nearly so; some are no numbers."""
    flags = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2]), min_size=3, max_size=5))
    count = max(0, 6 * sum(flags) + draw(st.sampled_from([0, 0, 0, -1, 6])))
    fill = draw(st.sampled_from([0.0, 1.0, np.nan, np.inf]))
    return bytes(flags) + np.full(count, fill, "<f2").tobytes() + draw(st.sampled_from([b"", b"", b"x"]))


@given(payload=payloads() | st.binary(max_size=64), wanted=arrays.arrays(np.bool_, (2, 2)))
def test_whatever_a_hostile_engine_sends_is_a_wanted_map_or_an_error(payload: bytes, wanted: NDArray[np.bool_]) -> None:
    try:
        found = unpack(payload, wanted, (2, 3))
    except ValueError:
        return

    for frame, maps in enumerate(found):
        for finding, heat in maps.items():
            assert wanted[frame, finding]
            assert heat.shape == (2, 3)
            assert np.isfinite(heat).all()


@pytest.mark.parametrize(
    "said", [None, "4", [4], [4, 4, 4], [0, 4], [-1, -4], [4.0, 4.0], [True, True], [MAX_CELLS, 2], [2**70, 1]]
)
def test_shape_that_is_none_or_too_large_is_not_believed(said: object) -> None:
    assert checked_shape(said, 1) is None
    assert checked_shape([4, 6], 1) == (4, 6)
    assert checked_shape([128, 128], 17) is None
