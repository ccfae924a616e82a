"""The embedded system whole: Valkey, API, worker and scheduler on one data folder, as long as the block lasts."""

import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from api.cli import valkey
from api.cli.child import Service, leashed, open_log
from api.cli.errors import StartError
from api.cli.folders import check_free_space, keep_token, prepare_data_dir, sole_use
from api.cli.places import default_schedulers, worker_places
from api.cli.services import MODULES, python_module, service_environment
from api.cli.supervisor import RestartPolicy, Supervisor
from shared.config import Settings, load_settings

MIGRATE_TIMEOUT_S = 300.0
READY_TIMEOUT_S = 120.0
PORT_WAIT_S = 3.0  # a copy that was killed just now lets go of its port within this time
GRACE_S = {"api": 10.0, "worker": 20.0, "scheduler": 15.0}
# Ended in reverse: API, worker, scheduler.
START_ORDER = ("scheduler", "worker", "api")


@dataclass(frozen=True)
class RunningSystem:
    """What `embedded_system` gives: the address, the token made just now if any, and the supervisor."""

    url: str
    new_token: str | None
    supervisor: Supervisor
    settings: Settings


@dataclass(frozen=True)
class Layout:
    """How many processes of a service run, those that are named, with which settings beside the environment's."""

    copies: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    policy: RestartPolicy | None = None


@contextmanager
def embedded_system(
    data_dir: Path,
    host: str | None,
    port: int | None,
    on_event: Callable[[str], None],
    layout: Layout | None = None,
) -> Iterator[RunningSystem]:
    """Start everything on `data_dir` (port 0: a free one), wait until it is ready, end everything at the end."""
    layout = layout or Layout()
    with ExitStack() as stack:
        prepare_data_dir(data_dir)
        stack.enter_context(sole_use(data_dir))
        given = dict(layout.settings) | {"data_dir": data_dir, "api_host": host, "api_port": port}
        settings, socket_path = _settle(stack, given)
        check_free_space(data_dir, settings.min_free_bytes)
        stack.enter_context(_log_to(data_dir / "logs" / "supervisor.log"))
        environment = service_environment(settings)
        token = _migrate(data_dir, environment)
        if token is not None:
            keep_token(data_dir, token)
        services = list(_services(settings, socket_path, layout.copies))
        supervisor = Supervisor(services, data_dir / "logs", policy=layout.policy, on_event=on_event)
        supervisor.start()
        stack.callback(supervisor.stop)
        url = client_url(settings.api_host, settings.api_port)
        _await_ready(url, supervisor)
        yield RunningSystem(url, token, supervisor, settings)


def client_url(host: str, port: int) -> str:
    """The address at which this machine reaches an API that listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared only
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def choose_port(host: str, port: int, wait_s: float = PORT_WAIT_S) -> int:
    """The port if it is free, or a free one for 0; raises StartError with the remedy."""
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return _bind_once(host, port)
        except OSError as error:
            if time.monotonic() > deadline_s or isinstance(error, socket.gaierror | PermissionError):
                raise StartError(
                    f"cannot listen on {host}, port {port}: {error.strerror}. "
                    "Choose another port with --port (0: any free one) or another --host"
                ) from error
            time.sleep(0.2)


def _bind_once(host: str, port: int) -> int:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


def _settle(stack: ExitStack, given: Mapping[str, object]) -> tuple[Settings, Path | None]:
    """The settings every service gets, and the embedded broker's socket (None: the broker is elsewhere)."""
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(**overrides)
    overrides["api_port"] = choose_port(settings.api_host, settings.api_port)
    socket_path = None
    if settings.broker_url == valkey.broker_url(valkey.default_socket(settings.data_dir)):
        socket_path = stack.enter_context(valkey.socket_path(settings.data_dir))
        overrides["broker_url"] = valkey.broker_url(socket_path)
    return load_settings(**overrides), socket_path


def _services(settings: Settings, socket_path: Path | None, copies: Mapping[str, int]) -> Iterator[Service]:
    environment = service_environment(settings)
    if socket_path is not None:
        yield valkey.valkey_service(settings.data_dir, socket_path, environment)
    for name in START_ORDER:
        number = copies.get(name, default_schedulers(settings) if name == "scheduler" else 1)
        places = worker_places(number, settings) if name == "worker" else [{}] * number
        for copy, place in enumerate(places, start=1):
            called = name if copy == 1 else f"{name}-{copy}"
            yield Service(called, python_module(MODULES[name]), environment | place, grace_s=GRACE_S[name])


def _migrate(data_dir: Path, environment: Mapping[str, str]) -> str | None:
    """Bring the schema up to date; the admin token when this made the first principal."""
    log_path = data_dir / "logs" / "migrate.log"
    log = open_log(log_path.parent, "migrate")
    try:
        done = subprocess.run(
            leashed(python_module(MODULES["migrate"])),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=MIGRATE_TIMEOUT_S,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise StartError(f"the database could not be brought up to date; why is in {log_path}") from error
    finally:
        os.close(log)
    token = json.loads(done.stdout.splitlines()[-1])["token"]
    return None if token is None else str(token)


def _await_ready(url: str, supervisor: Supervisor) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    answer = "it gave no answer"
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline_s:
            supervisor.wait(0.2)
            try:
                response = client.get("/readyz")
            except httpx.HTTPError:
                continue
            if response.is_success:
                return
            answer = f"GET /readyz said {response.status_code}: {response.text[:200]}"
    raise StartError(f"the system is not ready after {READY_TIMEOUT_S:g} s; {answer}. The logs say more")


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    supervisor_logger = logging.getLogger("overread.supervisor")
    supervisor_logger.setLevel(logging.INFO)
    supervisor_logger.propagate = False
    supervisor_logger.addHandler(handler)
    try:
        yield
    finally:
        supervisor_logger.removeHandler(handler)
        handler.close()
