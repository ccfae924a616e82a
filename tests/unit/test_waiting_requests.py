"""Frames that wait for the engine: when a batch that is not full is held back, and when it is not."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.model_package import open_package
from tests.model_samples import accept_everything_package
from worker.engines import requests
from worker.engines.requests import FrameRequest, ServedModel, WaitingRequests

SIZE = 4
WAIT_S = 10.0


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    package = open_package(accept_everything_package(tmp_path), max_bytes=10**8)
    return ServedModel(package.digest, package.contract, tmp_path / "weights.keras")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any test takes: what ends the wait is what the test says."""
    monkeypatch.setattr(requests, "LINGER_S", 60.0)


def queued(waiting: WaitingRequests, model: ServedModel, count: int = 1) -> FrameRequest:
    made = [FrameRequest(model, np.zeros((8, 8, 1), np.float32)) for _ in range(count)]
    for request in made:
        waiting.add(request)
    return made[0]


def lingering(waiting: WaitingRequests, first: FrameRequest) -> threading.Event:
    """Linger in a thread; the event is set once that is over."""
    over = threading.Event()

    def linger() -> None:
        waiting.linger(first, SIZE)
        over.set()

    threading.Thread(target=linger, daemon=True).start()
    return over


def test_batch_is_not_held_back_when_no_frame_is_coming(model: ServedModel) -> None:
    waiting = WaitingRequests()
    first = queued(waiting, model)

    assert lingering(waiting, first).wait(WAIT_S)
    assert not waiting.wants_more(first, 1, SIZE)


def test_batch_is_held_back_until_it_is_full_when_frames_are_coming(model: ServedModel) -> None:
    waiting = WaitingRequests()
    first = queued(waiting, model)

    with waiting.coming():
        over = lingering(waiting, first)
        queued(waiting, model, SIZE - 2)
        assert not over.wait(0.05)
        queued(waiting, model)
        assert over.wait(WAIT_S)
        assert waiting.wants_more(first, SIZE - 1, SIZE)
        assert not waiting.wants_more(first, SIZE, SIZE)


def test_batch_is_begun_when_the_last_frame_that_was_coming_has_come(model: ServedModel) -> None:
    waiting = WaitingRequests()
    first = queued(waiting, model)

    with waiting.coming():
        over = lingering(waiting, first)
        assert not over.wait(0.05)

    assert over.wait(WAIT_S)


def test_batch_is_held_back_no_longer_than_a_frame_may_wait(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LINGER_S", 0.1)
    waiting = WaitingRequests()
    first = queued(waiting, model)
    began = time.monotonic()

    with waiting.coming():
        assert lingering(waiting, first).wait(WAIT_S)

    assert time.monotonic() - began >= 0.09


def test_suspect_is_not_held_back_as_it_runs_alone(model: ServedModel) -> None:
    waiting = WaitingRequests()
    first = queued(waiting, model)
    first.deaths = 1

    with waiting.coming():
        assert lingering(waiting, first).wait(WAIT_S)


def test_frames_of_another_model_do_not_fill_a_batch(model: ServedModel) -> None:
    waiting = WaitingRequests()
    first = queued(waiting, model)

    with waiting.coming():
        over = lingering(waiting, first)
        queued(waiting, replace(model, digest="0" * 64), SIZE)
        assert not over.wait(0.05)
