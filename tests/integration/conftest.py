"""A worker of a test's own, in this process: its engine thread and decode child are shared by a file's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.config import Settings
from tests.conftest import Api
from tests.trainings import PATIENTS, label, register, store
from worker.inference.batch import EngineThread
from worker.inference.decode import Decoder
from worker.runtime import Runtime


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineThread]:
    """One for all tests: a package is loaded once."""
    made = EngineThread(batch_size=32, timeout_s=120.0, load_timeout_s=300.0, cache=tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """One too: its child takes a second to start."""
    with Decoder(Settings(decode_processes=1)) as made:
        yield made


@pytest.fixture
def runtime(any_api: Api, engines: EngineThread, decoder: Decoder) -> Iterator[Runtime]:
    made = Runtime(any_api.prepared.settings, engines)
    made.decoder.close()
    made.decoder = decoder
    yield made
    made.engine.dispose()


@pytest.fixture
def cohort(any_api: Api, tmp_path: Path) -> None:
    """A model of which nothing is known but its network, and the films of patients: bright ones have the lesion."""
    register(any_api, tmp_path)
    store(any_api, PATIENTS)
    label(any_api, PATIENTS)
