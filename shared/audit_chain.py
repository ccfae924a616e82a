"""The chain of audit events: each seal's digest covers its event and the seal before it. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol


class Event(Protocol):
    """An audit event as its row has it."""

    @property
    def id(self) -> int:
        """The row."""

    @property
    def at(self) -> datetime:
        """When."""

    @property
    def principal_id(self) -> int | None:
        """Who; None: the system."""

    @property
    def action(self) -> str:
        """What was done."""

    @property
    def object_kind(self) -> str:
        """To what kind of thing."""

    @property
    def object_id(self) -> str:
        """To which."""

    @property
    def detail(self) -> dict[str, Any]:
        """More of it."""


@dataclass(frozen=True)
class Seal:
    """A place in the chain, and the digest of everything up to it."""

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)

# Before the first event.
START = Seal(0, "0" * 64)


@dataclass(frozen=True)
class Break:
    """Where the chain does not hold, and why."""

    sequence: int
    event_id: int | None
    why: str


@dataclass(frozen=True)
class Link:
    """A stored seal beside the event that it speaks of; None where that row is gone."""

    sequence: int
    event_id: int
    digest: str
    event: Event | None


def event_text(event: Event) -> str:
    """The event as canonical JSON: sorted keys, no spaces, its time in UTC."""
    said = {
        "id": event.id,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "principal_id": event.principal_id,
        "action": event.action,
        "object_kind": event.object_kind,
        "object_id": event.object_id,
        "detail": event.detail,
    }
    return _CANONICAL.encode(said)


def next_seal(before: Seal, event: Event) -> Seal:
    """The seal of an event that comes after another seal: sha256 of that one's digest and the event's text."""
    text = before.digest + event_text(event)
    return Seal(before.sequence + 1, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def seals(before: Seal, events: Iterable[Event]) -> Iterator[Seal]:
    """The seals of events, in their order."""
    for event in events:
        before = next_seal(before, event)
        yield before


def follow(before: Seal, links: Iterable[Link]) -> tuple[Seal, Break | None]:
    """Go along stored links; the last seal that holds, and the first that does not."""
    for link in links:
        wrong = _wrong(before, link)
        if wrong is not None:
            return before, wrong
        before = Seal(link.sequence, link.digest)
    return before, None


def _wrong(before: Seal, link: Link) -> Break | None:
    if link.sequence != before.sequence + 1:
        return Break(before.sequence + 1, None, "there is no seal of this number")
    if link.event is None:
        return Break(link.sequence, link.event_id, "its event is gone")
    if next_seal(before, link.event).digest != link.digest:
        return Break(link.sequence, link.event_id, "the event or the seal is not what it was when it was sealed")
    return None
