"""The page for those who receive notices keeps its word: its check takes what the sender signs, and nothing else."""

import re
import time
from pathlib import Path
from typing import Any

from scheduler.notices.signature import body_bytes, signature
from shared.config import Settings
from shared.events import Event
from tests.receiver import SECRET

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
(SNIPPET,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def genuine(body: bytes, *, age_s: int = 0, secret: str = SECRET, signed: bytes | None = None) -> bool:
    """What the page's function says of a notice that was signed so long ago."""
    told: dict[str, Any] = {}
    exec(SNIPPET, told)
    timestamp = str(int(time.time()) - age_s)
    made = signature(secret, timestamp, body if signed is None else signed)
    return bool(told["is_genuine"](SECRET, {"Overread-Timestamp": timestamp, "Overread-Signature": made}, body))


def test_snippet_takes_what_the_sender_signs_and_nothing_else() -> None:
    body = body_bytes({"event": "job.ended", "object": {"kind": "job", "id": "1"}})

    assert genuine(body)
    assert not genuine(body, secret="another secret, as long as that one")
    assert not genuine(body, signed=body + b" ")
    assert not genuine(body, age_s=600)


def test_page_names_every_event_and_only_settings_that_exist() -> None:
    settings = {f"OVERREAD_{name.upper()}" for name in Settings.model_fields}

    assert [event for event in Event if f"`{event}`" not in PAGE] == []
    assert set(re.findall(r"\bOVERREAD_[A-Z_]+\b", PAGE)) <= settings


def test_body_is_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    assert body_bytes({"b": 1, "a": {"d": 2, "c": 3}}) == body_bytes({"a": {"c": 3, "d": 2}, "b": 1})
