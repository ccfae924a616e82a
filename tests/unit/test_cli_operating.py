"""The commands of whoever operates the system: bulk retry, pausing lanes, tokens, and what killed a worker."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.jobs import evidence_text
from api.cli.main import main
from api.cli.output import eta_text
from tests.canned_server import PROBLEM, Answer, CannedServer

JOB = "0190a0b0-0000-7000-8000-00000000000a"
RETRY = "0190a0b0-0000-7000-8000-00000000000b"
UID = "1.2.840.113619.2.55.3.604688119.971.1234567890.123.4567890123456"
THEN = "2026-11-24T12:00:00Z"
ALL = "POST /api/v1/jobs/retry"
TOKEN = {
    "id": RETRY,
    "principal": "ward",
    "name": "pacs",
    "prefix": "ovr_abcdefgh",
    "scopes": ["read"],
    "max_open_items": 100,
    "requests_per_minute": None,
    "created_at": THEN,
    "expires_at": None,
    "revoked_at": None,
}


def run(server: CannedServer, *words: str, says: str = "") -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url], input=says)


def answer(jobs: int, *, dry_run: bool = False, **changes: Any) -> Answer:
    made = [] if dry_run else [{"job": JOB, "retry": RETRY}] * jobs
    counts = {"dry_run": dry_run, "jobs": jobs, "items": 2 * jobs, "by_reason": {"decode_crashed": 2 * jobs}}
    rest = {"not_retryable": 0, "retried": made, "refused": [], "remaining": 0, "is_least": False}
    return Answer(counts | rest | {"created_before": THEN} | changes)


def queue(**changes: Any) -> dict[str, Any]:
    counts = {"queued_shards": 1, "queued_items": 2, "running_shards": 0, "oldest_age_s": 3.0}
    rest = {"workers": 1, "items_per_s": 0.0, "paused": None, "broker": "ok"}
    return {"lane": "routine"} | counts | rest | changes


def test_all_that_fits_is_retried_request_by_request_after_a_yes(server: CannedServer) -> None:
    server.answer(ALL, answer(3, dry_run=True), answer(2, remaining=1), answer(1))

    result = run(server, "retry", "--all", "--state", "failed", "--failure", "crash", "--label", "night", says="y\n")

    assert result.exit_code == 0
    assert "Retry 6 items of 3 jobs?" in result.output
    assert "6 items of 3 jobs are tried again" in result.stdout
    assert result.stdout.count(RETRY) == 3
    asked = [path.partition("?")[2] for path in server.paths()]
    filters = "state=failed&failure=crash&label=night"
    assert asked == [f"{filters}&dry_run=true", *[f"{filters}&created_before=2026-11-24T12%3A00%3A00Z"] * 2]
    assert len({one.headers["Idempotency-Key"] for one in server.asked}) == 3


def test_nothing_is_retried_without_a_yes(server: CannedServer) -> None:
    server.answer(ALL, answer(3, dry_run=True))

    result = run(server, "retry", "--all", says="n\n")

    assert result.exit_code == 1
    assert len(server.asked) == 1


def test_nothing_is_asked_when_yes_was_said_before(server: CannedServer) -> None:
    server.answer(ALL, answer(1, dry_run=True), answer(1))

    result = run(server, "retry", "--all", "--yes", "--json")

    assert [one["retry"] for one in json.loads(result.stdout)["retried"]] == [RETRY]


def test_dry_run_tells_how_many_by_reason_and_what_cannot_be_retried(server: CannedServer) -> None:
    server.answer(ALL, answer(3, dry_run=True, not_retryable=4))

    result = run(server, "retry", "--all", "--dry-run")

    assert "6 items of 3 jobs would be tried again; 4 rejected files" in result.stdout
    assert ["6", "decode_crashed"] in [line.split() for line in result.stdout.splitlines()]
    assert len(server.asked) == 1


def test_bulk_ends_when_nothing_could_be_retried(server: CannedServer) -> None:
    refused = [{"job": JOB, "detail": "its model is gone"}]
    server.answer(ALL, answer(1, dry_run=True), answer(0, refused=refused, remaining=5))

    result = run(server, "retry", "--all", "--yes")

    assert len(server.asked) == 2
    assert f"1 jobs cannot be retried, such as {JOB} (its model is gone)" in result.stdout


@pytest.mark.parametrize(
    "words",
    [[], ["--all", JOB], [JOB, "--yes"], [JOB, "--state", "failed"], [JOB, "--dry-run"], ["--all", "--state", "done"]],
)
def test_retry_is_refused_unasked_when_it_is_not_clear_of_what(server: CannedServer, words: list[str]) -> None:
    result = run(server, "retry", *words)

    assert result.exit_code == 2
    assert server.asked == []


def test_lane_is_paused_and_resumed(server: CannedServer) -> None:
    paused = queue(paused={"at": THEN, "by": "admin", "reason": "upgrade"})
    server.answer("POST /api/v1/queues/routine/pause", Answer(paused))
    server.answer("POST /api/v1/queues/routine/resume", Answer(queue()))

    results = [
        run(server, "queues", "pause", "routine", "--reason", "upgrade"),
        run(server, "queues", "resume", "routine"),
    ]

    assert [result.exit_code for result in results] == [0, 0]
    assert json.loads(server.asked[0].body) == {"reason": "upgrade"}
    assert "paused by admin at" in results[0].stdout
    assert "paused" not in results[1].stdout


def test_queues_say_what_holds_a_lane_up(server: CannedServer) -> None:
    server.answer("GET /api/v1/queues", Answer({"items": [queue(broker="the broker has been unreachable since noon")]}))

    assert "the broker has been unreachable since noon" in run(server, "queues").stdout


def test_options_before_the_word_are_refused_since_it_would_not_see_them(server: CannedServer) -> None:
    result = CliRunner().invoke(main, ["queues", "--url", server.url, "resume", "routine"])

    assert result.exit_code == 2
    assert "options go after the word: overread queues resume" in result.stderr
    assert server.asked == []


def test_token_is_made_with_its_limits(server: CannedServer) -> None:
    server.answer("POST /api/v1/tokens", Answer(TOKEN | {"token": "ovr_" + "s" * 43}, 201))

    result = run(
        server, "token", "create", "--name", "ward", "--scopes", "read", "--max-open-items", "100",
        "--requests-per-minute", "60",
    )  # fmt: skip

    assert json.loads(server.asked[0].body) == {
        "principal": "ward",
        "scopes": ["read"],
        "expires_days": None,
        "max_open_items": 100,
        "requests_per_minute": 60,
    }
    assert "ovr_" + "s" * 43 in result.stdout


def test_tokens_are_listed_and_revoked_by_their_id(server: CannedServer) -> None:
    server.answer("GET /api/v1/tokens", Answer({"items": [TOKEN, TOKEN | {"revoked_at": THEN}], "next": None}))
    server.answer(f"DELETE /api/v1/tokens/{RETRY}", Answer(b"", 204))

    listed, revoked, slip = (
        run(server, "token", *words) for words in (["list"], ["revoke", RETRY], ["revoke", "ovr_abcdefgh"])
    )

    assert "does not expire" in listed.stdout
    assert "revoked 2026-" in listed.stdout
    assert revoked.stdout == f"The token {RETRY} is revoked.\n"
    assert (slip.exit_code, len(server.asked)) == (2, 2)


def test_items_show_their_evidence_and_whole_uids(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.output.PIPED_WIDTH", 100)
    evidence = {"signal": "SIGSEGV", "log": "first line\nlast words", "sha256": "a" * 64}
    item = {
        "name": "a.dcm",
        "sop_instance_uid": UID,
        "state": "failed",
        "frames": 0,
        "reused": False,
        "reason": "worker_crashed",
    }
    rest = {"detail": "", "reason_text": "It crashed.", "quarantined": True, "tries": 3, "evidence": evidence}
    server.answer(f"GET /api/v1/jobs/{JOB}/items", Answer({"items": [item | rest], "next": None}))

    result = run(server, "job", JOB, "--items")

    assert UID in result.stdout
    assert evidence_text(item | rest) == "signal SIGSEGV; tries 3; sha256 aaaaaaaaaaaa; log last words"


@pytest.mark.parametrize(
    ("eta_s", "error_s", "said"),
    [
        (None, None, None),
        (90.0, 4.4, "in 90 s ± 4 s"),
        (600.0, 130.0, "in 10 min ± 2 min"),
        (9000.0, 0.0, "in 2 h ± 0 s"),
    ],
    ids=["unknown", "seconds", "minutes", "hours"],
)
def test_eta_is_told_in_words(eta_s: float | None, error_s: float | None, said: str | None) -> None:
    assert eta_text({"eta_s": eta_s, "eta_error_s": error_s}) == said


def test_limit_that_was_reached_is_one_sentence(server: CannedServer) -> None:
    server.answer("GET /api/v1/jobs", Answer({"detail": "send fewer"}, 429, PROBLEM | {"Retry-After": "1"}))

    assert run(server, "jobs").stderr == "Error: send fewer\n"


MODEL = {"name": "lesion", "version": 2, "state": "champion", "digest": "ab" * 32, "created_at": THEN}
ENGINE = {
    "engine": "keras",
    "precision": "float32",
    "standing": "passed",
    "detail": "",
    "max_difference": None,
    "images_per_s": {"1": 17.7, "16": 29.5},
    "load_s": 3.25,
    "is_reference": False,
    "serves": False,
    "batch_sizes": [],
    "part_size": 0,
}
FAST = ENGINE | {"engine": "openvino", "precision": "bfloat16", "max_difference": 6e-05, "serves": True}
MISSING = ENGINE | {"engine": "openvino", "standing": "unavailable", "detail": "not installed", "images_per_s": {}}
PROOF = {
    "hardware": "a processor, 2 cores",
    "state": "done",
    "detail": "",
    "worker": "host-1",
    "num_inputs": 32,
    "num_drawn": 4,
    "tolerance": 0.01,
    "created_at": THEN,
    "finished_at": THEN,
    "engines": [ENGINE, FAST | {"images_per_s": {"1": 140.0, "16": 208.0}, "part_size": 2}, MISSING],
}
ENGINES = "GET /api/v1/models/lesion/versions/2/engines"


def test_engines_are_shown_with_what_they_were_proved_to_do(server: CannedServer) -> None:
    server.answer("GET /api/v1/models", Answer({"items": [MODEL | {"version": 1, "state": "retired"}, MODEL]}))
    server.answer(ENGINES, Answer({"items": [PROOF]}))

    result = run(server, "models", "engines", "lesion")

    assert result.exit_code == 0, result.output
    assert "lesion:2 on a processor, 2 cores" in result.stdout
    assert "32 inputs, 4 of them drawn from stored images; tolerance 0.01" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["openvino", "bfloat16", "2", "passed", "6e-05", "140", "208", "3.25", "yes"] in lines
    assert any(
        line[:3] == ["openvino", "float32", "unavailable"] and line[-2:] == ["not", "installed"] for line in lines
    )


@pytest.mark.parametrize(
    ("proofs", "words"),
    [
        ([], "No worker has looked at lesion:2 yet"),
        ([PROOF | {"state": "waiting", "detail": "32 inputs are needed", "engines": []}], "waiting: 32 inputs"),
        ([PROOF | {"state": "running", "engines": []}], "running: by host-1"),
    ],
)
def test_engines_that_are_not_proved_say_so(server: CannedServer, proofs: list[dict[str, Any]], words: str) -> None:
    server.answer(ENGINES, Answer({"items": proofs}))

    result = run(server, "models", "engines", "lesion:2")

    assert result.exit_code == 0
    assert words in result.stdout


def test_engines_are_proved_again_when_asked(server: CannedServer) -> None:
    waiting = PROOF | {"state": "waiting", "detail": "", "engines": []}
    server.answer(ENGINES.replace("GET", "POST"), Answer({"items": [waiting]}, 202))

    result = run(server, "models", "engines", "lesion:2", "--prove-again")

    assert result.exit_code == 0, result.output
    assert "waiting: by host-1" in result.stdout


def test_engines_of_an_unknown_model_name_the_known_ones(server: CannedServer) -> None:
    server.answer("GET /api/v1/models", Answer({"items": [MODEL]}))

    result = run(server, "models", "engines", "lesions")

    assert result.exit_code == 2
    assert "known are: lesion:2" in result.output
