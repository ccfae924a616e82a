"""The engine's process: what ends it costs the frame or the model that ended it, and no other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from shared.errors import (
    EngineCrashedError,
    EngineLostError,
    EngineMemoryError,
    InvalidModelPackageError,
    TransientError,
)
from shared.reasons import Reason
from tests.engine_targets import GATE, KILLED_IN_LARGE_BATCHES, MARKS, WAIT, notes
from tests.marked_engines import ANSWER_S, SIDE, frame
from tests.marked_engines import marked_model as model
from worker.engines import requests as engine_requests
from worker.engines.host import MAX_ENGINES
from worker.inference.batch import EngineThread

TARGET = "tests.engine_targets:load_marked"

MakeThread = Callable[..., EngineThread]


@pytest.fixture
def make_thread(tmp_path: Path) -> Iterator[MakeThread]:
    made: list[EngineThread] = []

    def make(**changes: Any) -> EngineThread:
        given = {
            "batch_size": 8,
            "timeout_s": ANSWER_S,
            "load_timeout_s": ANSWER_S,
            "cache": tmp_path / "cache",
            "target": TARGET,
        } | changes
        made.append(EngineThread(**given))
        return made[-1]

    yield make
    for thread in made:
        thread.close()


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not condition():
        assert time.monotonic() < deadline, "the state waited for did not come"
        time.sleep(0.005)


def values(futures: list[Any]) -> list[float]:
    return [round(float(future.result(ANSWER_S).probabilities[0]), 4) for future in futures]


@pytest.mark.parametrize(
    ("deed", "how", "reason", "told"),
    [
        ("segfault", "SIGSEGV", Reason.ENGINE_CRASHED, "in segfault"),
        ("leave", "exit code 3", Reason.ENGINE_CRASHED, ""),
        ("fail", "RuntimeError", Reason.ENGINE_CRASHED, ""),
        ("babble", "broke the protocol", Reason.ENGINE_CRASHED, ""),
        ("claim_gigabytes", "broke the protocol", Reason.ENGINE_CRASHED, ""),
        ("send_a_map_unasked", "broke the protocol", Reason.ENGINE_CRASHED, ""),
        ("sleep", "timeout", Reason.ENGINE_TIMEOUT, "in sleep"),
        ("hold_the_interpreter", "timeout", Reason.ENGINE_TIMEOUT, "in hold_the_interpreter"),
    ],
)
def test_only_the_frame_that_ends_the_engine_fails_when_it_did_so_three_times(
    make_thread: MakeThread, tmp_path: Path, deed: str, how: str, reason: Reason, told: str
) -> None:
    thread = make_thread(timeout_s=1.5 if how == "timeout" else ANSWER_S)
    served = model(tmp_path)
    thread.prepare(served).result(ANSWER_S)

    futures = [thread.predict(served, frame(n / 100, MARKS[deed] if n == 7 else 0.0)) for n in range(20)]
    error = futures[7].exception(ANSWER_S)

    assert values(futures[:7] + futures[8:]) == [n / 100 for n in range(20) if n != 7]
    assert isinstance(error, EngineCrashedError)
    assert error.recorded_reason is reason
    assert error.context["evidence"].keys() == {"signal", "tries", "log"}
    assert (error.context["evidence"]["signal"], error.context["evidence"]["tries"]) == (how, 3)
    assert told in error.context["evidence"]["log"]
    assert "Doe" not in json.dumps([error.message, error.context])
    assert len(notes(tmp_path, "misbehave")) == 3
    assert len({load["pid"] for load in notes(tmp_path, "load")}) == 4


def test_frames_of_a_crashed_batch_run_alone_and_then_together_again(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, served = make_thread(), model(tmp_path)
    gate = thread.predict(served, frame(0.5, WAIT))
    wait_until(lambda: notes(tmp_path, "predict"))

    crashing = [thread.predict(served, frame(n / 100, MARKS["segfault"] if n == 1 else 0.0)) for n in range(4)]
    (tmp_path / GATE).touch()
    later = [gate, *(thread.predict(served, frame(0.9)) for _ in range(2))]
    values(later)
    assert isinstance(crashing[1].exception(ANSWER_S), EngineCrashedError)

    runs = [run["values"] for run in notes(tmp_path, "predict")]
    for value in (0.0, 0.01, 0.02, 0.03):
        assert any(run == pytest.approx([value]) for run in runs)


@pytest.mark.parametrize(
    ("deed", "how"), [("segfault", "SIGSEGV"), ("sleep", "timeout"), ("hold_the_interpreter", "timeout")]
)
def test_load_that_ends_the_engine_costs_only_that_model(
    make_thread: MakeThread, tmp_path: Path, deed: str, how: str
) -> None:
    thread = make_thread(load_timeout_s=1.0 if how == "timeout" else ANSWER_S)
    bad, good = model(tmp_path, deed), model(tmp_path)
    thread.prepare(good).result(ANSWER_S)

    lost = [thread.prepare(bad), thread.predict(bad, frame(0.1)), thread.prepare(bad)]
    answer = thread.predict(good, frame(0.25))

    for future in lost:
        error = future.exception(ANSWER_S)
        assert isinstance(error, EngineLostError)
        assert error.context["evidence"]["signal"] == how
        assert f"in {deed}" in error.context["evidence"]["log"]
    assert values([answer]) == [0.25]
    assert isinstance(thread.prepare(bad).exception(ANSWER_S), EngineLostError)
    assert values([thread.predict(good, frame(0.75))]) == [0.75]


def test_refused_package_keeps_its_words_and_the_engine_lives(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, refused = make_thread(), model(tmp_path, "refused")

    futures = [thread.prepare(refused), thread.predict(refused, frame(0.1))]

    for future in futures:
        error = future.exception(ANSWER_S)
        assert isinstance(error, InvalidModelPackageError)
        assert error.message == "the weights are not on the list; register others"
    assert values([thread.predict(model(tmp_path), frame(0.5))]) == [0.5]
    assert len({load["pid"] for load in notes(tmp_path, "load")}) == 1


@pytest.mark.parametrize("kind", ["exhausted_loading", "exhausted_predicting"])
def test_batch_is_halved_and_remembered_when_memory_is_exhausted(
    make_thread: MakeThread, tmp_path: Path, kind: str
) -> None:
    thread, served = make_thread(batch_size=16), model(tmp_path, kind)

    first = [thread.predict(served, frame(n / 100)) for n in range(20)]
    assert values(first) == [n / 100 for n in range(20)]
    again = [thread.predict(served, frame(n / 100)) for n in range(20)]
    assert values(again) == [n / 100 for n in range(20)]

    loads = notes(tmp_path, "load")
    assert [load["batch_size"] for load in loads] == [16, 8, 4]
    assert len({load["pid"] for load in loads}) == 1
    answered = [run for run in notes(tmp_path, "predict")[-10:] if len(run["values"]) <= 4]
    assert sum(len(run["values"]) for run in answered) >= 20


def test_frame_fails_for_want_of_memory_when_even_one_is_too_much(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, served = make_thread(batch_size=4), model(tmp_path, "exhausted_always")

    error = thread.predict(served, frame(0.1)).exception(ANSWER_S)

    assert isinstance(error, EngineMemoryError)
    assert error.recorded_reason is Reason.ENGINE_OUT_OF_MEMORY
    assert [load["batch_size"] for load in notes(tmp_path, "load")] == [4, 2, 1]
    assert values([thread.predict(model(tmp_path), frame(0.5))]) == [0.5]


def test_batch_is_halved_when_the_kernel_kills_over_one_frame_again_and_again(
    make_thread: MakeThread, tmp_path: Path
) -> None:
    thread, served = make_thread(batch_size=8), model(tmp_path)

    futures = [thread.predict(served, frame(n / 100, KILLED_IN_LARGE_BATCHES if n == 2 else 0.0)) for n in range(5)]

    assert values(futures) == [n / 100 for n in range(5)]
    assert {load["batch_size"] for load in notes(tmp_path, "load")} == {8, 4}


def test_urgent_frame_waits_for_the_running_batch_only(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, served = make_thread(batch_size=4), model(tmp_path)
    background = [thread.predict(served, frame(0.2 + n / 100, WAIT), rank=2) for n in range(10)]
    wait_until(lambda: notes(tmp_path, "predict"))

    routine = thread.predict(served, frame(0.5), rank=1)
    urgent = [thread.predict(served, frame(0.9 + n / 100), rank=0) for n in range(2)]
    (tmp_path / GATE).touch()

    values([routine, *background, *urgent])
    runs = [value for run in notes(tmp_path, "predict")[1:] for value in run["values"]]
    num_running = len(notes(tmp_path, "predict")[0]["values"])
    assert runs == pytest.approx([0.9, 0.91, 0.5, *(0.2 + n / 100 for n in range(num_running, 10))])


def test_overtaken_frame_is_served_in_the_end_when_urgent_ones_never_cease(
    make_thread: MakeThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_requests, "OVERTAKEN_S", 0.0)
    thread, served = make_thread(batch_size=1), model(tmp_path)
    running = thread.predict(served, frame(0.01, WAIT))
    wait_until(lambda: notes(tmp_path, "predict"))

    background = thread.predict(served, frame(0.2), rank=2)
    urgent = [thread.predict(served, frame(0.9)) for _ in range(3)]
    (tmp_path / GATE).touch()

    values([running, background, *urgent])
    assert notes(tmp_path, "predict")[1]["values"] == pytest.approx([0.2])


def test_engine_is_replaced_and_nobody_blamed_when_it_was_killed_idle(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, served = make_thread(), model(tmp_path)
    thread.prepare(served).result(ANSWER_S)
    killed = notes(tmp_path, "load")[0]["pid"]

    os.kill(killed, signal.SIGKILL)
    futures = [thread.predict(served, frame(n / 100)) for n in range(3)]

    assert values(futures) == [0.0, 0.01, 0.02]
    assert [load["batch_size"] for load in notes(tmp_path, "load")] == [8, 8]
    assert not psutil.pid_exists(killed)


def test_frame_is_not_blamed_when_the_engine_dies_before_it_takes_it_up(
    make_thread: MakeThread, tmp_path: Path
) -> None:
    thread, served = make_thread(max_crashes=1), model(tmp_path)
    thread.prepare(served).result(ANSWER_S)
    engine = psutil.Process(notes(tmp_path, "load")[0]["pid"])
    engine.suspend()
    wait_until(lambda: engine.status() == psutil.STATUS_STOPPED)

    future = thread.predict(served, frame(0.5))
    wait_until(lambda: thread._waiting.first() is None)
    engine.kill()

    assert values([future]) == [0.5]


def test_every_frame_is_answered_when_the_engine_is_killed_over_a_batch(
    make_thread: MakeThread, tmp_path: Path
) -> None:
    thread, served = make_thread(), model(tmp_path)
    futures = [thread.predict(served, frame(n / 100, WAIT if n == 0 else 0.0)) for n in range(12)]
    wait_until(lambda: notes(tmp_path, "predict"))

    os.kill(notes(tmp_path, "load")[0]["pid"], signal.SIGKILL)
    (tmp_path / GATE).touch()

    assert values(futures) == [n / 100 for n in range(12)]


def test_batches_hold_one_model_and_the_engine_unused_for_longest_goes(make_thread: MakeThread, tmp_path: Path) -> None:
    thread = make_thread()
    models = [model(tmp_path, f"model-{n}") for n in range(MAX_ENGINES + 1)]

    futures = [thread.predict(served, frame(n / 100)) for n, served in enumerate(models)]

    assert values(futures) == [n / 100 for n in range(len(models))]
    assert [run["weights"] for run in notes(tmp_path, "predict")] == [served.weights_path.name for served in models]
    assert thread.loaded() == [f"marked/float32/{served.digest[:12]}" for served in models[1:]]


def test_thread_says_what_is_being_loaded(make_thread: MakeThread, tmp_path: Path) -> None:
    thread, slow = make_thread(), model(tmp_path, "sleep")

    waiting = thread.prepare(slow)

    wait_until(lambda: thread.loading() == [slow.digest[:12]])
    thread.close()
    assert isinstance(waiting.exception(ANSWER_S), TransientError)
    assert thread.loading() == []


def test_everyone_hears_of_it_and_starts_are_spaced_when_the_engine_cannot_start(
    make_thread: MakeThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.inference.batch.FIRST_BACKOFF_S", 3.0)
    thread, served = make_thread(target="tests.engine_targets:nothing"), model(tmp_path)

    futures = [thread.prepare(served), thread.predict(served, frame(0.1))]

    for future in futures:
        error = future.exception(ANSWER_S)
        assert isinstance(error, EngineLostError)
        assert error.context["evidence"]["signal"] == "AttributeError"
    began = time.monotonic()
    assert isinstance(thread.predict(served, frame(0.1)).exception(ANSWER_S), EngineLostError)
    assert time.monotonic() - began > 2.9


def test_frame_of_another_shape_is_refused(make_thread: MakeThread, tmp_path: Path) -> None:
    thread = make_thread()

    error = thread.predict(model(tmp_path), np.zeros((SIDE, SIDE + 1, 1), np.float32)).exception(ANSWER_S)

    assert isinstance(error, ValueError)


def test_engine_inherits_no_secret(make_thread: MakeThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    make_thread().prepare(model(tmp_path)).result(ANSWER_S)

    environment = notes(tmp_path, "load")[0]["environment"]
    assert "TF_NUM_INTRAOP_THREADS" in environment
    assert not {name for name in environment if name.startswith(("OVERREAD", "AWS"))}


@pytest.mark.parametrize("mark", [0.0, WAIT, MARKS["hold_the_interpreter"]], ids=["idle", "predicting", "hanging"])
def test_close_leaves_no_process_and_answers_who_waits(make_thread: MakeThread, tmp_path: Path, mark: float) -> None:
    thread, served = make_thread(), model(tmp_path)
    running = thread.predict(served, frame(0.1, mark))
    wait_until(lambda: notes(tmp_path, "predict") if mark else running.done())
    waiting = thread.predict(served, frame(0.2)) if mark else None

    began = time.monotonic()
    thread.close()

    assert time.monotonic() - began < 5.0
    assert not psutil.pid_exists(notes(tmp_path, "load")[0]["pid"])
    if waiting is not None:
        assert isinstance(running.exception(ANSWER_S), TransientError)
        assert isinstance(waiting.exception(ANSWER_S), TransientError)
    assert isinstance(thread.predict(served, frame(0.3)).exception(ANSWER_S), TransientError)
    assert isinstance(thread.prepare(model(tmp_path, "other")).exception(ANSWER_S), TransientError)


PARENT = """
import sys, time
from pathlib import Path
from tests.unit.test_engine_process import TARGET, EngineThread, frame, model
thread = EngineThread(batch_size=8, timeout_s=600.0, load_timeout_s=600.0, cache=Path(sys.argv[1]), target=TARGET)
thread.predict(model(Path(sys.argv[1])), frame(0.1, float(sys.argv[2])))
time.sleep(600)
"""


@pytest.mark.parametrize("mark", [0.0, MARKS["sleep"], MARKS["hold_the_interpreter"]], ids=["idle", "busy", "hanging"])
def test_engine_ends_when_its_parent_is_killed(tmp_path: Path, mark: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), str(mark)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    ) as parent:
        try:
            wait_until(lambda: notes(tmp_path, "misbehave" if mark else "predict"))
            engine = psutil.Process(notes(tmp_path, "load")[0]["pid"])
        finally:
            parent.kill()

    gone, alive = psutil.wait_procs([engine], timeout=ANSWER_S)
    for left in alive:
        left.kill()

    assert gone == [engine]
