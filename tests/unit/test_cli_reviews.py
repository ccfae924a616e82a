"""The commands of reviews: what they send, and what is told before the server is asked."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from tests.canned_server import PROBLEM, Answer, CannedServer

REPORT = "0190a0b0-0000-7000-8000-00000000000a"
MADE = "0190a0b0-0000-7000-8000-00000000000b"
DIGEST = "d" * 64
PATH = f"/api/v1/reports/{REPORT}"
VERSION = {
    "id": MADE,
    "number": 2,
    "status": "final",
    "origin": "signature",
    "by": "dr.a",
    "created_at": "2026-11-24T12:00:00Z",
    "model": {"name": "m", "version": 3},
    "changes": {"since": {"id": REPORT, "number": 1}, "status": {}, "verdicts": [{"code": "mass"}]},
}


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


def serve(server: CannedServer, act: str) -> None:
    server.answer(f"GET {PATH}", Answer({"content_digest": DIGEST}))
    server.answer(f"POST {PATH}/{act}", Answer(VERSION, 201))


def sent(server: CannedServer) -> dict[str, Any]:
    assert server.asked[-1].headers["If-Match"] == f'"{DIGEST}"'
    assert server.asked[-1].headers["Idempotency-Key"]
    body: dict[str, Any] = json.loads(server.asked[-1].body)
    return body


def test_review_sends_verdicts_with_their_notes(server: CannedServer) -> None:
    serve(server, "review")

    words = ["--agree", "lesion", "--agree", "nodule", "--disagree", "mass", "--unsure", "x"]
    result = run(server, "review", REPORT, *words, "--note", "mass=seen = in the CT", "--comment", "all", "--sign")

    assert result.exit_code == 0, result.output
    assert sent(server) == {
        "findings": [
            {"code": "lesion", "verdict": "agree", "note": ""},
            {"code": "nodule", "verdict": "agree", "note": ""},
            {"code": "mass", "verdict": "disagree", "note": "seen = in the CT"},
            {"code": "x", "verdict": "unsure", "note": ""},
        ],
        "comment": "all",
        "sign": True,
    }
    for told in (MADE, "final", "signature, dr.a", "m:3", "status, verdicts (mass)"):
        assert told in result.stdout


def test_amend_and_retract_send_their_reason(server: CannedServer) -> None:
    serve(server, "amend")
    serve(server, "retract")

    assert run(server, "amend", REPORT, "--disagree", "mass", "--reason", "seen again").exit_code == 0
    assert sent(server) == {
        "findings": [{"code": "mass", "verdict": "disagree", "note": ""}],
        "reason": "seen again",
    }
    assert run(server, "retract", REPORT, "--reason", "another patient's").exit_code == 0
    assert sent(server) == {"reason": "another patient's"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["review", REPORT, "--agree", "mass", "--unsure", "mass"], "mass has several verdicts"),
        (["review", REPORT, "--agree", "mass", "--note", "nodule=x"], "--note is for nodule"),
        (["review", REPORT, "--note", "nodule"], "expected FINDING=TEXT"),
        (["review", "R1", "--sign"], "R1 is not a report id"),
        (["amend", REPORT, "--agree", "mass"], "--reason"),
        (["retract", REPORT], "--reason"),
        (["report", REPORT, "--versions", "--format", "html"], "something of their own"),
        (["token", "create", "--principal", "x", "--scope", "review", "--role", "surgeon"], "surgeon was given"),
    ],
)
def test_slip_is_told_before_the_server_is_asked(server: CannedServer, words: list[str], told: str) -> None:
    result = run(server, *words)

    assert result.exit_code == 2
    assert told in result.output
    assert server.asked == []


def test_newer_version_is_told_as_the_server_says_it(server: CannedServer) -> None:
    serve(server, "review")
    detail = "Version 1 is not the newest: version 2 came after it and differs in findings."
    server.answers[f"POST {PATH}/review"].clear()
    server.answer(f"POST {PATH}/review", Answer({"detail": detail, "newer": {"id": MADE}}, 409, PROBLEM))

    result = run(server, "review", REPORT, "--sign")

    assert (result.exit_code, detail.rstrip(".") in result.stderr) == (1, True)


def test_versions_are_listed_with_what_changed(server: CannedServer) -> None:
    first = VERSION | {"number": 1, "origin": "results", "by": None, "changes": None}
    server.answer(f"GET {PATH}/versions", Answer({"items": [first, VERSION], "next": None}))

    result = run(server, "report", REPORT, "--versions")

    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "1", "2"]
    assert "verdicts (mass)" in lines[2]


def test_quality_is_a_table_with_a_caution(server: CannedServer) -> None:
    counts = {"both_positive": 3, "both_negative": 4, "false_positive": 1, "false_negative": 0, "unsure": 2}
    rates = {"kappa": 0.75, "sensitivity": {"value": 1.0, "n": 3}, "specificity": {"value": None, "n": 0}}
    row = {"model": "m", "model_version": 2, "finding": "mass", "reviewer": None} | counts | rates
    server.answer("GET /api/v1/quality", Answer({"items": [row], "caution": "They saw the answer."}))

    result = run(server, "quality", "--model", "m", "--since", "2026-01-31T00:00:00Z")

    assert "m:2" in result.stdout
    assert "0.750" in result.stdout
    assert "1.000 of 3" in result.stdout
    assert "They saw the answer." in result.stderr
    assert server.paths() == ["GET /api/v1/quality?model=m&since=2026-01-31T00%3A00%3A00Z"]


def test_token_gives_its_principal_roles_only_when_asked(server: CannedServer) -> None:
    token = {"id": REPORT, "principal": "dr.a", "scopes": ["review"], "revoked_at": None, "expires_at": None}
    server.answer("POST /api/v1/tokens", Answer(token | {"token": "ovr_x"}, 201))
    base = ["token", "create", "--principal", "dr.a", "--scope", "review", "--scope", "read"]

    assert run(server, *base).exit_code == 0
    assert "roles" not in json.loads(server.asked[-1].body)
    assert run(server, *base, "--role", "physician").exit_code == 0
    body = json.loads(server.asked[-1].body)
    assert (body["principal"], body["scopes"], body["roles"]) == ("dr.a", ["review", "read"], ["physician"])


def test_principals_are_listed_with_their_roles(server: CannedServer) -> None:
    one = {"name": "dr.a", "roles": ["physician", "operator"], "created_at": VERSION["created_at"], "disabled_at": None}
    server.answer("GET /api/v1/principals", Answer({"items": [one], "next": None}))

    result = run(server, "principals")

    assert "physician, operator" in result.stdout
