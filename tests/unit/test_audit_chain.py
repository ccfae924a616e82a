"""The chain of audit events holds as it was sealed, and shows the first place that was altered."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.audit_chain import START, Break, Link, event_text, follow, next_seal, seals


@dataclass(frozen=True)
class Made:
    """An event as its row has it."""

    id: int
    at: datetime = datetime(2026, 1, 31, 22, tzinfo=UTC)
    principal_id: int | None = 1
    action: str = "report.make"
    object_kind: str = "report"
    object_id: str = "r"
    detail: dict[str, Any] = field(default_factory=lambda: {"number": 1, "name": "ä"})


EVENTS = [Made(3), Made(1), Made(7)]


def links() -> list[Link]:
    return [
        Link(seal.sequence, event.id, seal.digest, event)
        for seal, event in zip(seals(START, EVENTS), EVENTS, strict=True)
    ]


def test_chain_holds_when_nothing_was_altered() -> None:
    last, broken = follow(START, links())

    assert (last, broken) == (list(seals(START, EVENTS))[-1], None)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 2},
        {"at": datetime(2026, 1, 31, 22, 0, 0, 1, tzinfo=UTC)},
        {"principal_id": None},
        {"action": "report.sign"},
        {"object_kind": "job"},
        {"object_id": "s"},
        {"detail": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_chain_breaks_where_any_part_of_an_event_was_altered(change: dict[str, Any]) -> None:
    altered = links()
    altered[1] = replace(altered[1], event=replace(EVENTS[1], **change))

    last, broken = follow(START, altered)

    assert last.sequence == 1
    assert broken is not None
    assert (broken.sequence, broken.event_id) == (2, 1)


def test_chain_breaks_where_a_seal_or_an_event_is_gone() -> None:
    without_seal = [link for link in links() if link.sequence != 2]
    without_event = [replace(link, event=None) if link.sequence == 2 else link for link in links()]

    assert follow(START, without_seal)[1] == Break(2, None, "there is no seal of this number")
    assert follow(START, without_event)[1] == Break(2, 1, "its event is gone")


def test_chain_breaks_after_an_altered_seal_that_was_made_to_fit_its_event() -> None:
    altered = links()
    forged = Made(1, action="nothing")
    seal = next_seal(next(iter(seals(START, EVENTS))), forged)
    altered[1] = Link(2, 1, seal.digest, forged)

    _, broken = follow(START, altered)

    assert broken is not None
    assert broken.sequence == 3


def test_event_has_one_text_whatever_its_time_zone_and_the_order_of_its_detail() -> None:
    moved = replace(
        EVENTS[0],
        at=EVENTS[0].at.astimezone(timezone(timedelta(hours=5))),
        detail=dict(reversed(EVENTS[0].detail.items())),
    )

    assert event_text(moved) == event_text(EVENTS[0])
