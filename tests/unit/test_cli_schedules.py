"""`overread schedules`: what a person types becomes the request, and what came of each night is told."""

import json
from typing import Any

from click.testing import CliRunner, Result

from api.cli.main import main
from tests.canned_server import Answer, CannedServer

SCHEDULES = "/api/v1/schedules"
THEN = "2026-11-24T12:00:00Z"
RUN = {
    "id": 3,
    "fires_at": THEN,
    "origin": "calendar",
    "state": "missed",
    "reason": "no scheduler ran until its catch-up window was over",
    "job_id": None,
    "decided_at": THEN,
}
SCHEDULE: dict[str, Any] = {
    "name": "nightly",
    "kind": "inference",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "overlap": "skip",
    "job": {"model": ""},
    "paused_at": None,
    "pause_reason": "",
    "next_fires": ["2026-11-25T02:30:00+01:00", "2026-11-26T02:30:00+01:00"],
    "last_run": RUN,
}


def run(server: CannedServer, *words: str) -> Result:
    result = CliRunner().invoke(main, ["schedules", *words, "--url", server.url])
    assert result.exit_code == 0, result.output
    return result


def test_add_sends_what_was_typed_and_shows_the_next_moments(server: CannedServer) -> None:
    server.answer(f"POST {SCHEDULES}", Answer(SCHEDULE, 201))

    result = run(
        server,
        *("add", "nightly", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin", "--model", "lesion"),
        *("--overlap", "queue", "--catch-up-hours", "1.5", "--min-new", "20", "--label", "night"),
    )

    assert json.loads(server.asked[0].body) == {
        "name": "nightly",
        "cron": "30 2 * * *",
        "time_zone": "Europe/Berlin",
        "overlap": "queue",
        "catch_up_s": 5400,
        "jitter_s": 0,
        "min_new": 20,
        "job": {
            "model": "lesion",
            "priority": "background",
            "label": "night",
            "explain": "positives",
            "every_version": False,
        },
    }
    assert "2026-11-26T02:30:00+01:00" in result.output


def test_list_and_runs_say_what_came_of_each_moment(server: CannedServer) -> None:
    paused = SCHEDULE | {
        "name": "other",
        "paused_at": THEN,
        "pause_reason": "by hand",
        "next_fires": [],
        "last_run": None,
    }
    server.answer(f"GET {SCHEDULES}", Answer({"items": [SCHEDULE, paused]}))
    server.answer(f"GET {SCHEDULES}/nightly/runs", Answer({"items": [RUN], "next": None}))

    listed = run(server, "list").output
    assert "2026-11-25T02:30:00+01:00" in listed
    assert "paused: by hand" in listed
    assert "never ran" in listed
    assert "catch-up window was over" in run(server, "runs", "nightly").output


def test_pause_resume_trigger_and_rm_speak_of_one_schedule(server: CannedServer) -> None:
    server.answer(f"POST {SCHEDULES}/nightly/pause", Answer(SCHEDULE))
    server.answer(f"POST {SCHEDULES}/nightly/resume", Answer(SCHEDULE))
    server.answer(f"POST {SCHEDULES}/nightly/trigger", Answer(RUN, 202))
    server.answer(f"DELETE {SCHEDULES}/nightly", Answer(status=204))

    run(server, "pause", "nightly", "--reason", "scanner")
    run(server, "resume", "nightly")
    assert "schedules runs nightly" in run(server, "trigger", "nightly").output
    assert "removed" in run(server, "rm", "nightly").output

    assert json.loads(server.asked[0].body) == {"reason": "scanner"}
    assert [path.split()[0] for path in server.paths()] == ["POST", "POST", "POST", "DELETE"]


def test_preview_shows_moments_before_there_is_a_schedule(server: CannedServer) -> None:
    server.answer(f"GET {SCHEDULES}/preview", Answer({"fires": SCHEDULE["next_fires"]}))

    told = run(server, "preview", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin").output

    assert told.splitlines() == SCHEDULE["next_fires"]
    assert server.paths()[0].endswith("/preview?cron=30+2+%2A+%2A+%2A&time_zone=Europe%2FBerlin")
