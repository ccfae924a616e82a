"""`report --versions`: the chain of versions that a report belongs to."""

from collections.abc import Callable
from typing import Any

from api.cli.client import Json
from api.cli.jobs import model_name
from api.cli.output import moment
from api.cli.session import Session

VERSION_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("version", lambda version: version["number"]),
    ("status", lambda version: version["status"]),
    ("made by", lambda version: f"{version['origin']}, {version['by']}" if version["by"] else version["origin"]),
    ("model", lambda version: model_name(version["model"])),
    ("created", lambda version: moment(version["created_at"])),
    ("changed", lambda version: changes_text(version["changes"])),
    ("report", lambda version: version["id"]),
]


def changes_text(changes: Json | None) -> str:
    """Which parts differ from the version before, with the findings and verdicts by name."""
    parts = []
    for name, part in (changes or {}).items():
        if name == "since":
            continue
        codes = [one["code"] for one in part] if isinstance(part, list) else []
        parts.append(f"{name.replace('_', ' ')} ({', '.join(codes)})" if codes else name.replace("_", " "))
    return ", ".join(parts)


def show_versions(session: Session, path: str) -> None:
    """The chain of the report at `path`, the oldest version first."""
    answer = session.client.collect(f"{path}/versions")
    session.show_list(answer, VERSION_COLUMNS, "There are no versions.", whole=("report",))
