"""A module of `worker.training` as a process of its own: here nothing loads a network."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from api.cli.child import leashed, open_log
from api.cli.client import Json
from api.cli.services import base_environment, python_module


def run_training_module(
    name: str, options: Mapping[str, object], log_dir: Path, on_event: Callable[[Json], None]
) -> int:
    """Run `worker.training.<name>` to its end; returns its exit code.

    `on_event` hears the JSON lines that it says; what else it writes lies in `<name>.log`.
    """
    words = (str(word) for option in options.items() for word in option)
    command = (*python_module(f"worker.training.{name}"), *words)
    log = open_log(log_dir, name)
    try:
        process = subprocess.Popen(
            leashed(command), env=base_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    finally:
        os.close(log)
    with process:
        try:
            for line in process.stdout or ():
                on_event(json.loads(line))
        except BaseException:
            process.kill()
            raise
    return process.returncode
