"""A calendar is seen before there is a schedule of it, and a schedule is changed, through the API."""

from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine

from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import MODEL, add_model
from tests.integration.test_schedules_api import SCHEDULES, look, states_of, wanted
from tests.nights import NIGHTLY


def preview(api: Api, **asked: str) -> Any:
    return api.get(f"{SCHEDULES}/preview?{urlencode(asked)}")


@pytest.mark.parametrize(
    ("today", "fires"),
    [
        (
            "2026-10-24T00:00:00Z",
            ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "2026-03-28T00:00:00Z",
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
    ],
    ids=["comes twice", "does not exist"],
)
def test_preview_shows_what_a_clock_change_does(any_api: Api, today: str, fires: list[str]) -> None:
    with time_machine.travel(today, tick=False):
        answer = preview(any_api, cron="30 2 * * *", time_zone="Europe/Berlin")

    assert answer.json["fires"][:3] == fires
    assert len(answer.json["fires"]) == 10


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"cron": "61 2 * * *"}, "not valid"),
        ({"cron": "30 2 * *"}, "five"),
        ({"cron": "0 0 30 2 *"}, "not valid"),
        ({"cron": "30 2 * * *", "time_zone": "Mars/Olympus"}, "time zone"),
        ({"time_zone": "UTC"}, "cron"),
    ],
)
def test_preview_says_what_is_wrong_in_the_words_of_adding(api: Api, asked: dict[str, str], says: str) -> None:
    answer = preview(api, **asked)

    assert (answer.status_code, says in answer.json["detail"]) == (422, True)


def test_schedule_is_changed_and_keeps_its_runs_and_its_pause(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    any_api.post(SCHEDULES, json=wanted())
    any_api.post(f"{SCHEDULES}/nightly/trigger")
    look(any_api.prepared)
    any_api.post(f"{SCHEDULES}/nightly/pause", json={"reason": "the scanner is down"})

    body = wanted(cron="0 4 * * *", time_zone="UTC", overlap="queue", min_new=5)
    changed = any_api.call("PUT", f"{SCHEDULES}/nightly", json=body)
    resumed = any_api.post(f"{SCHEDULES}/nightly/resume")

    assert changed.status_code == 200, changed.text
    told = {name: changed.json[name] for name in ("cron", "time_zone", "overlap", "min_new", "pause_reason", "by")}
    calendar = {"cron": "0 4 * * *", "time_zone": "UTC", "overlap": "queue", "min_new": 5}
    assert told == calendar | {"pause_reason": "the scanner is down", "by": "admin"}
    assert {at[11:] for at in resumed.json["next_fires"]} == {"04:00:00+00:00"}
    assert len(any_api.get(f"{SCHEDULES}/nightly/runs").json["items"]) == 1


def test_changed_calendar_is_the_next_one_and_the_same_one_loses_no_moment(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    before = any_api.post(SCHEDULES, json=wanted()).json["next_fires"]

    same = any_api.call("PUT", f"{SCHEDULES}/nightly", json=wanted(min_new=3)).json
    other = any_api.call("PUT", f"{SCHEDULES}/nightly", json=wanted(cron="0 4 * * *", time_zone="UTC")).json

    assert same["next_fires"] == before
    assert {at[11:] for at in other["next_fires"]} == {"04:00:00+00:00"}


def test_change_that_cannot_be_is_refused(any_api: Api) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        add_model(uow.session)
    added = any_api.post(SCHEDULES, json=wanted()).json
    training = {"name": "nightly", "cron": NIGHTLY, "training": {"model": MODEL}}

    answers = [
        any_api.call("PUT", f"{SCHEDULES}/nightly", json=wanted(name="other")),
        any_api.call("PUT", f"{SCHEDULES}/nightly", json=training),
        any_api.call("PUT", f"{SCHEDULES}/nightly", json=wanted(cron="61 * * * *")),
        any_api.call("PUT", f"{SCHEDULES}/nothing", json=wanted(name="nothing")),
        any_api.post(SCHEDULES, json=wanted(name="preview")),
    ]

    assert states_of(answers) == [422, 409, 422, 404, 422]
    assert any_api.get(SCHEDULES).json["items"] == [added]
