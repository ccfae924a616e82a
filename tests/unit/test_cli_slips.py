"""What the command line says to slips: before anything is sent, and in one sentence."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from api.cli.client import Client
from api.cli.collect import BROKEN_LINK, HIDDEN, LINKED, collect
from api.cli.fitted import fitted_table
from api.cli.folders import keep_token
from api.cli.main import main
from api.cli.session import Session
from api.cli.watch import tell_failures
from tests.canned_server import PROBLEM, Answer, CannedServer

KNOWN = "0190a0b0-0000-7000-8000-00000000000a"
A1, A2, B1 = (
    {"name": name, "version": number, "state": state}
    for name, number, state in (("a", 1, "retired"), ("a", 2, "champion"), ("b", 1, "champion"))
)


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


@pytest.mark.parametrize("where", ["missing/x.html", "file/x.html", "/dev/full"])
def test_report_that_cannot_be_written_is_one_sentence(server: CannedServer, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    server.answer(f"GET /api/v1/reports/{KNOWN}.html", Answer(b"<p>page</p>"))

    result = run(server, "report", KNOWN, "--format", "html", "-o", str(tmp_path / where))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / where} cannot be written: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["job", "watch", "cancel", "retry", "report"])
def test_id_is_refused_unasked_when_it_cannot_be_one(server: CannedServer, command: str) -> None:
    kind = "report" if command == "report" else "job"

    result = run(server, command, "xyz")

    assert result.exit_code == 2
    assert f"xyz is not a {kind} id; list them with overread {kind}s" in result.stderr
    assert server.asked == []


@pytest.mark.parametrize(
    ("models", "wanted", "said"),
    [
        ([], "", "there is no model yet: add one with overread models add PACKAGE"),
        ([], "a", "there is no model yet: add one with overread models add PACKAGE"),
        ([A2, B1], "", "name one with --model: a, b"),
        ([A2, A1, B1], "c", "no model is called c; there are: a, b"),
        ([A2, A1, B1], "a:9", "no model is called a:9; there are: a:2, a:1, b:1"),
        ([A1], "", "name one with --model: a:1"),
    ],
)
def test_nothing_is_sent_when_the_model_is_not_clear(
    server: CannedServer, tmp_path: Path, models: list[Any], wanted: str, said: str
) -> None:
    (tmp_path / "a.dcm").write_bytes(b"alpha")
    server.answer("GET /api/v1/models", Answer({"items": models}))

    result = run(server, "submit", str(tmp_path), "--model", wanted)

    assert result.exit_code == 1
    assert result.stderr == f"Error: {said}\n"
    assert server.paths() == ["GET /api/v1/models"]


@pytest.mark.parametrize("upload_id", ["u1", KNOWN])
def test_nothing_is_sent_when_the_upload_to_resume_is_unknown(
    server: CannedServer, tmp_path: Path, upload_id: str
) -> None:
    (tmp_path / "a.dcm").write_bytes(b"alpha")
    server.answer("GET /api/v1/models", Answer({"items": [A2]}))
    server.answer(f"GET /api/v1/uploads/{KNOWN}", Answer({"detail": "There is no such upload."}, 404, PROBLEM))

    result = run(server, "submit", str(tmp_path), "--resume", upload_id)

    assert result.exit_code == 1
    assert result.stderr == f"Error: no upload has the id {upload_id}\n"
    assert {one.method for one in server.asked} == {"GET"}


def test_submission_goes_on_when_the_token_may_not_read(server: CannedServer, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"alpha")
    server.answer("GET /api/v1/models", Answer({"detail": "may not read"}, 403, PROBLEM))
    server.answer("POST /api/v1/uploads", Answer({"detail": "no room left"}, 507, PROBLEM))

    result = run(server, "submit", str(tmp_path))

    assert result.stderr == "Error: no room left\n"


def test_401_says_where_a_token_was_looked_for(
    server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer("GET /api/v1/jobs", Answer({"detail": "no"}, 401, PROBLEM))
    folder = ("--data-dir", str(tmp_path))

    missing = run(server, "jobs", *folder)
    keep_token(tmp_path, "old")
    kept = run(server, "jobs", *folder)
    given = run(server, "jobs", "--token", "mine", *folder)
    monkeypatch.setenv("OVERREAD_TOKEN", "mine")
    set_outside = run(server, "jobs", *folder)

    file = tmp_path / "admin-token"
    remedy = "use --token, OVERREAD_TOKEN or --data-dir"
    assert missing.stderr == f"Error: no token given, and none in {file}: {remedy}\n"
    for result, origin in ((kept, str(file)), (given, "--token"), (set_outside, "OVERREAD_TOKEN")):
        assert f"refused the token (from {origin}): it is unknown, expired or revoked" in result.stderr


@pytest.mark.parametrize(
    ("width", "headings"), [(60, ["job", "label"]), (80, ["job", "label"]), (140, ["job", "label", "model", "created"])]
)
def test_ids_stay_whole_and_lines_single_at_any_width(width: int, headings: list[str]) -> None:
    columns = [
        ("job", lambda _: KNOWN),
        ("label", lambda _: "a long label " * 8),
        ("model", lambda _: "lesions-of-the-chest:12"),
        ("created", lambda _: "2026-11-24 12:00:00"),
    ]
    console = Console(width=width)

    with console.capture() as capture:
        console.print(fitted_table(columns, [0, 1], width, ("model", "created")))

    lines = capture.get().splitlines()
    assert lines[0].split() == headings
    assert len(lines) == 3
    assert all(line.startswith(KNOWN) and len(line) <= width for line in lines[1:])


def test_reasons_are_counted_and_at_most_eight_told(server: CannedServer) -> None:
    failed = [{"reason": f"reason_{n}", "detail": "why", "reason_text": ""} for n in range(10) for _ in range(n + 1)]
    failed[-1] = failed[-1] | {"detail": "another why"}
    server.answer(f"GET /api/v1/jobs/{KNOWN}/items", Answer({"items": failed, "next": None}))
    out = Console(width=80)
    with Client(server.url, None) as client, out.capture() as capture:
        session = Session(client, as_json=False, out=out, err=out)
        tell_failures(session, {"id": KNOWN, "counts": {"failed": len(failed)}})

    lines = capture.get().splitlines()
    assert lines[:2] == ["10 reason_9: such as: why", "9 reason_8: why"]
    assert lines[8:] == [f"see overread job {KNOWN} --items --state failed"]
    assert server.paths() == [f"GET /api/v1/jobs/{KNOWN}/items?limit=500&state=failed"]


def test_what_is_left_out_is_noted_when_collecting(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)

    collected = collect([tmp_path])

    assert [file.path.name for file in collected.files] == ["a.dcm"]
    names = {kind: [path.name for path in paths] for kind, paths in collected.skipped.items()}
    assert names == {HIDDEN: [".DS_Store", ".git"], LINKED: ["linked"], BROKEN_LINK: ["gone"]}


def test_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"overread {version('overread')}\n"
