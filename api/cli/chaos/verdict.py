"""Asks the oracle, in a process of its own: the command line knows nothing of the database."""

import json
import subprocess
from pathlib import Path

from api.cli.child import leashed
from api.cli.client import Json
from api.cli.errors import StartError
from api.cli.services import python_module, service_environment
from shared.config import Settings

ORACLE = "shared.oracle"
TIMEOUT_S = 3600.0
JUDGED = (0, 1)  # its exit codes when it came to a verdict


def ask_oracle(settings: Settings, *, jobs: Path | None = None, faults: Path | None = None, sample: int = 0) -> Json:
    """The oracle's verdict on the system of these settings."""
    named = {"--acknowledged": jobs, "--faults": faults, "--sample": sample or None}
    words = [str(word) for name, value in named.items() if value is not None for word in (name, value)]
    done = subprocess.run(
        leashed((*python_module(ORACLE), "--json", *words)),
        env=service_environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode not in JUDGED or not done.stdout:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise StartError(f"the oracle came to no verdict: {' '.join(last) or 'it said nothing'}")
    answer: Json = json.loads(done.stdout)
    return answer
