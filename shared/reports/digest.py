"""The digest of a report's document: the same before and after the database had it."""

import hashlib
import json
from typing import Any


def content_digest(document: dict[str, Any]) -> str:
    """sha256 of the document as JSON with sorted keys.

    Numbers come back from both databases as they went in: documents hold no -0.0, and no float of 1e16 or more.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
