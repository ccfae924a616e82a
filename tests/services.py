"""Services of the product as processes of their own, beside a database that a test has prepared."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import httpx

from shared.config import Settings
from tests.system import eventually, free_port


def start_service(
    name: str, settings: Settings, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[bytes]:
    """`python -m NAME.serve` with these settings; what it logs is added to a file in its data folder."""
    with (settings.data_dir / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"{name}.serve"],
            env=os.environ | settings.environment() | dict(environment),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


@contextmanager
def serving(
    name: str, settings: Settings, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """The same for a while: killed with the block, if not before."""
    process = start_service(name, settings, environment)
    try:
        yield process
    finally:
        kill(process)


@contextmanager
def api_at(settings: Settings) -> Iterator[str]:
    """The API as a process of its own, and its URL once it answers; no worker or scheduler runs."""
    settings = settings.model_copy(update={"api_port": free_port()})
    url = f"http://127.0.0.1:{settings.api_port}"
    with serving("api", settings):
        eventually(lambda: _answers(url), 60, "the API answers")
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, and wait for its end; doing it twice is fine."""
    process.kill()
    process.wait()
