"""The proof of engines, in a real engine process: OpenVINO against Keras, and engines that fail on command."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.model_package import load_contract, open_package
from tests.model_samples import accept_everything_package, contract_fields, write_contract
from worker.engines.base import BFLOAT16, FLOAT32, KERAS, OPENVINO, EngineChoice
from worker.engines.death import EngineDeathError
from worker.engines.device import Device
from worker.engines.host import EngineHost
from worker.engines.keras import load_keras_engine
from worker.engines.openvino import GRAPH, fast_precisions, load_openvino_engine
from worker.engines.proof import (
    BATCH_SIZES,
    MIN_INPUTS,
    PART_SIZES,
    EngineRow,
    Inputs,
    Proof,
    Standing,
    _Contender,
    _equal_sizes,
)
from worker.engines.requests import ServedModel
from worker.engines.wire import ENGINES_TARGET
from worker.networks import mission_cnn

ANSWER_S = 120.0
BATCH_SIZE = 16
SIZES = [1, 4, 8, 16]

# Keras's own conversion of TensorFlow variables, when it saves a network.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


class CallerEndsError(Exception):
    pass


MakeHost = Callable[[str], EngineHost]


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast engines are is not what these tests ask."""
    monkeypatch.setattr("worker.engines.proof.ROUND_S", 0.01)


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[MakeHost]:
    made: list[EngineHost] = []

    def make(target: str) -> EngineHost:
        limits = {"batch_size": BATCH_SIZE, "timeout_s": ANSWER_S, "load_timeout_s": ANSWER_S}
        made.append(EngineHost(target=target, cache=tmp_path / "cache", **limits))
        return made[-1]

    yield make
    for host in made:
        host.discard()


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = accept_everything_package(tmp_path_factory.mktemp("mission"), side=28)
    mission_cnn.build(28, 28, 1, 2).save(folder / "weights.keras")
    write_contract(folder, contract_fields(side=28))
    package = open_package(folder, max_bytes=10**8)
    return ServedModel(package.digest, package.contract, folder / "weights.keras")


def frames(count: int, side: int = 28, channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, side, side, channels), np.float32)


def inputs(given: NDArray[np.float32], stated: Any = ()) -> Inputs:
    return Inputs(given, np.asarray(stated, np.float32).reshape(-1, 1))


def marked(folder: Path, kind: str) -> ServedModel:
    contract = load_contract(json.dumps(contract_fields(side=4)))
    return ServedModel(kind.encode().hex().ljust(64, "0"), contract, folder / kind)


def prove(host: EngineHost, model: ServedModel, given: Inputs) -> list[EngineRow]:
    return Proof(host, model, Device(BATCH_SIZE), lambda: None).run(given)


def marked_rows(make_host: MakeHost, folder: Path, kind: str, **given: Any) -> dict[str, EngineRow]:
    host = make_host("tests.engine_targets:load_marked")
    values = np.linspace(0, 1, MIN_INPUTS, dtype=np.float32)
    made = np.zeros((MIN_INPUTS, 4, 4, 1), np.float32)
    made[:, -1, -1, 0] = values
    rows = prove(host, marked(folder, kind), inputs(made, **given))
    return {f"{row.engine}/{row.precision}" + (f"/{row.part_size}" if row.part_size else ""): row for row in rows}


def test_openvino_is_proved_and_timed_and_one_engine_serves(make_host: MakeHost, mission: ServedModel) -> None:
    reference, *challengers = prove(make_host(ENGINES_TARGET), mission, inputs(frames(MIN_INPUTS)))

    assert (reference.engine, reference.precision, reference.standing) == (KERAS, FLOAT32, Standing.PASSED)
    float32, bfloat16, *in_parts = challengers
    assert [(row.precision, row.part_size) for row in (float32, bfloat16)] == [(FLOAT32, 0), (BFLOAT16, 0)]
    assert float32.standing is Standing.PASSED
    assert float32.max_difference is not None
    assert float32.max_difference < 1e-5
    assert bfloat16.standing is (Standing.PASSED if BFLOAT16 in fast_precisions() else Standing.UNAVAILABLE)
    for row in (reference, float32):
        assert list(row.images_per_s) == [str(size) for size in SIZES]
        assert min(row.images_per_s.values()) > 0
    (serving,) = [row for row in (reference, *challengers) if row.serves]
    assert set(serving.batch_sizes) <= set(SIZES)
    assert [row.part_size for row in in_parts] == list(PART_SIZES)
    for row in in_parts:
        assert (row.engine, row.standing) == (OPENVINO, Standing.PASSED)
        assert list(row.images_per_s) == [str(BATCH_SIZE)]
    assert json.dumps([row.document() for row in challengers])


@pytest.mark.parametrize(
    "package",
    [
        {"task": "binary", "num_outputs": 1},
        {"task": "multiclass", "channels": 3},
        {"task": "multilabel", "output": "probabilities", "activation": "sigmoid"},
    ],
)
def test_openvino_gives_the_references_probabilities(tmp_path: Path, package: dict[str, Any]) -> None:
    folder = accept_everything_package(tmp_path / "package", **package)
    contract = open_package(folder, max_bytes=10**8).contract
    batch = frames(21, 32, package.get("channels", 1))

    reference = load_keras_engine(contract, folder / "weights.keras", [BATCH_SIZE])
    engine = load_openvino_engine(contract, folder / "weights.keras", FLOAT32, SIZES, tmp_path / "cache")

    assert (engine.name, engine.precision) == (OPENVINO, FLOAT32)
    np.testing.assert_allclose(engine.predict(batch), reference.predict(batch), atol=1e-5)


@pytest.mark.parametrize("part_size", [1, 3, 2 * BATCH_SIZE])
def test_batch_in_parts_gives_each_frame_its_own_answer(tmp_path: Path, mission: ServedModel, part_size: int) -> None:
    """Also where the last part is not full, and where there is only one."""
    batch = frames(21)

    reference = load_keras_engine(mission.contract, mission.weights_path, [BATCH_SIZE])
    engine = load_openvino_engine(
        mission.contract, mission.weights_path, FLOAT32, [BATCH_SIZE], tmp_path, part_size=part_size
    )

    for count in (21, 2, 1):
        np.testing.assert_allclose(engine.predict(batch[:count]), reference.predict(batch[:count]), atol=1e-5)


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda batch: batch[::-1]], ids=["columns_first", "reversed"])
def test_parts_of_frames_that_lie_elsewise_in_memory_are_right(
    tmp_path: Path, mission: ServedModel, arrange: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    batch = arrange(frames(21))

    engine = load_openvino_engine(mission.contract, mission.weights_path, FLOAT32, [BATCH_SIZE], tmp_path, part_size=2)

    np.testing.assert_allclose(engine.predict(batch), engine.predict(np.array(batch, order="C")), atol=1e-6)


def test_engine_in_parts_goes_on_after_an_answer_that_could_not_be_kept(
    tmp_path: Path, mission: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_openvino_engine(mission.contract, mission.weights_path, FLOAT32, [BATCH_SIZE], tmp_path, part_size=2)

    def fail(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        stand_in = SimpleNamespace(array=fail, ascontiguousarray=np.ascontiguousarray)
        broken.setattr("worker.engines.openvino.np", stand_in)
        with pytest.raises(MemoryError):
            engine.predict(frames(8))

    assert np.isfinite(engine.predict(frames(8))).all()


def test_size_that_is_recorded_is_the_one_computed_in(make_host: MakeHost, mission: ServedModel) -> None:
    host = make_host(ENGINES_TARGET)
    model = replace(mission, choice=EngineChoice(OPENVINO, FLOAT32, (BATCH_SIZE,), 8))

    assert host.halve(model)
    assert host.halve(model)
    host.load(model)

    assert host.engine(model).batch_size == host.batch_size(model) == BATCH_SIZE // 4


def test_answers_are_in_order_when_parts_end_in_another(tmp_path: Path, mission: ServedModel) -> None:
    batch = frames(5 * BATCH_SIZE)

    engine = load_openvino_engine(mission.contract, mission.weights_path, FLOAT32, [BATCH_SIZE], tmp_path, part_size=1)

    one_by_one = np.concatenate([engine.predict(frame[np.newaxis]) for frame in batch])
    for _ in range(20):
        np.testing.assert_array_equal(engine.predict(batch), one_by_one)


WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow"):
    sys.modules[name] = None
from pathlib import Path
from shared.model_package import open_package
from worker.engines.openvino import load_openvino_engine
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
contract = open_package(folder, max_bytes=10**8).contract
load_openvino_engine(contract, folder / "weights.keras", "float32", [1, 4], cache)
"""


def start_without_keras(folder: Path, cache: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_KERAS, str(folder), str(cache)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_restart_needs_no_keras_once_the_network_was_compiled(tmp_path: Path) -> None:
    folder, cache = accept_everything_package(tmp_path / "package"), tmp_path / "cache"
    assert "keras" in start_without_keras(folder, cache).stderr

    load_openvino_engine(
        open_package(folder, max_bytes=10**8).contract, folder / "weights.keras", FLOAT32, [BATCH_SIZE], cache
    )

    again = start_without_keras(folder, cache)
    assert again.returncode == 0, again.stderr


def test_damaged_graph_is_made_again(tmp_path: Path) -> None:
    folder, cache = accept_everything_package(tmp_path / "package"), tmp_path / "cache"
    contract = open_package(folder, max_bytes=10**8).contract
    load_openvino_engine(contract, folder / "weights.keras", FLOAT32, [4], cache)
    (graph,) = cache.glob(f"*/{GRAPH}")
    graph.write_bytes(graph.read_bytes()[:-20])

    engine = load_openvino_engine(contract, folder / "weights.keras", FLOAT32, [4], cache)

    assert graph.read_text().endswith("</net>\n")
    assert np.isfinite(engine.predict(frames(3, 32))).all()
    assert [path.name for path in cache.iterdir()] == [graph.parent.name]


def test_reference_serves_where_openvino_is_not_installed(make_host: MakeHost, mission: ServedModel) -> None:
    rows = prove(make_host("tests.engine_targets:load_without_openvino"), mission, inputs(frames(MIN_INPUTS)))

    assert [row.standing for row in rows] == [Standing.PASSED, Standing.UNAVAILABLE, Standing.UNAVAILABLE]
    assert all("pip install 'overread[openvino]'" in row.detail for row in rows[1:])
    assert [row.serves for row in rows] == [True, False, False]
    assert rows[0].batch_sizes == [BATCH_SIZE]


def test_engine_within_the_tolerance_passes(make_host: MakeHost, tmp_path: Path) -> None:
    rows = marked_rows(make_host, tmp_path, "others-close")

    assert rows["openvino/float32"].standing is Standing.PASSED
    assert rows["openvino/float32"].max_difference == pytest.approx(0.004, abs=1e-6)
    assert sum(row.serves for row in rows.values()) == 1


@pytest.mark.parametrize(("kind", "serves"), [("reference-slow", "openvino"), ("others-slow", "marked")])
def test_fastest_serves(make_host: MakeHost, tmp_path: Path, kind: str, serves: str) -> None:
    rows = marked_rows(make_host, tmp_path, kind)

    assert {row.standing for row in rows.values()} == {Standing.PASSED}
    assert [row.engine for row in rows.values() if row.serves] == [serves]


@pytest.mark.parametrize(
    ("rates", "serves"),
    [
        ({0: 100.0, 1: 80.0, 2: 96.0, 4: 101.0}, 2),
        ({0: 100.0, 1: 80.0, 2: 90.0, 4: 94.0}, 0),
        ({0: 70.0, 1: 80.0, 2: 90.0, 4: 100.0}, 4),
        ({0: 9.0, 1: 9.0, 2: 9.0, 4: 9.0}, None),
    ],
)
def test_smallest_parts_that_are_nearly_as_fast_serve(
    make_host: MakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], serves: int | None
) -> None:
    """`rates` by size of parts; the reference's is 10, and whatever is slower than that does not serve."""

    def rate(_proof: Proof, model: ServedModel, given: NDArray[np.float32]) -> float:
        if model.is_reference or model.choice.precision == BFLOAT16 or len(given) < BATCH_SIZE:
            return 10.0 if model.is_reference else 1.0
        return rates.get(model.choice.part_size, 1.0)

    monkeypatch.setattr(Proof, "_rate", rate)

    rows = marked_rows(make_host, tmp_path, "well")

    (serving,) = [row for row in rows.values() if row.serves]
    assert serving.is_reference == (serves is None)
    assert serving.part_size == (serves or 0)
    assert serving.batch_sizes[-1] == BATCH_SIZE


def test_size_in_which_a_frame_gets_another_answer_is_not_served(tmp_path: Path) -> None:
    contender = _Contender(marked(tmp_path, "well"), EngineRow("openvino", "float32", Standing.PASSED))
    answers = np.linspace(0, 1, MIN_INPUTS, dtype=np.float32)[:, np.newaxis]
    contender.answers = {1: answers + np.float32(1e-5), 4: answers, 8: answers + np.float32(1e-9), 16: answers}
    contender.row.images_per_s = {"1": 1.0, "4": 2.0, "8": 4.0, "16": 3.0}

    assert _equal_sizes(contender) == [4, 8]


def test_engine_beyond_the_tolerance_never_serves(make_host: MakeHost, tmp_path: Path) -> None:
    rows = marked_rows(make_host, tmp_path, "others-far")

    assert rows["openvino/float32"].standing is Standing.FAILED
    assert rows["openvino/float32"].detail == "a probability is 0.05 away from the reference's; 0.01 is allowed"
    assert rows["marked/float32"].serves


@pytest.mark.parametrize("kind", ["others-segfault", "others-refused", "others-exhausted_always", "others-fail"])
def test_engine_that_cannot_be_loaded_costs_only_its_row(make_host: MakeHost, tmp_path: Path, kind: str) -> None:
    rows = marked_rows(make_host, tmp_path, kind)

    assert rows["openvino/float32"].standing is Standing.FAILED
    assert rows["openvino/float32"].detail
    assert rows["marked/float32"].standing is Standing.PASSED
    assert rows["marked/float32"].serves


def test_batches_for_which_there_is_no_memory_are_left_out(make_host: MakeHost, tmp_path: Path) -> None:
    rows = marked_rows(make_host, tmp_path, "exhausted_predicting")

    for row in rows.values():
        assert row.standing is Standing.PASSED
        assert list(row.images_per_s) == (["4"] if row.part_size else ["1", "4"])
    assert {row.part_size for row in rows.values()} == {0, 1, 2}
    (serving,) = [row for row in rows.values() if row.serves]
    assert set(serving.batch_sizes) <= {1, 4}


def test_nothing_is_proved_where_the_reference_differs_from_the_package(make_host: MakeHost, tmp_path: Path) -> None:
    rows = marked_rows(make_host, tmp_path, "well", stated=[[0.4]])

    assert rows["marked/float32"].standing is Standing.FAILED
    assert "away from what the package states" in rows["marked/float32"].detail
    assert [name for name, row in rows.items() if row.serves] == ["marked/float32"]


def test_proof_ends_when_the_engine_is_killed_from_outside(make_host: MakeHost, tmp_path: Path) -> None:
    with pytest.raises(EngineDeathError, match="SIGKILL"):
        marked_rows(make_host, tmp_path, "others-killed")


def test_proof_ends_where_its_caller_says_so(make_host: MakeHost, tmp_path: Path) -> None:
    steps = iter(range(20))

    def on_step() -> None:
        if next(steps) == 10:
            raise CallerEndsError

    host = make_host("tests.engine_targets:load_marked")
    with pytest.raises(CallerEndsError):
        Proof(host, marked(tmp_path, "well"), Device(BATCH_SIZE), on_step).run(inputs(frames(MIN_INPUTS, 4)))


def test_sizes_end_with_what_the_settings_allow(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host("tests.engine_targets:load_marked")

    rows = Proof(host, marked(tmp_path, "well"), Device(6), lambda: None).run(inputs(frames(MIN_INPUTS, 4)))

    assert list(rows[0].images_per_s) == ["1", "4", "6"]
    assert set(BATCH_SIZES) >= {1, 4}
