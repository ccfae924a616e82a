"""The commands: what they print, and the exit codes they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import watch as watch_module
from api.cli.folders import keep_token
from api.cli.main import main
from api.cli.session import find_token
from tests.canned_server import JOB, PROBLEM, Answer, CannedServer, job
from tests.system import OVERREAD

CHAMPION = {"name": "m", "version": 3, "state": "champion"}


@pytest.fixture(autouse=True)
def polls_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_S", 0.01)


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("partial", 4), ("failed", 5), ("cancelled", 5)])
def test_watch_ends_with_the_code_of_the_state(server: CannedServer, state: str, code: int) -> None:
    running = job("running", position=2, waiting="2 shards are ahead")
    failed = {"reason": "truncated", "detail": "", "reason_text": "Ends early."}
    server.answer(f"GET /api/v1/jobs/{JOB}/items", Answer({"items": [failed], "next": None}))
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(running), Answer(job(state)))

    result = run(server, "watch", JOB)

    assert result.exit_code == code
    assert len(server.asked) == 3
    assert "1 truncated: Ends early." in result.stdout
    assert f"see overread job {JOB} --items --state failed" in result.stdout
    assert ["state", state] in [line.split() for line in result.stdout.splitlines()]


def test_bar_says_what_a_job_waits_for_and_when_it_is_likely_over() -> None:
    running = job("running", position=2, waiting="2 shards are ahead", eta_s=300.0, eta_error_s=40.0)

    assert watch_module.note_of(running) == "1 failed; 2 shards are ahead; likely over in 5 min ± 40 s"


def test_bar_says_how_many_were_cancelled(server: CannedServer) -> None:
    counts = {"total": 3, "done": 1, "failed": 0, "skipped": 0, "cancelled": 2, "pending": 0, "reused": 0}
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(job("cancelled", counts=counts)))

    result = run(server, "watch", JOB)

    assert "2 cancelled" in result.stderr
    assert "3 total, 1 done, 2 cancelled" in result.stdout


def test_watch_goes_on_when_the_server_restarts(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.cli import client as client_module

    monkeypatch.setattr(client_module, "LONGEST_WAIT_S", 0.01)
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(breaks=True), Answer(job("done")))
    server.answer(f"GET /api/v1/jobs/{JOB}/items", Answer({"items": [], "next": None}))

    assert run(server, "watch", JOB).exit_code == 0


def test_list_is_a_table_for_people_and_json_for_programs(server: CannedServer) -> None:
    page = {"items": [job("done")], "next": None}
    server.answer("GET /api/v1/jobs", Answer(page))

    table, parsed = run(server, "jobs", "--state", "done"), run(server, "jobs", "--json")

    assert "m:3" in table.stdout
    assert "2/3" in table.stdout
    assert json.loads(parsed.stdout) == page
    assert server.paths() == ["GET /api/v1/jobs?limit=100&state=done", "GET /api/v1/jobs?limit=100"]


def test_refusal_is_one_sentence_and_code_1(server: CannedServer) -> None:
    problem = {"title": "Not Found", "status": 404, "detail": "There is no such job."}
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(problem, 404, PROBLEM))

    result = run(server, "job", JOB, "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == problem
    assert result.stderr == "Error: There is no such job.\n"


def test_code_is_3_when_nobody_answers() -> None:
    result = CliRunner().invoke(main, ["jobs", "--url", "http://127.0.0.1:1"])

    assert result.exit_code == 3
    assert "overread up" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "--state", "lost"],
        ["jobs", "--url", "localhost:8484"],
        ["submit"],
        ["submit", "/nowhere"],
        ["token", "create", "--name", "x", "--scopes", "everything"],
    ],
)
def test_code_is_2_when_the_command_line_is_wrong(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


def test_kept_token_serves_this_machine_only(server: CannedServer, tmp_path: Path) -> None:
    keep_token(tmp_path, "admin-secret")
    server.answer("GET /api/v1/queues", Answer({"items": []}))

    run(server, "queues", "--data-dir", str(tmp_path))
    run(server, "queues", "--data-dir", str(tmp_path), "--token", "mine")

    assert [one.headers["Authorization"] for one in server.asked] == ["Bearer admin-secret", "Bearer mine"]
    assert find_token("https://overread.example", None, tmp_path) is None


def test_upload_id_is_told_when_a_submission_breaks_off(server: CannedServer, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"alpha")
    server.answer("GET /api/v1/models", Answer({"items": [CHAMPION]}))
    server.answer("POST /api/v1/uploads", Answer({"id": "u1"}, 201))
    server.answer("POST /api/v1/uploads/u1/missing", Answer({"detail": "no room left"}, 507, PROBLEM))

    result = run(server, "submit", str(tmp_path))

    assert result.exit_code == 1
    assert "--resume u1" in result.stderr
    assert "Error: no room left" in result.stderr


def test_report_is_written_for_its_owner_alone(server: CannedServer, tmp_path: Path) -> None:
    server.answer(f"GET /api/v1/reports/{JOB}.html", Answer(b"<p>page</p>"))
    newest = {"id": "newest-id", "number": 3, "status": "final"}
    server.answer(f"GET /api/v1/reports/{JOB}", Answer({"superseded_by": newest}))
    target = tmp_path / "report.html"

    result = run(server, "report", JOB, "-o", str(target))

    assert result.exit_code == 0
    assert "not the newest version any more; that is version 3, final: overread report newest-id" in result.stderr
    assert target.read_text() == "<p>page</p>"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a.pdf", ".pdf"),
        ("A.HTM", ".html"),
        ("a.dcm", ".sr.dcm"),
        ("a.sc.zip", ".sc.zip"),
        ("a.r5.json", ".r5.json"),
        ("a.r4b.json", ".r4b.json"),
    ],
)
def test_report_is_written_in_the_form_that_the_file_is_named_for(
    server: CannedServer, tmp_path: Path, name: str, asked: str
) -> None:
    server.answer(f"GET /api/v1/reports/{JOB}{asked}", Answer(b"%PDF-1.4 \xff\x00"))
    server.answer(f"GET /api/v1/reports/{JOB}", Answer({"superseded_by": None}))

    result = run(server, "report", JOB, "-o", str(tmp_path / name), "--language", "zh")

    assert result.exit_code == 0, result.stderr
    assert (tmp_path / name).read_bytes() == b"%PDF-1.4 \xff\x00"
    assert server.asked[0].path.endswith("?lang=zh")


def test_report_is_not_written_where_the_file_is_named_for_no_form(server: CannedServer, tmp_path: Path) -> None:
    result = run(server, "report", JOB, "-o", str(tmp_path / "a.docx"))

    assert result.exit_code == 2
    assert "a.docx ends in no form of a report; expected .json, .html, .pdf" in result.stderr
    assert (server.asked, list(tmp_path.iterdir())) == ([], [])


def test_report_goes_to_a_pipe_byte_by_byte(server: CannedServer) -> None:
    server.answer(f"GET /api/v1/reports/{JOB}.sr.dcm", Answer(b"\x00DICM\xff"))

    result = run(server, "report", JOB, "--format", "sr")

    assert result.stdout_bytes == b"\x00DICM\xff"


def test_command_line_loads_neither_the_server_nor_its_libraries() -> None:
    code = (
        "import sys; from api.cli.main import main\n"
        "bad = {'flask', 'apiflask', 'sqlalchemy', 'celery', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "bad |= {name for name in sys.modules if name.split('.')[0] in ('worker', 'scheduler')}\n"
        "bad |= {name for name in sys.modules if name.startswith(('api.app', 'api.intake', 'api.routes'))}\n"
        "print(sorted(bad))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


def test_service_starts_where_files_have_the_names_of_libraries(tmp_path: Path) -> None:
    for name in ("sqlalchemy", "dl", "shared"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not what was meant')")
    environment = os.environ | {"OVERREAD_DATA_DIR": str(tmp_path / "data")}

    done = subprocess.run([OVERREAD, "migrate"], cwd=tmp_path, env=environment, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


def test_report_says_how_many_slices_it_rests_on(server: CannedServer) -> None:
    stack = {"slices": 7, "selected": 4, "spacing_mm": 2.5, "num_gaps": 1, "num_duplicates": 0}
    unknown = {"slices": 3, "selected": 3, "spacing_mm": None, "num_gaps": None, "num_duplicates": None}
    series = [{"series_instance_uid": "1.2.3", "stacks": [stack, unknown, unknown | {"slices": 1, "selected": 1}]}]
    shown = {
        "id": JOB,
        "number": 1,
        "status": "preliminary",
        "superseded_by": None,
        "patient": {"patient_id": "P1"},
        "model": {"name": "m", "version": 3},
        "created_at": "2026-11-24T12:00:00Z",
        "completeness": {"predicted": 4, "instances": 4},
        "document": {"findings": [], "excluded": [], "series": series},
    }
    server.answer(f"GET /api/v1/reports/{JOB}", Answer(shown))

    result = run(server, "report", JOB)

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines() if "1.2.3" in line]
    assert lines == ["1.2.3 4 of 7 2.50 mm 1 0", "1.2.3 3 of 3 - unknown unknown"]


FINDING = {"code": "mass", "display": "Mass", "probability": 0.9, "threshold": 0.5, "decision": True, "evidence": []}
SIGNED = {
    "reviewer": "Dr Jansen",
    "reviewed_at": "2026-11-24T12:00:00+00:00",
    "comment": "as before",
    "reason": "",
    "signed": {"by": "Dr Jansen"},
    "verdicts": [{"finding": "mass", "verdict": "disagree", "note": "a shadow"}],
}
CONTROL = {
    "action": "control_study",
    "text": "In May.",
    "display": "Mass",
    "urgency": "routine",
    "due_at": "2027-05-01T00:00:00+00:00",
}


def test_summary_names_the_newest_version_and_what_people_said(server: CannedServer) -> None:
    shown = {
        "id": JOB,
        "number": 1,
        "status": "preliminary",
        "superseded_by": {"id": "newest-id", "number": 3, "status": "retracted"},
        "patient": {"patient_id": "P1"},
        "model": {"name": "m", "version": 3},
        "created_at": "2026-11-24T12:00:00Z",
        "completeness": {"predicted": 4, "instances": 4},
        "findings": [],
        "document": {
            "findings": [FINDING],
            "excluded": [],
            "untrained": True,
            "version": {"status": "preliminary"},
            "review": SIGNED,
            "follow_ups": [CONTROL],
        },
    }
    server.answer(f"GET /api/v1/reports/{JOB}", Answer(shown))
    server.answer("GET /api/v1/reports", Answer({"items": [shown], "next": None}))

    told = run(server, "report", JOB).output
    assert "version 3, retracted: overread report newest-id" in told
    for words in ("disagree: a shadow", "Dr Jansen, 2026-", "as before", "control study: In May.", "is untrained"):
        assert words in told
    assert "1 (newest: 3)" in run(server, "reports", "--job", JOB).output


def test_list_counts_what_is_wanted_when_slices_are_skipped(server: CannedServer) -> None:
    counts = {"total": 9, "done": 3, "failed": 0, "skipped": 6, "cancelled": 0, "pending": 0, "reused": 0}
    server.answer("GET /api/v1/jobs", Answer({"items": [job("done", counts=counts)], "next": None}))

    assert "3/3" in run(server, "jobs").output
