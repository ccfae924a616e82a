"""Schedules through the API: added, shown, paused, triggered, removed, refused, and what a trigger starts."""

from collections.abc import Sequence
from typing import Any

import pytest

from scheduler.calendar import Calendar
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api, Prepared
from tests.factories import MODEL, add_instance, add_model
from tests.nights import NIGHTLY, NoHints

SCHEDULES = "/api/v1/schedules"


def look(prepared: Prepared) -> None:
    """A scheduler's look at what is due or waits."""
    Calendar(prepared.engine, NoHints(), prepared.settings).run()  # type: ignore[arg-type]


def wanted(**changes: Any) -> dict[str, Any]:
    return {"name": "nightly", "cron": NIGHTLY, "time_zone": "Europe/Berlin", "job": {"model": MODEL}} | changes


def states_of(answers: Sequence[Any]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_schedule_is_added_shown_paused_resumed_and_removed(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)

    added = any_api.post(SCHEDULES, json=wanted())
    assert (added.status_code, len(added.json["next_fires"]), added.json["last_run"]) == (201, 5, None)
    assert {at[11:19] for at in added.json["next_fires"]} <= {"02:30:00", "03:00:00"}
    assert {at[19:] for at in added.json["next_fires"]} <= {"+01:00", "+02:00"}
    assert any_api.get(SCHEDULES).json["items"] == [added.json]
    assert any_api.get(f"{SCHEDULES}/nightly").json == added.json

    reason = {"reason": "the scanner is down"}
    paused = any_api.post(f"{SCHEDULES}/nightly/pause", json=reason)
    assert (paused.json["pause_reason"], paused.json["next_fires"]) == ("the scanner is down", [])
    again = [any_api.post(f"{SCHEDULES}/nightly/pause", json=reason), any_api.post(SCHEDULES, json=wanted())]
    resumed = any_api.post(f"{SCHEDULES}/nightly/resume")
    again.append(any_api.post(f"{SCHEDULES}/nightly/resume"))
    assert states_of(again) == [409, 409, 409]
    assert resumed.json["next_fires"] == added.json["next_fires"]

    gone = any_api.call("DELETE", f"{SCHEDULES}/nightly")
    after = [any_api.get(f"{SCHEDULES}/nightly"), any_api.post(SCHEDULES, json=wanted())]
    assert (gone.status_code, states_of(after)) == (204, [404, 201])


def test_trigger_starts_a_run_also_of_a_paused_schedule(any_api: Api) -> None:
    prepared = any_api.prepared
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
        add_instance(uow.session)
    any_api.post(SCHEDULES, json=wanted())
    any_api.post(f"{SCHEDULES}/nightly/pause", json={"reason": "by hand only"})

    first = any_api.post(f"{SCHEDULES}/nightly/trigger")
    second = any_api.post(f"{SCHEDULES}/nightly/trigger")
    look(prepared)

    assert states_of([first, second]) == [202, 409]
    (run,) = any_api.get(f"{SCHEDULES}/nightly/runs").json["items"]
    assert (run["origin"], run["state"], run["id"]) == ("hand", "fired", first.json["id"])
    assert any_api.get(f"/api/v1/jobs/{run['job_id']}").json["counts"]["total"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "61 2 * * *"}, "not valid"),
        ({"cron": "30 2 * *"}, "five"),
        ({"time_zone": "Mars/Olympus"}, "time zone"),
        ({"job": {"model": "unknown"}}, "no such model"),
        ({"name": "../x"}, "name"),
        ({"catch_up_s": -1}, "catch_up_s"),
        ({"overlap": "both"}, "overlap"),
        ({"training": {"model": MODEL}}, "a schedule does one of them"),
        ({"job": {"model": MODEL, "priority": "training"}}, "priority"),
        ({"crno": "x"}, "crno"),
    ],
)
def test_schedule_that_cannot_be_is_refused(api: Api, changes: dict[str, Any], says: str) -> None:
    with UnitOfWork(api.prepared.engine) as uow:
        add_model(uow.session)

    answer = api.post(SCHEDULES, json=wanted(**changes))

    assert answer.status_code == 422
    assert says in answer.json["detail"]
    assert api.get(SCHEDULES).json["items"] == []


def test_training_starts_when_enough_labels_are_new(any_api: Api) -> None:
    prepared = any_api.prepared
    with UnitOfWork(prepared.engine) as uow:
        add_model(uow.session)
        uids = [add_instance(uow.session).sop_instance_uid for _ in range(5)]

    def label(*names: str) -> None:
        rows = [{"sop_instance_uid": name, "finding": "lesion", "value": 1, "source": "ward"} for name in names]
        assert any_api.post("/api/v1/labels", json={"labels": rows}).json["added"] == len(names)

    def trigger() -> tuple[str, str]:
        any_api.post(f"{SCHEDULES}/retraining/trigger")
        look(prepared)
        run = any_api.get(f"{SCHEDULES}/retraining/runs").json["items"][0]
        return run["state"], run["reason"]

    training = {"model": MODEL, "options": {"epochs": 7}, "label": "night"}
    added = any_api.post(
        SCHEDULES,
        json={"name": "retraining", "cron": NIGHTLY, "min_new": 2, "training": training},
    )
    assert (added.status_code, added.json["kind"]) == (201, "training")

    label(uids[0])
    assert trigger() == ("skipped", "1 labels are new since its last training; it starts from 2 on")
    label(*uids[1:3])
    assert trigger() == ("fired", "3 new labels")
    (job,) = any_api.get("/api/v1/jobs?kind=training").json["items"]
    any_api.post(f"/api/v1/jobs/{job['id']}/cancel")
    label(uids[3])
    assert trigger()[0] == "skipped"
    label(uids[4])
    assert trigger() == ("fired", "2 new labels")

    last, first = any_api.get("/api/v1/jobs?kind=training").json["items"]
    assert (first["state"], last["state"]) == ("cancelled", "queued")
    assert (last["priority"], last["label"], last["training"]["options"]["epochs"]) == ("training", "night", 7)
