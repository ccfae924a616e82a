"""What proves to a receiver that a notice is ours. Pure."""

import hmac
import json
from collections.abc import Mapping
from typing import Any


def body_bytes(body: Mapping[str, Any]) -> bytes:
    """The same bytes for the same body, whatever the database did to the order of its keys."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hex digits of HMAC-SHA256 over the timestamp, a point and the body."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, "sha256").hexdigest()
