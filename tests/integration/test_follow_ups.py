"""Reports that suggest something -> the worklist, and what people do with it, on each kind of database."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from scheduler.aggregation.draft import JobAndPatient, draft_reports
from scheduler.aggregation.report import write_reports
from shared.db import db_now, reading
from shared.models import AuditEvent, FollowUp, FollowUpMove, JobPatient, Report
from shared.states import FollowUpState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api, Prepared
from tests.factories import rows_of
from tests.paging import pages
from tests.readings import CONTROL, REVIEW, newest_report, read, read_again, register_rules
from tests.reviews import physician, say, sign

FOLLOW_UPS = "/api/v1/follow-ups"
NOBODY = "01a20fdb-8f94-75f9-9123-f4612e95134f"
BECAUSE = {"reason": "as agreed"}


def listed(api: Api, query: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"{FOLLOW_UPS}?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json["items"])


def act(api: Api, item: dict[str, Any], what: str, status: int = 200, **body: Any) -> Any:
    answer = api.post(f"{FOLLOW_UPS}/{item['id']}/{what}", json=BECAUSE | body)
    assert answer.status_code == status, answer.text
    return answer.json


def test_report_says_what_it_suggests_and_the_worklist_has_it(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW, CONTROL)

    read(engine, version, "P1", 0.9)
    read(engine, version, "P2", 0.5)
    read(engine, version, "P3", 0.1)

    first, second = listed(any_api)
    assert [(one["patient"]["patient_id"], one["action"]) for one in (first, second)] == [
        ("P1", "review"),
        ("P2", "control_study"),
    ]
    document = any_api.get(first["links"]["report"]).json["document"]
    assert [one["action"] for one in document["follow_ups"]] == ["review"]
    assert datetime.fromisoformat(document["follow_ups"][0]["due_at"]) == datetime.fromisoformat(first["due_at"])
    assert (second["due_at"], second["state"], second["is_overdue"]) == ("2026-04-01T00:00:00Z", "open", True)
    whole = any_api.get(first["links"]["self"]).json
    assert [(one["before"], one["after"], one["by"]) for one in whole["history"]] == [(None, "open", None)]
    with reading(engine) as session:
        assert rows_of(session, AuditEvent, AuditEvent.action == "follow_up.suggest") == 2


def test_next_report_that_suggests_it_again_has_the_same_item(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW)
    read(engine, version, "P1", 0.9)
    (before,) = listed(any_api)

    read(engine, version, "P1", 0.95, day="20260201")

    (after,) = listed(any_api)
    assert after["id"] == before["id"]
    assert after["report"] == str(newest_report(engine).id) != before["report"]
    assert after["due_at"] == before["due_at"]


def test_sooner_date_and_urgency_are_taken_over(any_api: Api) -> None:
    engine = any_api.prepared.engine
    slow = REVIEW | {"urgency": "routine", "within": {"days": 30}}
    read(engine, register_rules(engine, slow), "P1", 0.9)
    (before,) = listed(any_api)

    read_again(engine, register_rules(engine, REVIEW), "P1", 0.9)

    (after,) = listed(any_api)
    assert (before["urgency"], after["urgency"]) == ("routine", "urgent")
    assert after["due_at"] < before["due_at"]
    assert "sooner" in any_api.get(after["links"]["self"]).json["history"][-1]["reason"]


def test_open_item_is_withdrawn_when_the_next_report_does_not_suggest_it(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW)
    read(engine, version, "P1", 0.9)
    (item,) = listed(any_api)

    read(engine, version, "P1", 0.1, day="20260201")
    assert listed(any_api) == []
    assert any_api.get(item["links"]["self"]).json["state"] == "withdrawn"
    act(any_api, item, "acknowledge", 409)

    read(engine, version, "P1", 0.9, day="20260301")
    (again,) = listed(any_api)
    assert again["id"] != item["id"]


def test_item_is_withdrawn_when_a_version_without_the_rule_speaks(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW), "P1", 0.9)

    read_again(engine, register_rules(engine), "P1", 0.9)

    assert listed(any_api) == []


@pytest.mark.parametrize("what", ["acknowledge", "postpone"])
def test_item_that_somebody_took_on_is_not_withdrawn(any_api: Api, what: str) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW)
    read(engine, version, "P1", 0.9)
    (item,) = listed(any_api)
    act(any_api, item, what, **({"until": "2099-01-01T00:00:00Z"} if what == "postpone" else {}))

    read(engine, version, "P1", 0.1, day="20260201")

    (after,) = listed(any_api)
    assert (after["id"], after["reason"], after["by"]) == (item["id"], "as agreed", "admin")


def test_postponed_date_holds_until_another_study_suggests_it(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW)
    read(engine, version, "P1", 0.9)
    (item,) = listed(any_api)
    act(any_api, item, "postpone", until="2099-01-01T00:00:00Z")

    read_again(engine, register_rules(engine, REVIEW), "P1", 0.99)
    (same_study,) = listed(any_api)
    read(engine, version, "P1", 0.9, day="20260201")
    (other_study,) = listed(any_api)

    assert same_study["due_at"] == "2099-01-01T00:00:00Z"
    assert other_study["due_at"] < "2099"
    assert (other_study["id"], other_study["state"]) == (item["id"], "postponed")


def test_closed_item_comes_again_only_for_a_study_that_was_not_known(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW, time_scope={"kind": "all"})
    read(engine, version, "P1", 0.9)
    (item,) = listed(any_api)
    act(any_api, item, "close")

    read_again(engine, register_rules(engine, REVIEW, time_scope={"kind": "all"}), "P1", 0.95)
    assert listed(any_api) == []
    read(engine, version, "P1", 0.2, day="20260201")  # the patient's is still 0.9, of the study that was known
    assert listed(any_api) == []
    read(engine, version, "P1", 0.97, day="20260301")
    (again,) = listed(any_api)
    assert again["id"] != item["id"]


EVEN_SO = CONTROL | {"below": None}


def test_signature_closes_what_asked_for_a_review_and_leaves_the_rest(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW, EVEN_SO), "P1", 0.9)
    read(engine, register_rules(engine, REVIEW), "P2", 0.9)
    control, review = sorted(
        (one for one in listed(any_api) if one["patient"]["patient_id"] == "P1"), key=lambda one: one["action"]
    )
    act(any_api, review, "acknowledge")

    sign(any_api, physician(any_api, "Dr Jansen"), review["report"])

    whole = any_api.get(review["links"]["self"]).json
    assert [(one["after"], one["by"], one["reason"]) for one in whole["history"][1:]] == [
        ("acknowledged", "admin", "as agreed"),
        ("closed", "Dr Jansen", "signed by Dr Jansen"),
    ]
    assert any_api.get(control["links"]["self"]).json["state"] == "open"
    assert {one["patient"]["patient_id"] for one in listed(any_api)} == {"P1", "P2"}
    with reading(engine) as session:
        (event,) = session.scalars(select(AuditEvent).where(AuditEvent.action == "follow_up.closed"))
    assert (event.object_id, event.detail["before"]) == (review["id"], "acknowledged")


def test_finding_that_the_signature_holds_absent_leaves_nothing_to_do(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, EVEN_SO), "P1", 0.9)
    (item,) = listed(any_api)
    act(any_api, item, "postpone", until="2099-01-01T00:00:00Z")
    who = physician(any_api, "Dr Jansen")

    signed = sign(any_api, who, item["report"], "agree")
    assert [one["id"] for one in listed(any_api)] == [item["id"]]
    (code,) = [one["finding"] for one in signed["review"]["verdicts"]]
    made = say(any_api, who, signed["id"], "amend", verdicts={code: "disagree"}, reason="an artefact")

    assert made.status_code == 201, made.text
    assert listed(any_api) == []
    assert any_api.get(item["links"]["self"]).json["reason"] == "Dr Jansen holds it absent"
    again = say(any_api, who, made.json["id"], "amend", verdicts={code: "agree"}, reason="no artefact after all")
    (anew,) = listed(any_api)
    assert (anew["finding"], anew["action"], anew["report"]) == (code, "control_study", again.json["id"])
    say(any_api, who, again.json["id"], "amend", verdicts={code: "agree"}, comment="seen twice", reason="a comment")
    assert [one["id"] for one in listed(any_api)] == [anew["id"]]


@pytest.mark.parametrize(
    ("is_taken_on", "last"),
    [(False, ("withdrawn", "the report was retracted")), (True, ("acknowledged", "as agreed"))],
)
def test_retraction_withdraws_what_nobody_took_on(any_api: Api, *, is_taken_on: bool, last: tuple[str, str]) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, EVEN_SO), "P1", 0.9)
    (item,) = listed(any_api)
    who = physician(any_api)
    signed = sign(any_api, who, item["report"])
    if is_taken_on:
        act(any_api, item, "acknowledge")

    assert say(any_api, who, signed["id"], "retract", reason="another patient's").status_code == 201

    whole = any_api.get(item["links"]["self"]).json
    assert (whole["state"], whole["history"][-1]["reason"]) == last


def test_acts_of_people_are_moves_of_the_state_table(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW), "P1", 0.9)
    (item,) = listed(any_api)

    assert any_api.post(f"{FOLLOW_UPS}/{item['id']}/close", json={}).status_code == 422
    assert any_api.post(f"{FOLLOW_UPS}/{item['id']}/close", json={"reason": ""}).status_code == 422
    act(any_api, item, "postpone", 422, until="2020-01-01T00:00:00Z")
    act(any_api, item, "postpone", 422, until="9999-01-01T00:00:00Z")
    act(any_api, item, "postpone", 422, until="2099-01-01T00:00:00")
    act(any_api, item, "acknowledge", reason="I call her")
    refused = act(any_api, item, "acknowledge", 409)
    act(any_api, item, "postpone", until="2099-01-01T00:00:00Z", reason="she travels")
    act(any_api, item, "postpone", until="2098-01-01T00:00:00Z", reason="she is back sooner")
    whole = act(any_api, item, "close", reason="seen")
    act(any_api, item, "postpone", 409, until="2099-01-01T00:00:00Z")

    assert refused["detail"] == "It is acknowledged, so it cannot become acknowledged; it can become closed, postponed."
    assert [(one["after"], one["by"], one["reason"]) for one in whole["history"]] == [
        ("open", None, ""),
        ("acknowledged", "admin", "I call her"),
        ("postponed", "admin", "she travels"),
        ("postponed", "admin", "she is back sooner"),
        ("closed", "admin", "seen"),
    ]
    assert [one["due_at"][:4] for one in whole["history"][2:]] == ["2099", "2098", "2098"]
    with reading(engine) as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "follow_up")).all()
    assert [one.action.partition(".")[2] for one in events] == [
        *("suggest", "acknowledged", "postponed", "postponed", "closed")
    ]
    # A person's reason may name the patient: it is in no audit event.
    assert not any("reason" in one.detail for one in events)


def test_worklist_is_in_order_and_pages_lose_nothing(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW, CONTROL)
    for number in range(9):
        read(engine, version, f"P{number}", 0.5 if number % 2 else 0.9, day=f"202601{20 - number:02}")

    answers = list(pages(any_api, f"{FOLLOW_UPS}?limit=2"))

    found = [item for answer in answers for item in answer.json["items"]]
    assert len(answers) == 5
    assert [(one["urgency"], one["due_at"]) for one in found] == sorted(
        ((one["urgency"], one["due_at"]) for one in found), key=lambda one: (one[0] != "urgent", one[1])
    )
    assert len({one["id"] for one in found}) == 9


def test_filters_choose_by_state_patient_finding_and_date(any_api: Api) -> None:
    engine = any_api.prepared.engine
    version = register_rules(engine, REVIEW, CONTROL)
    read(engine, version, "P1", 0.9)
    read(engine, version, "P2", 0.5)
    first, second = listed(any_api)
    tomorrow = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def ids(query: str) -> list[str]:
        return [one["id"] for one in listed(any_api, query)]

    assert ids(f"patient={first['patient']['key']}") == [first["id"]]
    assert ids("finding=nodule") == []
    assert ids(f"due_before={tomorrow}") == ids("overdue=true") == [second["id"]]
    assert ids("overdue=false") == [first["id"]]
    act(any_api, first, "close")
    assert ids("state=closed") == [first["id"]]
    assert ids("") == [second["id"]]
    assert any_api.get(f"{FOLLOW_UPS}?cursor=nonsense").status_code == 422
    assert any_api.get(f"{FOLLOW_UPS}?cursor=0_2026-01-01T00:00:00_x").status_code == 422
    assert any_api.get(f"{FOLLOW_UPS}/{NOBODY}").status_code == 404


def test_worklist_is_for_those_who_review(any_api: Api) -> None:
    secret = any_api.post("/api/v1/tokens", json={"principal": "reader", "scopes": ["read", "operate"]}).json["token"]

    assert any_api.get(FOLLOW_UPS, headers={"Authorization": f"Bearer {secret}"}).status_code == 403


def test_metrics_count_what_is_overdue(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW, CONTROL), "P1", 0.5)
    read(engine, register_rules(engine, REVIEW, CONTROL), "P2", 0.9)

    text = any_api.app.test_client().get("/metrics").text

    assert 'overread_follow_ups_overdue{urgency="routine"} 1.0' in text
    assert 'overread_follow_ups_overdue{urgency="urgent"} 0.0' in text


def _drafts(prepared: Prepared, version: int) -> Any:
    with reading(prepared.engine) as session:
        pairs = session.execute(select(JobPatient.job_id, JobPatient.patient_id).order_by(JobPatient.job_id)).all()
        return draft_reports(session, version, [JobAndPatient(*pair) for pair in pairs])


def test_two_schedulers_at_the_same_report_make_one_item(any_prepared: Prepared) -> None:
    """Both have drafted the same version; the second meets its number and writes nothing."""
    engine = any_prepared.engine
    version = register_rules(engine, REVIEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.reporting.Aggregation.run", lambda _: 0)
        read(engine, version, "P1", 0.9)
    drafts = [_drafts(any_prepared, version) for _ in range(2)]
    outcomes: list[str] = []

    def write(some: Any) -> None:
        try:
            with UnitOfWork(engine) as uow:
                write_reports(uow.session, some)
            outcomes.append("written")
        except Exception as error:  # noqa: BLE001 - told by its name
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=write, args=(some,)) for some in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["IntegrityError", "written"]
    with reading(engine) as session:
        assert (rows_of(session, Report), rows_of(session, FollowUp), rows_of(session, FollowUpMove)) == (1, 1, 1)


def test_two_jobs_of_a_patient_reported_together_leave_one_item(any_prepared: Prepared) -> None:
    engine = any_prepared.engine
    version = register_rules(engine, REVIEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.reporting.Aggregation.run", lambda _: 0)
        read(engine, version, "P1", 0.9)
    read(engine, version, "P1", 0.95, day="20260201")

    with reading(engine) as session:
        (item,) = session.scalars(select(FollowUp)).all()
    assert item.state is FollowUpState.OPEN


def test_act_is_refused_when_somebody_else_acted_meanwhile(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW), "P1", 0.9)
    (item,) = listed(any_api)
    import api.routes.follow_ups as routes

    true_find = routes._find

    def find_late(session: Any, follow_up_id: Any) -> Any:
        found = true_find(session, follow_up_id)
        other = update(FollowUp).where(FollowUp.id == found.id)
        values = {"state": FollowUpState.CLOSED, "changed_at": db_now()}
        session.execute(other.values(values).execution_options(synchronize_session=False))
        return found

    monkeypatch.setattr(routes, "_find", find_late)

    assert "Somebody else" in act(any_api, item, "acknowledge", 409)["detail"]
