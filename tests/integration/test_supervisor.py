"""The supervisor with real Valkey and real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from api.cli.child import Service
from api.cli.errors import StartError
from api.cli.supervisor import Keeper, RestartPolicy, Supervisor
from api.cli.valkey import answers_ping, default_socket, socket_path, valkey_service

FAST = RestartPolicy(first_wait_s=0.01, longest_wait_s=0.05, settled_s=60.0, ready_s=10.0)

SLEEP = "import time; time.sleep(600)"
SLEEP_AND_REFUSE_TO_END = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
SLEEP_BESIDE_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"

PARENT = """
import sys, time
from pathlib import Path
from tests.integration.test_supervisor import FAST, SLEEP, Supervisor, python_service, valkey_of
folder = Path(sys.argv[1])
supervisor = Supervisor([valkey_of(folder), python_service("sleeper", SLEEP)], folder, policy=FAST)
supervisor.start()
while len(supervisor.pids()) < 2:
    supervisor.wait(0.05)
print(*supervisor.pids().values(), flush=True)
time.sleep(600)
"""


def python_service(name: str, code: str, grace_s: float = 5.0) -> Service:
    return Service(name, (sys.executable, "-c", code), grace_s=grace_s)


def valkey_of(data_dir: Path) -> Service:
    return valkey_service(data_dir, default_socket(data_dir), dict(os.environ))


def eventually(condition: Callable[[], object]) -> bool:
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ignores_term(pid: int) -> bool:
    """True once the process itself has said that it does (proc(5), SigIgn)."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    is_ours = "-c" in psutil.Process(pid).cmdline()[1:2]
    return is_ours and bool(ignored >> (signal.SIGTERM - 1) & 1)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # pytest's own folders grow with the test's name; a unix socket's path must stay short
    folder = tmp_path_factory.mktemp("s")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def supervise(short_dir: Path) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*services: Service, policy: RestartPolicy = FAST, events: list[str] | None = None) -> Supervisor:
        supervisor = Supervisor(
            services, short_dir, policy=policy, on_event=(events if events is not None else []).append
        )
        made.append(supervisor)
        supervisor.start()
        assert eventually(lambda: len(supervisor.pids()) == len(services) or supervisor.failure)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.stop()


def test_children_end_when_their_supervisor_is_killed(short_dir: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(short_dir)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert answers_ping(default_socket(short_dir))

        parent.kill()

    assert eventually(lambda: all(is_gone(pid) for pid in pids))


def test_valkey_is_back_when_it_was_killed_and_its_folder_wiped(
    supervise: Callable[..., Supervisor], short_dir: Path
) -> None:
    events: list[str] = []
    supervisor = supervise(valkey_of(short_dir), events=events)
    socket = default_socket(short_dir)
    assert eventually(lambda: answers_ping(socket))
    first = supervisor.pids()["valkey"]

    shutil.rmtree(short_dir / "valkey")
    os.kill(first, signal.SIGKILL)

    assert eventually(lambda: supervisor.pids().get("valkey") not in (None, first) and answers_ping(socket))
    assert events == ["valkey was ended by SIGKILL; starting it again in 0.01 s"]


def test_valkey_is_private_and_keeps_a_log_of_what_it_holds(
    supervise: Callable[..., Supervisor], short_dir: Path
) -> None:
    supervisor = supervise(valkey_of(short_dir))
    assert eventually(lambda: answers_ping(default_socket(short_dir)))

    kinds = {connection.type for connection in psutil.Process(supervisor.pids()["valkey"]).net_connections("inet")}

    assert kinds == set()
    assert (short_dir / "run").stat().st_mode & 0o777 == 0o700
    assert (short_dir / "valkey").stat().st_mode & 0o777 == 0o700
    assert any((short_dir / "valkey" / "appendonlydir").iterdir())


def test_everything_ends_with_a_clear_word_when_a_service_cannot_start(short_dir: Path) -> None:
    broken = Service("broken", (sys.executable, "-c", "raise SystemExit(7)"), advice="Mend it.")
    supervisor = Supervisor([python_service("sleeper", SLEEP), broken], short_dir, policy=FAST)
    supervisor.start()

    with pytest.raises(StartError, match=r"broken ended with exit code 7, 5 times .*broken\.log\. Mend it\.$"):
        supervisor.wait(10.0)

    supervisor.stop()
    assert all(is_gone(pid) for pid in supervisor.pids().values())


def test_service_that_once_ran_well_is_never_given_up(supervise: Callable[..., Supervisor], short_dir: Path) -> None:
    """Its database is away, say: it fails at each start, until that is over."""
    events: list[str] = []
    outage = short_dir / "outage"
    policy = replace(FAST, settled_s=0.5)
    code = f"import os, sys, time\nwhile not os.path.exists({str(outage)!r}): time.sleep(0.02)\nsys.exit(1)"
    supervisor = supervise(python_service("dependent", code), policy=policy, events=events)
    assert eventually(lambda: supervisor._keepers[0]._is_proven)

    outage.touch()
    assert eventually(lambda: len(events) > 2 * policy.most_failed_starts)
    outage.unlink()

    assert eventually(lambda: "dependent" in supervisor.pids())
    assert supervisor.failure is None
    assert events[-1] == "dependent ended with exit code 1; starting it again in 0.05 s"


def test_wait_stays_the_longest_when_a_service_died_a_thousand_times(short_dir: Path) -> None:
    events: list[str] = []
    never_waiting = replace(FAST, first_wait_s=0.0001, longest_wait_s=0.0002, most_failed_starts=10**6)
    keeper = Keeper(Service("absent", ()), short_dir, never_waiting, events.append)

    for _ in range(1200):
        keeper._note_death("was ended by SIGKILL", blamed=False)

    assert events[-1] == "absent was ended by SIGKILL; starting it again in 0.0002 s"


def test_command_that_does_not_exist_is_named_in_the_log(short_dir: Path) -> None:
    supervisor = Supervisor([Service("absent", ("/nowhere/to/be/found",))], short_dir, policy=FAST)
    supervisor.start()

    with pytest.raises(StartError, match="absent"):
        supervisor.wait(10.0)

    assert "cannot start /nowhere/to/be/found: No such file" in (short_dir / "absent.log").read_text()


def test_service_comes_back_however_often_it_is_killed_from_outside(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(python_service("sleeper", SLEEP))

    for _ in range(FAST.most_failed_starts + 1):
        pid = supervisor.pids()["sleeper"]
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda old=pid: supervisor.pids().get("sleeper") not in (None, old))

    assert supervisor.failure is None


def test_what_a_dead_service_left_running_is_ended_before_it_starts_again(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(python_service("parent", SLEEP_BESIDE_A_CHILD))
    process = psutil.Process(supervisor.pids()["parent"])
    assert eventually(process.children)
    orphan = process.children()[0].pid

    process.kill()

    assert eventually(lambda: is_gone(orphan))


def test_service_is_killed_when_it_does_not_end_in_its_grace(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(python_service("stubborn", SLEEP_AND_REFUSE_TO_END, grace_s=0.3))
    pid = supervisor.pids()["stubborn"]
    assert eventually(lambda: ignores_term(pid))

    started_s = time.monotonic()
    supervisor.stop()

    assert is_gone(pid)
    assert time.monotonic() - started_s > 0.3


def test_services_end_in_reverse_order(supervise: Callable[..., Supervisor], short_dir: Path) -> None:
    diary = short_dir / "diary"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(0.1); open({diary!r}, 'a').write({name!r}); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open({diary!r}, 'a').write('+')\n"
        "time.sleep(600)\n"
    )
    services = [python_service(name, code.format(diary=str(diary), name=name)) for name in "abc"]
    supervisor = supervise(*services)
    assert eventually(lambda: diary.exists() and diary.read_text() == "+++")

    supervisor.stop()

    assert diary.read_text() == "+++cba"


def test_large_log_is_set_aside_when_a_service_starts(supervise: Callable[..., Supervisor], short_dir: Path) -> None:
    log = short_dir / "sleeper.log"
    log.write_bytes(b"x" * (8 * 1024 * 1024 + 1))

    supervise(python_service("sleeper", SLEEP))

    assert log.stat().st_size == 0
    assert log.stat().st_mode & 0o777 == 0o600
    assert (short_dir / "sleeper.log.1").stat().st_size == 8 * 1024 * 1024 + 1


@pytest.mark.parametrize("name", ["long" * 30, "with a space?"])
def test_valkey_gets_a_private_temporary_folder_when_its_path_does_not_fit(
    supervise: Callable[..., Supervisor], short_dir: Path, name: str
) -> None:
    data_dir = short_dir / name

    with socket_path(data_dir) as path:
        supervise(valkey_service(data_dir, path, dict(os.environ)))
        assert eventually(lambda: answers_ping(path))
        private = path.parent
        assert private != data_dir / "run"
        assert private.stat().st_mode & 0o777 == 0o700

    assert not private.exists()
