"""A version that a person makes is written whole or not at all, once, and the chain stays one line."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from api import idempotency
from api.documents.formats import FORMATS
from scheduler.aggregation.report import Aggregation
from shared.db import WritersTurn, reading
from shared.models import AuditEvent, JobPatient, Label, PatientSplit, Report, ReportRendition, Review, ReviewVerdict
from shared.reports.digest import content_digest
from tests.conftest import Api
from tests.factories import rows_of
from tests.reviews import (
    CODES,
    NOTHING,
    REPORTS,
    aggregate,
    model,
    physician,
    predict,
    read,
    reported,
    say,
    sign,
)

MIXED = (0.9, 0.2, 0.3)
ALL = {"findings": [{"code": code, "verdict": "agree"} for code in CODES], "sign": True}
TABLES = (Report, Review, ReviewVerdict, Label, PatientSplit, AuditEvent, ReportRendition)


def counts(api: Api) -> list[int]:
    with reading(api.prepared.engine) as session:
        return [rows_of(session, table) for table in TABLES]


def chain(api: Api) -> list[Report]:
    """The versions there are, checked: numbers without gaps, each after the one before, each with its digest."""
    with reading(api.prepared.engine) as session:
        found = list(session.scalars(select(Report).order_by(Report.number)))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert found[0].supersedes is None
    for before, after in pairwise(found):
        assert after.supersedes == before.id
        assert after.document["changes"]["since"] == {"id": str(before.id), "number": before.number}
    assert all(one.content_digest == content_digest(one.document) for one in found)
    return found


@contextmanager
def dying_at(engine: Engine, table: str) -> Iterator[None]:
    """As if the process ended as it writes the first row of a table."""

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", die)
    yield
    event.remove(engine, "before_cursor_execute", die)


@pytest.mark.parametrize(
    "table", ["report", "review", "review_verdict", "label", "patient_split", "audit_event", "report_rendition"]
)
def test_signature_leaves_nothing_half_when_it_breaks_off(any_api: Api, table: str) -> None:
    first = reported(any_api.prepared, MIXED)
    headers = physician(any_api) | read(any_api, first) | {"Idempotency-Key": "mine"}
    before = counts(any_api)

    with dying_at(any_api.app.extensions["overread"].engine, table), pytest.raises(KeyboardInterrupt):
        any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers)

    assert counts(any_api) == before
    made = any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers)
    assert (made.status_code, made.json["number"]) == (201, 2)
    assert [after - was for after, was in zip(counts(any_api), before, strict=True)] == [1, 1, 3, 3, 1, 2, 7]
    chain(any_api)


@pytest.mark.parametrize("act", ["amend", "retract"])
def test_amendment_and_retraction_leave_the_labels_when_they_break_off(any_api: Api, act: str) -> None:
    me = physician(any_api)
    final = sign(any_api, me, reported(any_api.prepared, MIXED))
    body: dict[str, Any] = {"verdicts": {"mass": "disagree"}} if act == "amend" else {}
    before = counts(any_api)

    with dying_at(any_api.app.extensions["overread"].engine, "audit_event"), pytest.raises(KeyboardInterrupt):
        say(any_api, me, final["id"], act, reason="seen again", **body)

    assert counts(any_api) == before
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Label, Label.superseded_at.is_(None)) == 3
    assert say(any_api, me, final["id"], act, reason="seen again", **body).status_code == 201


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_of_two_reviewers_at_once_one_wins_and_the_other_is_told(any_api: Api, is_signed: bool) -> None:
    first = reported(any_api.prepared, MIXED)
    people = [physician(any_api, f"dr.{letter}") | read(any_api, first) for letter in "abcd"]
    together = Barrier(len(people))

    def review(headers: dict[str, str]) -> Any:
        together.wait()
        return any_api.post(f"{REPORTS}/{first}/review", json=ALL | {"sign": is_signed}, headers=headers)

    with ThreadPoolExecutor(len(people)) as pool:
        answers = list(pool.map(review, people))

    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]
    _, won = chain(any_api)
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json["newer"]["id"] == str(won.id), answer.text
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Review) == 1
        assert rows_of(session, Label) == (3 if is_signed else 0)


def test_same_request_at_once_makes_one_version(any_api: Api) -> None:
    first = reported(any_api.prepared, MIXED)
    headers = physician(any_api) | read(any_api, first) | {"Idempotency-Key": "mine"}

    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers), range(4))
        )

    assert 201 in {one.status_code for one in answers} <= {201, 409}
    again = any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers)
    assert (again.status_code, again.headers["Idempotent-Replay"]) == (201, "true")
    assert len(chain(any_api)) == 2


def test_chain_stays_one_line_when_results_come_with_a_signature(any_api: Api) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    newest = aggregate(prepared)
    outcomes = set()
    for turn in range(6):
        predict(prepared, version, {f"1.2.2026020{turn + 1}": [NOTHING]})
        headers = me | read(any_api, newest)
        together = Barrier(2)

        def look(together: Barrier = together) -> None:
            together.wait()
            Aggregation(prepared.engine).run()

        with ThreadPoolExecutor(1) as pool:
            looked = pool.submit(look)
            together.wait()
            answer = any_api.post(f"{REPORTS}/{newest}/review", json=ALL, headers=headers)
            looked.result()
        outcomes.add(answer.status_code)
        # Whoever lost looks again.
        Aggregation(prepared.engine).run()
        last = chain(any_api)[-1]
        assert last.origin == "results"
        assert len(last.document["studies"]) == turn + 2
        newest = str(last.id)
        with reading(prepared.engine) as session:
            assert rows_of(session, JobPatient, JobPatient.reported_at.is_(None)) == 0

    assert outcomes <= {201, 409}
    signed = [one for one in chain(any_api) if one.origin == "signature"]
    with reading(prepared.engine) as session:
        assert rows_of(session, Review) == len(signed)


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> list[bool]:
    """Have something happen before the next transaction that writes begins; true once it did."""
    take = WritersTurn.take
    struck: list[bool] = []

    def come(turn: WritersTurn) -> None:
        if not struck:
            struck.append(True)
            act()
        take(turn)

    monkeypatch.setattr(WritersTurn, "take", come)
    return struck


def test_signature_loses_when_results_came_between_its_reading_and_its_writing(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    first = aggregate(prepared)
    predict(prepared, version, {"1.2.20260201": [NOTHING]})
    headers = me | read(any_api, first)

    struck = between(monkeypatch, Aggregation(prepared.engine).run)
    answer = any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers)

    assert struck
    assert (answer.status_code, answer.json["newer"]["number"]) == (409, 2)
    assert [one.origin for one in chain(any_api)] == ["results", "results"]
    with reading(prepared.engine) as session:
        assert rows_of(session, Review) == rows_of(session, Label) == 0


def test_results_lose_and_look_again_when_a_signature_came_between(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = any_api.prepared
    version, me = model(prepared), physician(any_api)
    predict(prepared, version, {"1.2.20260101": [MIXED]})
    first = aggregate(prepared)
    predict(prepared, version, {"1.2.20260201": [NOTHING]})

    struck = between(monkeypatch, lambda: sign(any_api, me, first))
    # One look may lose and look again by itself, on SQLite; on PostgreSQL it reads in the transaction that writes.
    settled = Aggregation(prepared.engine).run() + Aggregation(prepared.engine).run()

    assert struck
    assert settled == 1
    assert [(one.origin, one.status) for one in chain(any_api)] == [
        ("results", "preliminary"),
        ("signature", "final"),
        ("results", "preliminary"),
    ]


def test_key_is_held_for_as_long_as_the_documents_take(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request with it would else take it over, make all documents too, and the first one's work be lost."""
    monkeypatch.setattr(idempotency, "RESERVATION_S", 0.5)
    monkeypatch.setattr(idempotency, "RENEWAL_S", 0.1)
    kind, one = next(iter(FORMATS.items()))
    making, make = Event(), one.make

    def slowly(*given: Any, **named: Any) -> bytes:
        making.set()
        time.sleep(1.5)
        return make(*given, **named)

    monkeypatch.setitem(FORMATS, kind, replace(one, make=slowly))
    first = reported(any_api.prepared, MIXED)
    headers = physician(any_api) | read(any_api, first) | {"Idempotency-Key": "mine"}

    with ThreadPoolExecutor(1) as pool:
        signing = pool.submit(any_api.post, f"{REPORTS}/{first}/review", json=ALL, headers=headers)
        assert making.wait(20)
        time.sleep(1.0)
        second = any_api.post(f"{REPORTS}/{first}/review", json=ALL, headers=headers)

    assert (second.status_code, "still at work" in second.json["detail"]) == (409, True)
    assert signing.result().status_code == 201
    assert len(chain(any_api)) == 2
