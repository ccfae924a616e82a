"""The processes that chaos may hurt: those that its own supervisor started, and their children."""

import contextlib
import os
import signal
from pathlib import Path


def children(pid: int) -> list[int]:
    """The children of a process, by the kernel's own list; none where it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def children_running(pid: int, module: str) -> list[int]:
    """The children of a process that run this module of ours."""
    return [child for child in children(pid) if module.encode() in _command(child)]


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def is_dead(pid: int) -> bool:
    """True when a process is gone, or is only waited for by its parent."""
    try:
        # After the name in brackets, which may hold anything, comes the state.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_tree(pid: int) -> bool:
    """kill -9 of a process and its children, the parent first; False when it is gone."""
    below = children(pid)
    killed = send(pid, signal.SIGKILL)
    for child in below:
        send(child, signal.SIGKILL)
    return killed
