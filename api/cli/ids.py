"""Ids on the command line: a slip is told before the server is asked."""

import re
from collections.abc import Callable
from typing import ParamSpec

import click

P = ParamSpec("P")
ID_WIDTH = 36
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def is_id(value: str) -> bool:
    """True for a UUID in the form that the API takes."""
    return _ID.fullmatch(value) is not None


def id_argument(kind: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """The argument ID of a command, passed on as `job_id` for the kind `job`."""
    return click.argument(f"{kind}_id", metavar="ID", callback=checked_id(kind))


def checked_id(kind: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A callback that refuses what cannot be the id of such a thing."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and not is_id(value):
            raise click.UsageError(f"{value} is not a {kind} id; list them with overread {kind}s")
        return value

    return check
