"""Frames of several shards through the engine's process, with Keras in it: the same answers as in one process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shared.errors import InvalidModelPackageError
from shared.model_package import open_package
from tests.model_samples import accept_everything_package, contract_fields, write_contract
from worker.engines.host import EngineHost
from worker.engines.keras import load_keras_engine
from worker.engines.requests import FrameRequest
from worker.engines.wire import ENGINES_TARGET
from worker.inference.batch import EngineThread, ServedModel
from worker.networks import mission_cnn

BATCH_SIZE = 16
ANSWER_S = 120.0

# Keras's own conversion of TensorFlow variables, when it saves a network.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineThread]:
    """One for all tests: its process takes seconds to import Keras."""
    cache = tmp_path_factory.mktemp("cache")
    made = EngineThread(batch_size=BATCH_SIZE, timeout_s=ANSWER_S, load_timeout_s=ANSWER_S, cache=cache)
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineHost]:
    made = EngineHost(
        target=ENGINES_TARGET,
        batch_size=BATCH_SIZE,
        timeout_s=ANSWER_S,
        load_timeout_s=ANSWER_S,
        cache=tmp_path_factory.mktemp("cache"),
    )
    yield made
    made.discard()


def served(folder: Path) -> ServedModel:
    package = open_package(folder, max_bytes=10**8)
    return ServedModel(package.digest, package.contract, folder / "weights.keras")


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = accept_everything_package(tmp_path_factory.mktemp("mission"), side=28)
    mission_cnn.build(28, 28, 1, 2).save(folder / "weights.keras")
    write_contract(folder, contract_fields(side=28))
    return served(folder)


def frames(count: int, side: int = 28) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, side, side, 1), np.float32)


@pytest.mark.parametrize("count", [1, 5, BATCH_SIZE])
def test_batch_gives_the_same_bits_as_in_one_process(host: EngineHost, mission: ServedModel, count: int) -> None:
    batch = frames(count)
    engine = load_keras_engine(mission.contract, mission.weights_path, batch_sizes=[BATCH_SIZE])
    host.load(mission)

    requests = [FrameRequest(mission, frame) for frame in batch]
    host.place(1, mission, 0, requests)
    host.begin(1, mission, requests)
    rows = host.finish(mission, requests).probabilities

    np.testing.assert_array_equal(rows, engine.predict(batch))


def test_frame_gets_the_same_bits_as_in_one_process(thread: EngineThread, mission: ServedModel) -> None:
    frame = frames(1)
    engine = load_keras_engine(mission.contract, mission.weights_path, batch_sizes=[BATCH_SIZE])

    thread.prepare(mission).result(ANSWER_S)
    answer = thread.predict(mission, frame[0]).result(ANSWER_S)

    np.testing.assert_array_equal(answer.probabilities, engine.predict(frame)[0])
    assert (answer.engine, answer.precision) == (engine.name, engine.precision)
    assert thread.loaded() == [f"keras/float32/{mission.digest[:12]}"]
    assert thread.loading() == []


def test_every_thread_gets_its_own_answers_when_models_and_threads_mix(
    thread: EngineThread, mission: ServedModel, tmp_path: Path
) -> None:
    means = served(accept_everything_package(tmp_path, side=32, slope=4.0))
    expected = {
        mission.digest: load_keras_engine(mission.contract, mission.weights_path, batch_sizes=[BATCH_SIZE]),
        means.digest: load_keras_engine(means.contract, means.weights_path, batch_sizes=[BATCH_SIZE]),
    }

    def run(model: ServedModel) -> None:
        batch = frames(40, model.contract.input.rows)
        futures = [thread.predict(model, frame) for frame in batch]
        answers = [future.result(ANSWER_S).probabilities for future in futures]
        np.testing.assert_allclose(answers, expected[model.digest].predict(batch), atol=1e-6)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [mission, means, mission, means]))


def test_package_that_keras_cannot_load_is_refused_and_the_process_stays(
    thread: EngineThread, mission: ServedModel, tmp_path: Path
) -> None:
    folder = accept_everything_package(tmp_path, slope=3.0)
    broken = served(folder)
    (folder / "weights.keras").unlink()
    before = [child.pid for child in psutil.Process().children()]

    with pytest.raises(InvalidModelPackageError, match="register the package again"):
        thread.prepare(broken).result(ANSWER_S)

    assert thread.predict(mission, frames(1)[0]).result(ANSWER_S).engine == "keras"
    assert [child.pid for child in psutil.Process().children()] == before
