"""How answers look in a terminal; text that came from files or other people is shown as text, never obeyed."""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.errors import WriteError
from shared.direction import TURNS

PIPED_WIDTH = 240  # nobody reads a pipe's margins, and identifiers should stay whole
MAX_CONTROL = 0x9F


def make_console(*, to_stderr: bool = False) -> Console:
    """A console for answers, or for remarks."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(stderr=to_stderr, width=None if stream.isatty() else PIPED_WIDTH, highlight=False)


def json_text(value: Any) -> str:
    """JSON for people and programs alike; control codes stay escaped, so a terminal does not obey them."""
    return json.dumps(value, indent=2)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read: such as a report, which names a patient."""
    data = content.encode() if isinstance(content, str) else content
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}; name another file or mend that") from error


def plain(value: Any) -> Text:
    """A value as text without markup or terminal control codes."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, Text):
        return value
    if isinstance(value, list | tuple):
        value = ", ".join(str(part) for part in value)
    if isinstance(value, float):
        value = f"{value:.3g}"
    return Text("".join(character for character in str(value) if _is_harmless(character)))


def _is_harmless(character: str) -> bool:
    code = ord(character)
    is_control = code < ord(" ") or ord("~") < code <= MAX_CONTROL
    return character == "\n" or not (is_control or character in TURNS)


def make_table(
    columns: Sequence[tuple[str, Callable[[Any], Any]]],
    rows: Iterable[Any],
    title: str | None = None,
    whole: Collection[str] = (),
) -> Table:
    """A table of (heading, how to read the cell from a row); columns named in `whole` are never folded."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.show_header = any(heading for heading, _ in columns)
    for heading, _ in columns:
        table.add_column(heading, overflow="fold", no_wrap=heading in whole)
    for row in rows:
        table.add_row(*(plain(read(row)) for _, read in columns))
    return table


def moment(value: str | None) -> str | None:
    """An API time (ISO 8601, UTC) in this machine's time zone, to the second."""
    if value is None:
        return None
    return f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M:%S}"


def eta_text(job: Mapping[str, Any]) -> str | None:
    """When a job is likely to be over, from now, and how sure that is; None where nobody knows."""
    if job["eta_s"] is None:
        return None
    error = "" if job["eta_error_s"] is None else f" ± {_duration(job['eta_error_s'])}"
    return f"in {_duration(job['eta_s'])}{error}"


def _duration(seconds: float) -> str:
    for unit, length_s in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


STATE_STYLES = {
    "done": "green",
    "partial": "yellow",
    "failed": "red",
    "skipped": "dim",
    "cancelled": "dim",
    "running": "cyan",
}


def state(value: str) -> Text:
    """A state in its colour."""
    return Text(value, style=STATE_STYLES.get(value, ""))
