"""Webhooks and notices over the API and the command line, from the act to the receiver, on each kind of database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.db import reading
from shared.models import AuditEvent, Notice, Webhook
from shared.states import NoticeState
from shared.unit_of_work import UnitOfWork
from tests.command_line import answer_of, command_line
from tests.conftest import Api, Prepared, make_api
from tests.dicom_samples import make_uid
from tests.factories import add_instance, add_model
from tests.readings import REVIEW, read, register_rules
from tests.receiver import SECRET, Receiver, quick, receiving
from tests.senders import notices_of, sending
from tests.system import eventually

WEBHOOKS, NOTICES = "/api/v1/webhooks", "/api/v1/notices"
NOBODY = "01a20fdb-8f94-75f9-9123-f4612e95134f"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def told_api(any_prepared: Prepared, receiver: Receiver) -> Iterator[Api]:
    """An API that may send to the receiver."""
    yield from make_api(replace(any_prepared, settings=quick(any_prepared.settings, receiver, webhook_attempts=2)))


def add(api: Api, url: str, **wanted: Any) -> Any:
    answer = api.post(WEBHOOKS, json={"name": "ris", "url": url} | wanted)
    assert answer.status_code == 201, answer.text
    return answer.json


def notices(api: Api, query: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"{NOTICES}?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json["items"])


def test_secret_is_shown_once_and_signs_what_is_sent(told_api: Api, receiver: Receiver) -> None:
    made = add(told_api, receiver.url)

    listed = told_api.get(WEBHOOKS).json["items"]
    told_api.post(f"{WEBHOOKS}/ris/test")
    with sending(told_api.prepared.engine, told_api.prepared.settings):
        eventually(lambda: receiver.got, 20.0, "the test came")

    assert len(made["secret"]) >= 32
    assert listed == [{name: value for name, value in made.items() if name != "secret"}]
    assert told_api.get(f"{WEBHOOKS}/ris").json == listed[0]
    assert made["events"] == ["job.ended", "report.made", "report.signed", "report.amended", "report.retracted"]
    assert receiver.got[0].is_signed(made["secret"])
    assert receiver.got[0].json["event"] == "webhook.test"
    with reading(told_api.prepared.engine) as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "webhook")).all()
    assert [one.action for one in events] == ["webhook.add", "webhook.test"]
    assert made["secret"] not in str([one.detail for one in events])


def test_job_that_ends_and_report_that_is_made_are_told(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url, secret=SECRET, events=["job.ended", "report.made"])
    engine = told_api.prepared.engine

    read(engine, register_rules(engine, REVIEW), "P1", 0.9)
    with sending(engine, told_api.prepared.settings):
        eventually(lambda: len(receiver.got) == 2, 20.0, "both came")

    job, report = (one.json for one in receiver.got)
    assert all(one.is_signed() for one in receiver.got)
    assert (job["event"], job["object"]["kind"], job["state"]) == ("job.ended", "job", "done")
    assert job["counts"] == {"done": 1, "failed": 0, "skipped": 0, "cancelled": 0}
    assert told_api.get(job["links"]["job"]).json["state"] == "done"
    assert (report["event"], report["number"], report["status"]) == ("report.made", 1, "preliminary")
    whole = told_api.get(report["links"]["report"]).json
    assert whole["id"] == report["object"]["id"]
    # Nothing of the patient: neither the id nor anything else that the report knows.
    assert not any(one["patient_id"].encode() in got.body for got in receiver.got for one in [whole["patient"]])


def test_job_that_is_cancelled_is_told_once(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url)
    with UnitOfWork(told_api.prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session, study_instance_uid=make_uid("study"))
    job = told_api.post("/api/v1/jobs", json={"studies": [make_uid("study")]}).json
    told_api.post(f"/api/v1/jobs/{job['id']}/cancel")
    told_api.post(f"/api/v1/jobs/{job['id']}/cancel")

    (told,) = notices(told_api)
    assert (told["body"]["object"]["id"], told["body"]["state"], told["body"]["kind"]) == (
        *(job["id"], "cancelled", "inference"),
    )


def test_dead_letters_are_seen_and_sent_again_one_by_one_or_all(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url)
    engine, settings = told_api.prepared.engine, told_api.prepared.settings
    receiver.answers(500)
    for _ in range(3):
        told_api.post(f"{WEBHOOKS}/ris/test")

    with sending(engine, settings):
        eventually(lambda: len(notices(told_api, "state=dead")) == 3, 20.0, "all are given up")
        assert 'overread_notices{state="dead"} 3.0' in told_api.app.test_client().get("/metrics").text
        dead = notices(told_api, "state=dead&webhook=ris")
        receiver.answers(200)
        again = told_api.post(f"{NOTICES}/{dead[0]['id']}/resend")
        eventually(lambda: len(notices(told_api, "state=sent")) == 1, 20.0, "one is sent")
        rest = told_api.post(f"{WEBHOOKS}/ris/resend")
        eventually(lambda: len(notices(told_api, "state=sent")) == 3, 20.0, "all are sent")

    assert {(one["attempts"], one["last_status"], one["last_error"]) for one in dead} == {(2, 500, "It answered 500.")}
    assert again.status_code == 202
    assert (again.json["state"], again.json["attempts"]) == ("pending", 0)
    assert rest.json == {"resent": 2}
    assert len(set(receiver.deliveries())) == 3
    assert told_api.post(f"{WEBHOOKS}/ris/resend").json == {"resent": 0}


def test_notice_that_is_under_way_is_not_resent(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url)
    notice = told_api.post(f"{WEBHOOKS}/ris/test").json

    answer = told_api.post(f"{NOTICES}/{notice['id']}/resend")

    assert answer.status_code == 409
    assert "tried again by itself" in answer.json["detail"]


def test_removed_webhook_gets_nothing_more_and_its_name_is_free(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url)
    notice = told_api.post(f"{WEBHOOKS}/ris/test").json

    assert told_api.call("DELETE", f"{WEBHOOKS}/ris").status_code == 204
    assert told_api.call("DELETE", f"{WEBHOOKS}/ris").status_code == 404
    told = told_api.get(f"{NOTICES}/{notice['id']}").json
    assert (told["state"], told["last_error"]) == ("dead", "the webhook was removed")
    assert told_api.post(f"{NOTICES}/{notice['id']}/resend").status_code == 409
    assert told_api.post(f"{WEBHOOKS}/ris/test").status_code == 404
    with reading(told_api.prepared.engine) as session:
        assert session.scalars(select(Webhook.secret)).all() == [""]
    add(told_api, receiver.url)
    with sending(told_api.prepared.engine, told_api.prepared.settings):
        told_api.post(f"{WEBHOOKS}/ris/test")
        eventually(lambda: receiver.got, 20.0, "only the new one's came")
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("wanted", "status", "says"),
    [
        ({"url": "https://elsewhere.example/"}, 422, "is not allowed; OVERREAD_WEBHOOK_TARGETS names http://127.0.0.1"),
        ({"url": "not a url"}, 422, "cannot be a target"),
        ({"events": []}, 422, "at least 1"),
        ({"events": ["job.began"]}, 422, "Input should be"),
        ({"events": ["webhook.test"]}, 422, "Input should be"),
        ({"secret": "short"}, 422, "at least 32"),
        ({"name": "a/b"}, 422, "pattern"),
    ],
)
def test_webhook_is_refused_in_words(
    told_api: Api, receiver: Receiver, wanted: dict[str, Any], status: int, says: str
) -> None:
    answer = told_api.post(WEBHOOKS, json={"name": "ris", "url": receiver.url} | wanted)

    assert answer.status_code == status
    assert says in answer.json["detail"]


def test_nothing_may_be_added_while_no_target_is_allowed(any_api: Api) -> None:
    answer = any_api.post(WEBHOOKS, json={"name": "ris", "url": "https://ris.example/"})

    assert (answer.status_code, "OVERREAD_WEBHOOK_TARGETS is empty" in answer.json["detail"]) == (422, True)


def test_names_are_taken_once_and_unknown_ones_not_found(told_api: Api, receiver: Receiver) -> None:
    add(told_api, receiver.url)

    assert told_api.post(WEBHOOKS, json={"name": "ris", "url": receiver.url}).status_code == 409
    assert told_api.get(f"{WEBHOOKS}/pacs").status_code == 404
    assert told_api.get(f"{NOTICES}/{NOBODY}").status_code == 404


def test_webhooks_are_for_admins_and_notices_for_operators(told_api: Api) -> None:
    wanted = {"principal": "operator", "scopes": ["operate", "review", "read", "submit"]}
    headers = {"Authorization": f"Bearer {told_api.post('/api/v1/tokens', json=wanted).json['token']}"}

    answers = [told_api.get(path, headers=headers).status_code for path in (WEBHOOKS, NOTICES)]

    assert answers == [403, 200]


def test_command_line_adds_tests_lists_resends_and_removes(told_api: Api, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    engine = told_api.prepared.engine

    with command_line(told_api) as run:
        made = answer_of(
            run(
                *("webhooks", "add", "ris", receiver.url, "--event", "job.ended", "--event", "report.made"),
                *("--secret-file", tmp_path / "secret"),
            )
        )
        test = answer_of(run("webhooks", "test", "ris"))
        with sending(engine, told_api.prepared.settings):
            eventually(lambda: receiver.got, 20.0, "the test came")
            eventually(lambda: notices_of(engine)[0].state is NoticeState.SENT, 20.0, "it is settled")
        with UnitOfWork(engine) as uow:
            uow.session.execute(update(Notice).values(state=NoticeState.DEAD))
        dead = answer_of(run("notices", "--dead"))
        again = answer_of(run("notices", "resend", test["id"]))
        none = answer_of(run("notices", "resend", "--webhook", "ris"))
        listed = answer_of(run("webhooks", "list"))
        slip = run("notices", "resend")
        removed = answer_of(run("webhooks", "rm", "ris"))

    assert (made["secret"], made["events"]) == (SECRET, ["job.ended", "report.made"])
    assert [one["id"] for one in dead["items"]] == [test["id"]]
    assert (again["state"], none, removed) == ("pending", {"resent": 0}, {"removed": "ris"})
    assert [one["name"] for one in listed["items"]] == ["ris"]
    assert slip.exit_code == 2


def test_command_line_shows_the_worklist_and_acts_on_it(any_api: Api) -> None:
    engine = any_api.prepared.engine
    read(engine, register_rules(engine, REVIEW), "P1", 0.9)

    with command_line(any_api) as run:
        (item,) = answer_of(run("follow-ups"))["items"]
        none = answer_of(run("follow-ups", "--overdue", "--finding", "lesion"))
        taken = answer_of(run("follow-up", item["id"], "--acknowledge", "--reason", "mine"))
        later = answer_of(run("follow-up", item["id"], "--postpone", "2099-01-31", "--reason", "she travels"))
        closed = answer_of(run("follow-up", item["id"], "--close", "--reason", "seen"))
        shown = answer_of(run("follow-up", item["id"]))
        slips = [
            run("follow-up", item["id"], "--close"),
            run("follow-up", item["id"], "--reason", "why"),
            run("follow-up", item["id"], "--close", "--postpone", "2099-01-01", "--reason", "both"),
            run("follow-up", item["id"], "--postpone", "soon", "--reason", "x"),
            run("follow-up", "nonsense"),
        ]

    assert none["items"] == []
    assert [one["state"] for one in (taken, later, closed)] == ["acknowledged", "postponed", "closed"]
    assert later["due_at"].startswith("2099-01-3")
    assert len(shown["history"]) == 4
    assert [slip.exit_code for slip in slips] == [2] * 5
