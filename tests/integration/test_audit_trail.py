"""Audit events are sealed in order, once, a bounded number at a time, and can be looked up."""

from collections.abc import Sequence
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, text

import scheduler.seals
from api.services import services
from scheduler.seals import Sealing
from shared.clock import utc_now
from shared.db import reading
from shared.models import AuditEvent, AuditSeal
from shared.repositories.audit import add_audit_event, add_audit_events
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api, Prepared
from tests.factories import admin_id


def add_events(prepared: Prepared, number: int, action: str = "thing.do") -> None:
    with UnitOfWork(prepared.engine) as uow:
        add_audit_events(uow.session, None, action, "thing", {at: {"at": at} for at in range(number)})


def sealed_ids(prepared: Prepared) -> Sequence[int]:
    with reading(prepared.engine) as session:
        assert list(session.scalars(select(AuditSeal.sequence).order_by(AuditSeal.sequence))) == list(
            range(1, len(session.scalars(select(AuditSeal.sequence)).all()) + 1)
        )
        return session.scalars(select(AuditSeal.event_id).order_by(AuditSeal.sequence)).all()


def all_ids(prepared: Prepared) -> Sequence[int]:
    with reading(prepared.engine) as session:
        return session.scalars(select(AuditEvent.id).order_by(AuditEvent.id)).all()


def test_events_are_sealed_in_order_a_bounded_number_a_turn(
    any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler.seals, "MOST_EVENTS", 10)
    add_events(any_prepared, 25)
    sealing = Sealing(any_prepared.engine)

    turns = [sealing.run() for _ in range(4)]

    total = len(all_ids(any_prepared))
    assert turns == [10, 10, total - 20, 0]
    assert sealed_ids(any_prepared) == all_ids(any_prepared)


def test_event_that_commits_late_is_sealed_later(any_prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler.seals, "LOOK_BACK", 2)
    monkeypatch.setattr(scheduler.seals, "STRIDE", 3)
    add_events(any_prepared, 20)
    first, *_ = early = all_ids(any_prepared)[:2]
    with UnitOfWork(any_prepared.engine) as uow:
        late = uow.session.execute(select(*AuditEvent.__table__.c).where(AuditEvent.id.in_(early))).mappings().all()
        uow.session.execute(delete(AuditEvent).where(AuditEvent.id.in_(early)))
    sealing = Sealing(any_prepared.engine)
    while sealing.run():
        pass
    with UnitOfWork(any_prepared.engine) as uow:
        uow.session.execute(insert(AuditEvent), [dict(row) for row in late])

    found = sum(sealing.run() for _ in range(20))

    assert (found, sealed_ids(any_prepared)[-2:]) == (2, early)
    assert first == early[0]


def test_events_are_sealed_once_when_schedulers_race(any_prepared: Prepared) -> None:
    add_events(any_prepared, 200)
    together = Barrier(4)

    def run() -> None:
        together.wait()
        sealing = Sealing(any_prepared.engine)
        for _ in range(5):
            sealing.run()

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sealed_ids(any_prepared) == all_ids(any_prepared)


def test_chain_is_checked_in_parts_that_follow_one_another(any_api: Api) -> None:
    add_events(any_api.prepared, 30)
    Sealing(any_api.prepared.engine).run()
    add_events(any_api.prepared, 2)
    whole = any_api.get("/api/v1/audit/chain").json

    parts = [any_api.get("/api/v1/audit/chain?limit=7").json]
    while parts[-1]["next"]:
        parts.append(any_api.get(f"/api/v1/audit/chain?limit=7&cursor={parts[-1]['next']}").json)

    assert (whole["holds"], whole["broken"], whole["unsealed"], whole["next"]) == (True, None, 2, None)
    assert whole["oldest_unsealed_s"] >= 0.0
    assert (parts[-1]["last"], parts[-1]["head"]) == (whole["head"], whole["head"])
    assert len(parts) == whole["sealed"] // 7 + 1


def test_chain_that_was_written_anew_does_not_go_through_a_kept_head(any_api: Api) -> None:
    engine = any_api.prepared.engine
    add_events(any_api.prepared, 5)
    Sealing(engine).run()
    kept = any_api.get("/api/v1/audit/chain").json["head"]
    with UnitOfWork(engine) as uow:
        uow.session.execute(delete(AuditSeal))
        uow.session.execute(text("UPDATE audit_event SET action = 'thing.undo' WHERE action = 'thing.do'"))
    Sealing(engine).run()

    anew = any_api.get("/api/v1/audit/chain").json
    through = any_api.get(f"/api/v1/audit/chain?cursor={kept}").json

    assert (anew["holds"], through["holds"]) == (True, False)
    assert through["broken"]["why"] == "the chain does not go through this seal"


def test_audit_trail_is_listed_by_object_person_action_and_time(any_api: Api) -> None:
    add_events(any_api.prepared, 5)
    began = utc_now().isoformat()
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_audit_event(uow.session, admin_id(uow.session), "thing.undo", "thing", 3, why="tried")

    def listed(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = any_api.get("/api/v1/audit", query_string={"limit": "2"} | query).json["items"]
        return found

    (undone,) = listed(action="thing.undo")
    assert (undone["principal"], undone["object_id"], undone["detail"]) == ("admin", "3", {"why": "tried"})
    assert [one["action"] for one in listed(object_kind="thing", object_id="3")] == ["thing.undo", "thing.do"]
    assert listed(principal="nobody") == []
    assert undone in listed(principal="admin")
    assert listed(since=began) == [undone]
    first = any_api.get("/api/v1/audit?action=thing.do&limit=2").json
    second = any_api.get(f"/api/v1/audit?action=thing.do&limit=2&cursor={first['next']}").json
    assert [one["object_id"] for one in first["items"] + second["items"]] == ["4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "at"),
        ({"action": "thing.do"}, "action"),
        ({"principal": "admin"}, "principal_id"),
        ({"object_kind": "thing"}, "object_kind"),
        ({"object_kind": "thing", "object_id": "3"}, "object"),
    ],
    ids=str,
)
def test_index_leads_to_what_is_looked_for_and_gives_it_in_order(api: Api, query: dict[str, str], index: str) -> None:
    """With a million events anything else takes seconds; `since` narrows the same index."""
    plans: list[str] = []

    def explain(connection: Any, _: Any, statement: str, parameters: Any, *_others: Any) -> None:
        if statement.startswith("SELECT") and "audit_event.detail" in statement:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row.detail for row in rows)

    with api.app.app_context():
        engine = services().engine
    event.listen(engine, "before_cursor_execute", explain)
    asked = {"since": "2020-01-01T00:00:00Z"} | query
    assert api.get("/api/v1/audit", query_string=asked).status_code == 200

    steps = [step for step in plans if "audit_event" in step]
    assert len(steps) == 1
    assert f"USING INDEX ix_audit_event_{index} (" in steps[0]
    assert "at>?" in steps[0]
    assert not any("ORDER BY" in step for step in plans), plans
