"""The digest of a report's document: the same before and after the database had it."""

from typing import Any

from shared.json_text import Written


def content_digest(document: dict[str, Any]) -> str:
    """sha256 of the document as JSON (ASCII) with sorted keys and no blanks."""
    return Written(document).digest
