"""The services by name, the environment each gets, and the commands that run one alone in the foreground."""

import os
import sys
from collections.abc import Callable

import click

from shared.config import Settings

MODULES = {
    "api": "api.serve",
    "worker": "worker.serve",
    "scheduler": "scheduler.serve",
    "migrate": "shared.migrate",
}
HELP = {
    "api": "Run the API alone, in the foreground.",
    "worker": "Run a worker alone, in the foreground.",
    "scheduler": "Run the scheduler alone, in the foreground.",
    "migrate": "Create or upgrade the database; the first time, print the admin token as JSON.",
}
# TensorFlow and the OpenMP runtimes greet at length; errors still come through.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "KMP_WARNINGS": "0"}
# What a user of the command line sets for himself is no service's business.
CLIENT_ONLY = frozenset({"OVERREAD_TOKEN", "OVERREAD_URL"})


def python_module(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours with this interpreter, whatever modules lie where the user stands."""
    return (sys.executable, "-P", "-m", module)


def base_environment() -> dict[str, str]:
    """This process's environment as a service should see it."""
    inherited = {name: value for name, value in os.environ.items() if name not in CLIENT_ONLY}
    return QUIET | {"PYTHONUNBUFFERED": "1"} | inherited


def service_environment(settings: Settings) -> dict[str, str]:
    """The environment that gives a service exactly these settings."""
    return base_environment() | settings.environment()


def command_for(name: str) -> click.Command:
    """The command that becomes this service, set up by OVERREAD_* variables."""

    def run() -> None:
        os.execvpe(sys.executable, python_module(MODULES[name]), base_environment())  # noqa: S606 - becomes it

    callback: Callable[[], None] = run
    return click.Command(name, callback=callback, help=HELP[name])
