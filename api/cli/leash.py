"""Stands between the supervisor and each service: ties the service's life to the supervisor's, then becomes it.

Run as a plain file, `python -I -S leash.py PARENT_PID COMMAND...`: a fresh interpreter may call prctl safely, while
code run between fork and exec in a threaded supervisor may deadlock. Where there is no prctl (macOS) the service
ends with an orderly end of the supervisor only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask the kernel to end this process with its parent, then execute the command in its place."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its service began")
    # Python ignores SIGPIPE, and what is ignored stays so across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list from the supervisor, and becoming it is the point
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
