"""What people said of a report, and what it suggests to do: the parts of its summary that are no results."""

from collections.abc import Callable
from typing import Any

from api.cli.client import Json
from api.cli.output import moment

SUGGESTION_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("what", lambda one: f"{one['action'].replace('_', ' ')}: {one['text']}"),
    ("finding", lambda one: one["display"]),
    ("urgency", lambda one: one["urgency"]),
    ("due", lambda one: moment(one["due_at"])),
]


def review_facts(document: Json) -> list[tuple[str, Any]]:
    """Who reviewed or signed it and when, the comment and the reason; nothing where nobody did."""
    review = document.get("review")
    if not review:
        return []
    retracted = document["version"]["status"] == "retracted"
    done = "retracted by" if retracted else "signed by" if review["signed"] else "reviewed by"
    facts = [(done, f"{review['reviewer']}, {moment(review['reviewed_at'])}")]
    return facts + [(name, review[name]) for name in ("comment", "reason") if review[name]]


def with_verdicts(document: Json) -> list[Json]:
    """The findings, each with the `verdict` on it in words, none where there is none."""
    said = (document.get("review") or {"verdicts": []})["verdicts"]
    words = {one["finding"]: one["verdict"] + (f": {one['note']}" if one["note"] else "") for one in said}
    return [finding | {"verdict": words.get(finding["code"])} for finding in document["findings"]]
