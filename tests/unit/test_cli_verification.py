"""`report --verify` and `audit`: what they print for people, and the exit codes they promise."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import watch as watch_module
from api.cli.main import main
from tests.canned_server import JOB, Answer, CannedServer, job

REPORT = "0190a0b0-0000-7000-8000-00000000000b"
HEAD = f"7:{'a' * 64}"
CHAIN = {
    "holds": True,
    "broken": None,
    "last": HEAD,
    "head": HEAD,
    "sealed": 7,
    "unsealed": 2,
    "oldest_unsealed_s": 3.2,
    "next": None,
}


@pytest.fixture(autouse=True)
def polls_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_S", 0.01)


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


def words_of(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(("verdict", "code"), [("passed", 0), ("differs", 1), ("incomplete", 5)])
def test_verify_prints_every_check_and_ends_with_the_code_of_the_verdict(
    server: CannedServer, verdict: str, code: int
) -> None:
    checks = [
        {"name": "document", "passed": True, "checked": 1, "told": []},
        {"name": "inputs", "passed": False, "checked": 3, "told": ["blob ab: the stored bytes are gone"]},
        {"name": "predictions", "passed": None, "checked": 0, "told": ["not recorded"]},
    ]
    server.answer(f"POST /api/v1/reports/{REPORT}/verify", Answer(job("queued", kind="verification"), 202))
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(job("partial", kind="verification")))
    server.answer(f"GET /api/v1/jobs/{JOB}/verification", Answer({"verdict": verdict, "checks": checks}))

    result = run(server, "report", REPORT, "--verify", "--sample", "3")

    assert result.exit_code == code
    assert server.asked[0].body == b'{"sample":3}'
    assert "document, against its digest passed 1" in words_of(result)
    assert "bytes of the instances DIFFERS 3 blob ab: the stored bytes are gone" in words_of(result)
    assert "stored predictions not checked 0 not recorded" in words_of(result)
    assert f"{verdict} (job {JOB})" in words_of(result)


def test_sample_is_refused_where_it_is_no_number_or_nothing_is_verified(server: CannedServer) -> None:
    assert run(server, "report", REPORT, "--verify", "--sample", "some").exit_code == 2
    assert run(server, "report", REPORT, "--sample", "3").exit_code == 2
    assert server.asked == []


def test_chain_is_followed_to_its_end_and_its_head_is_printed(server: CannedServer) -> None:
    part: dict[str, Any] = CHAIN | {"next": f"3:{'b' * 64}"}
    server.answer("GET /api/v1/audit/chain", Answer(part), Answer(CHAIN))

    result = run(server, "audit", "--check")

    assert result.exit_code == 0
    assert len(server.asked) == 2
    assert [
        "the chain holds",
        "sealed events 7",
        "not sealed yet 2, since 3 s",
        f"head, to be kept {HEAD}",
    ] == words_of(result)


def test_broken_chain_is_told_with_its_place(server: CannedServer) -> None:
    broken = {"sequence": 4, "event_id": 9, "why": "its event is gone"}
    server.answer("GET /api/v1/audit/chain", Answer(CHAIN | {"holds": False, "broken": broken}))

    result = run(server, "audit", "--check")

    assert result.exit_code == 1
    assert "broken at seal 4: its event is gone" in words_of(result)
    assert "its event 9" in words_of(result)
