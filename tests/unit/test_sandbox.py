"""Limited child processes: what hostile input does to a child stays in that child."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from shared.errors import ChildCrashedError, LimitExceededError, TransientError
from shared.reasons import Reason
from shared.sandbox import ChildLimits, ChildReasons, LimitedPool
from shared.sandbox.memory import SharedMemory

MIB = 1024 * 1024
REASONS = ChildReasons(Reason.DECODE_CRASHED, Reason.DECODE_TIMEOUT, Reason.DECODE_OUT_OF_MEMORY)


class MakePool(Protocol):
    def __call__(self, target: str, *, processes: int = 1, wall_s: float = 30) -> LimitedPool: ...


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    with ExitStack() as pools:

        def make(target: str, *, processes: int = 1, wall_s: float = 30) -> LimitedPool:
            limits = ChildLimits(memory_bytes=512 * MIB, wall_s=wall_s)
            pool = LimitedPool(f"tests.sandbox_targets:{target}", processes=processes, limits=limits, reasons=REASONS)
            return pools.enter_context(pool)

        yield make


def ask(pool: LimitedPool, **request: Any) -> dict[str, Any]:
    return next(iter(list(pool.call(request)))).meta


def test_call_gives_each_reply_in_order_when_target_streams(make_pool: MakePool) -> None:
    pool = make_pool("count")
    numbers = []

    for reply in pool.call({"until": 20}, payload_bytes=MIB):
        time.sleep(0.01)  # the child has time to go on: it must not write over what is being read
        assert reply.payload == reply.meta["number"].to_bytes(4, "big") * 50_000
        numbers.append(reply.meta["number"])

    assert numbers == list(range(20))


def test_call_hands_over_larger_payloads_when_the_child_knew_smaller_ones(make_pool: MakePool) -> None:
    pool = make_pool("echo")

    lengths = [
        [len(reply.payload) for reply in pool.call({"payload_bytes": size}, payload_bytes=size)]
        for size in (1, 3 * MIB, 0, 7)
    ]

    assert lengths == [[1], [3 * MIB], [0], [7]]


def test_parent_reads_on_and_grows_when_the_child_shrinks_or_seals_the_shared_memory(make_pool: MakePool) -> None:
    pool = make_pool("tamper_with_the_memory")

    lengths = [
        [len(bytes(reply.payload)) for reply in pool.call({"bytes": size}, payload_bytes=size)]
        for size in (MIB, 2 * MIB)
    ]

    assert lengths == [[MIB], [2 * MIB]]


def test_call_hears_of_it_at_once_when_a_late_reply_is_too_long(make_pool: MakePool) -> None:
    pool = make_pool("grow_too_long")
    began = time.monotonic()

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({}, payload_bytes=10))

    assert caught.value.recorded_reason == Reason.DECODE_CRASHED
    assert time.monotonic() - began < 15, "nobody waited for the other until the child's time was up"


def test_child_is_as_nice_as_its_limits_say_and_never_less_than_its_parent() -> None:
    script = (
        "import os\nfrom shared.sandbox import ChildLimits, ChildReasons, LimitedPool\n"
        "from shared.reasons import Reason\n"
        "why = ChildReasons(Reason.DECODE_CRASHED, Reason.DECODE_TIMEOUT, Reason.DECODE_OUT_OF_MEMORY)\n"
        "pool = LimitedPool('tests.sandbox_targets:echo', processes=1, limits=ChildLimits(2**29, 60, 5), reasons=why)\n"
        "pid = next(iter(list(pool.call({})))).meta['pid']; print(os.getpriority(os.PRIO_PROCESS, pid)); pool.close()"
    )

    found = [
        subprocess.run([*nice, sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
        for nice in ([], ["nice", "-n", "9"])
    ]

    assert found == ["5", "9"]


def test_call_uses_the_same_child_when_it_ended_well(make_pool: MakePool) -> None:
    pool = make_pool("echo")

    first, second = ask(pool, name="first"), ask(pool, name="second")

    assert first["pid"] == second["pid"] != os.getpid()
    assert second["name"] == "second"


def test_call_raises_the_targets_error_when_it_is_ours(make_pool: MakePool) -> None:
    pool = make_pool("refuse")

    with pytest.raises(LimitExceededError) as first:
        list(pool.call({}))
    with pytest.raises(LimitExceededError) as second:
        list(pool.call({"answer_first": True}))

    assert first.value.message == "too deep"
    assert first.value.recorded_reason == Reason.NESTED_TOO_DEEP
    assert first.value.context["depth"] == 3000
    assert first.value.context["pid"] == second.value.context["pid"], "an orderly refusal costs no child"


def test_call_gives_only_the_class_when_the_error_is_foreign(make_pool: MakePool) -> None:
    pool = make_pool("quote_a_patient")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({}))

    assert caught.value.recorded_reason == Reason.DECODE_CRASHED
    assert "ValueError" in caught.value.message
    assert "Doe" not in repr((caught.value.args, caught.value.context))


@pytest.mark.parametrize("after", [True, False])
def test_call_names_the_signal_when_the_child_crashes(make_pool: MakePool, *, after: bool) -> None:
    pool = make_pool("crash")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({"after": after}))

    assert caught.value.recorded_reason == Reason.DECODE_CRASHED
    evidence = caught.value.context["evidence"]
    assert (evidence["signal"], evidence["tries"]) == ("SIGSEGV", 2)
    assert "Fatal Python error: Segmentation fault" in evidence["log"]
    assert re.search(r'sandbox_targets\.py", line \d+ in crash$', evidence["log"], re.MULTILINE)
    assert json.loads(json.dumps(evidence)) == evidence


def test_evidence_gives_the_exit_code_when_the_child_leaves(make_pool: MakePool) -> None:
    pool = make_pool("exit_without_a_word")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({}))

    assert caught.value.context["evidence"] == {"signal": "exit code 7", "tries": 2, "log": ""}


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("used", [True, False], ids=["used", "fresh"])
def test_call_is_tried_exactly_twice_when_each_child_dies(
    make_pool: MakePool, tmp_path: Path, *, at: int, used: bool
) -> None:
    pool = make_pool("crash_at")
    if used:
        list(pool.call({"folder": str(tmp_path), "at": 9, "deaths": 0}))
    folder = tmp_path / "deaths"
    folder.mkdir()
    numbers: list[int] = []

    with pytest.raises(ChildCrashedError) as caught:
        numbers.extend(reply.meta["number"] for reply in pool.call({"folder": str(folder), "at": at, "deaths": 9}))

    assert numbers == list(range(at))
    assert caught.value.context["evidence"]["tries"] == 2
    assert len(list(folder.iterdir())) == 2, "as many children as tries"


@pytest.mark.parametrize("at", [0, 3])
def test_call_gives_each_reply_once_when_one_child_dies(make_pool: MakePool, tmp_path: Path, at: int) -> None:
    pool = make_pool("crash_at")

    replies = list(pool.call({"folder": str(tmp_path), "at": at, "deaths": 1}))

    assert [reply.meta["number"] for reply in replies] == [0, 1, 2, 3, 4]


def test_evidence_holds_only_positions_when_the_child_writes_into_it(make_pool: MakePool) -> None:
    pool = make_pool("crash_with_false_words")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({}))

    evidence = caught.value.context["evidence"]
    assert evidence["signal"] == "SIGSEGV"
    assert "Doe" not in evidence["log"]


def test_evidence_is_not_the_childs_to_give(make_pool: MakePool) -> None:
    pool = make_pool("forge_evidence")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({}))

    assert "evidence" not in caught.value.context


def test_call_is_not_blamed_when_only_a_used_child_crashes(make_pool: MakePool) -> None:
    pool = make_pool("crash_when_used")

    first, second = ask(pool), ask(pool)

    assert first["pid"] != second["pid"]


def test_call_kills_the_child_when_it_takes_too_long(make_pool: MakePool) -> None:
    pool = make_pool("sleep", wall_s=0.4)
    began = time.monotonic()

    replies = pool.call({})
    pid = next(replies).meta["pid"]
    with pytest.raises(ChildCrashedError) as caught:
        next(replies)

    evidence = caught.value.context["evidence"]
    assert caught.value.recorded_reason == Reason.DECODE_TIMEOUT
    assert (evidence["signal"], evidence["tries"]) == ("timeout", 1)
    assert re.search(r'sandbox_targets\.py", line \d+ in sleep$', evidence["log"], re.MULTILINE)
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(pid)


def test_child_kills_itself_when_its_cpu_time_is_used_up() -> None:
    request = json.dumps({"call": {}, "payload_bytes": 0}).encode()
    memory = SharedMemory.create(writable=False)
    arguments = ["tests.sandbox_targets:spin", os.getpid(), 512 * MIB, 0.3, memory.descriptor]

    ended = subprocess.run(
        [sys.executable, "-m", "shared.sandbox.child", *map(str, arguments)],
        input=struct.pack(">I", len(request)) + request,
        stdout=subprocess.DEVNULL,
        pass_fds=[memory.descriptor],
        timeout=30,
        check=False,
    )
    memory.close()

    assert ended.returncode == -signal.SIGPROF


def test_call_does_not_count_the_callers_time_when_it_is_slow(make_pool: MakePool) -> None:
    pool = make_pool("count", wall_s=1.0)

    replies = pool.call({"until": 30}, payload_bytes=MIB)
    next(replies)
    time.sleep(1.5)

    assert [reply.meta["number"] for reply in replies] == list(range(1, 30)), "more than the pipe held meanwhile"


def test_call_gives_the_memory_reason_when_the_child_wants_too_much(make_pool: MakePool) -> None:
    pool = make_pool("hoard")

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call({"bytes": 1024 * MIB}))

    assert caught.value.recorded_reason == Reason.DECODE_OUT_OF_MEMORY
    assert "evidence" not in caught.value.context, "it killed nothing"
    assert ask(pool, bytes=MIB) == {"held": MIB}


@pytest.mark.parametrize(
    ("target", "request_"), [("echo", {"payload_bytes": 2 * MIB}), ("claim_a_payload", {}), ("babble", {})]
)
def test_call_refuses_the_answer_when_it_breaks_the_bounds(
    make_pool: MakePool, target: str, request_: dict[str, Any]
) -> None:
    pool = make_pool(target)

    with pytest.raises(ChildCrashedError) as caught:
        list(pool.call(request_, payload_bytes=MIB))

    assert caught.value.recorded_reason == Reason.DECODE_CRASHED


def test_call_works_when_the_one_before_was_left_early(make_pool: MakePool) -> None:
    pool = make_pool("count")

    replies = pool.call({"until": 1000}, payload_bytes=MIB)
    left = [reply.meta["number"] for reply in islice(replies, 2)]
    replies.close()  # type: ignore[attr-defined]

    assert left == [0, 1]
    assert [reply.meta["number"] for reply in pool.call({"until": 3}, payload_bytes=MIB)] == [0, 1, 2]


def test_call_works_when_the_idle_child_was_killed(make_pool: MakePool) -> None:
    pool = make_pool("echo")
    child = psutil.Process(ask(pool)["pid"])

    child.kill()

    assert ask(pool, name="again")["name"] == "again"


def test_call_keeps_answers_apart_when_many_threads_ask(make_pool: MakePool) -> None:
    pool = make_pool("echo", processes=2)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: ask(pool, number=number), range(60)))

    assert [answer["number"] for answer in answers] == list(range(60))
    assert len({answer["pid"] for answer in answers}) <= 2


def test_child_sees_nothing_of_its_parent_when_it_looks_around(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERREAD_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("OVERREAD_TOKEN", "secret")
    with (tmp_path / "inherited").open("wb") as inherited:
        os.set_inheritable(inherited.fileno(), True)

        seen = ask(make_pool("look_around"), path=str(tmp_path / "file"))

    assert not [name for name in seen["environment"] if name.startswith("OVERREAD")]
    assert {name.split(":")[0] for name in seen["descriptors"]} == {"/dev/null", "pipe", "/memfd"}
    assert not seen["written"]
    assert seen["ignores_sigint"]
    assert "tensorflow" not in seen["modules"]


def test_pool_says_so_when_the_target_cannot_be_loaded(make_pool: MakePool) -> None:
    pool = make_pool("no_such_function")

    with pytest.raises(TransientError, match="AttributeError"):
        list(pool.call({}))


def test_call_ends_when_the_pool_is_closed(make_pool: MakePool) -> None:
    pool = make_pool("sleep")
    replies = pool.call({})
    pid = next(replies).meta["pid"]

    pool.close()

    with pytest.raises(TransientError, match="closed"):
        next(replies)
    with pytest.raises(TransientError, match="closed"):
        list(pool.call({}))
    assert not psutil.pid_exists(pid)


def test_child_ends_when_its_parent_is_killed() -> None:
    code = """
from shared.sandbox import *
from shared.reasons import Reason
pool = LimitedPool("tests.sandbox_targets:sleep", processes=1, limits=ChildLimits(2**29, 600),
                   reasons=ChildReasons(Reason.INVALID, Reason.INVALID, Reason.INVALID))
replies = pool.call({})
print(next(replies).meta["pid"], flush=True)
next(replies)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))

        parent.kill()

        assert not psutil.wait_procs([child], timeout=10)[1]
