"""A child process that gives way to others."""

import os


def give_way(pid: int, niceness: int) -> None:
    """Make a process at least so nice; one that is nicer already, as its parent is, stays so: it may not be less."""
    os.setpriority(os.PRIO_PROCESS, pid, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
