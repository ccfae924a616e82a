"""JSON that is written once: what is stored is the very text that was digested."""

import hashlib
import json
from typing import Any

# ASCII: every string that Python holds can be written, and is read as it was.
_write_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_write = json.JSONEncoder(allow_nan=False).encode


class Written(dict[str, Any]):
    """A document as JSON with sorted keys, `text`, and its sha256, `digest`; it is not to be changed any more.

    Numbers come back from both databases as they went in: documents hold no -0.0, and no float of 1e16 or more.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.text = _write_sorted(document)
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()


def to_json(value: object) -> str:
    """What the databases' columns of JSON are given."""
    return value.text if isinstance(value, Written) else _write(value)
