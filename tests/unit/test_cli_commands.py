"""The commands: what they print, and the exit codes they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import watch as watch_module
from api.cli.folders import keep_token
from api.cli.main import main
from api.cli.session import find_token
from tests.canned_server import PROBLEM, Answer, CannedServer
from tests.system import OVERREAD

JOB = "0190a0b0-0000-7000-8000-00000000000a"
CHAMPION = {"name": "m", "version": 3, "state": "champion"}


def job(state: str, **changes: Any) -> dict[str, Any]:
    counts = {"total": 3, "done": 2, "failed": 1, "skipped": 0, "cancelled": 0, "pending": 0, "reused": 0}
    return {
        "id": JOB,
        "state": state,
        "priority": "routine",
        "label": "",
        "model": {"name": "m", "version": 3},
        "counts": counts,
        "position": None,
        "eta_s": None,
        "eta_error_s": None,
        "waiting": None,
        "retry_of": None,
        "training": None,
        "created_at": "2026-11-24T12:00:00Z",
        "started_at": None,
        "finished_at": None,
    } | changes


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
    target = tmp_path / "report.html"

    result = run(server, "report", JOB, "-o", str(target))

    assert result.exit_code == 0
    assert target.read_text() == "<p>page</p>"
    assert target.stat().st_mode & 0o777 == 0o600


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


def test_list_counts_what_is_wanted_when_slices_are_skipped(server: CannedServer) -> None:
    counts = {"total": 9, "done": 3, "failed": 0, "skipped": 6, "cancelled": 0, "pending": 0, "reused": 0}
    server.answer("GET /api/v1/jobs", Answer({"items": [job("done", counts=counts)], "next": None}))

    assert "3/3" in run(server, "jobs").output


TRAINING: dict[str, Any] = {
    "phase": "training",
    "why": None,
    "dataset": "d" * 64,
    "epoch": 2,
    "epochs": 5,
    "step": 30,
    "steps": 75,
    "history": [
        {"epoch": 1, "loss": 0.4, "val_loss": 0.31, "val_accuracy": 0.9, "val_auc": 0.95, "best_epoch": 1},
        {"epoch": 2, "loss": 0.3, "val_loss": 0.5, "val_accuracy": 0.9, "val_auc": 0.9, "best_epoch": 1},
    ],
    "model": None,
    "gate": None,
}


def test_train_sends_what_was_typed_and_follows_it(server: CannedServer) -> None:
    server.answer("POST /api/v1/jobs", Answer(job("queued", training=TRAINING), 202))
    gate = {"outcome": "held", "reasons": ["it is not shown to be better"]}
    ended = job("done", training=TRAINING | {"phase": "done", "model": "m:4", "gate": gate})
    server.answer(f"GET /api/v1/jobs/{JOB}", Answer(job("running", training=TRAINING)), Answer(ended))
    server.answer(f"GET /api/v1/jobs/{JOB}/items", Answer({"items": [], "next": None}))

    result = run(
        server,
        *("train", "m:3", "--from-scratch", "--epochs", "5", "--learning-rate", "0.01", "--shift", "0.1", "--mirror"),
        *("--no-class-weights", "--label", "night", "--watch", "--workers", "2", "--network", "resnet18"),
        *("--precision", "mixed_bfloat16", "--best-by", "auc"),
    )

    assert result.exit_code == 0, result.output
    assert json.loads(server.asked[0].body) == {
        "kind": "training",
        "model": "m:3",
        "label": "night",
        "options": {
            "start": "scratch",
            "network": "resnet18",
            "epochs": 5,
            "batch_size": 32,
            "workers": 2,
            "precision": "mixed_bfloat16",
            "learning_rate": 0.01,
            "decay": "cosine",
            "patience_epochs": 5,
            "best_by": "auc",
            "class_weights": False,
            "augment": {"mirror": True, "shift": 0.1},
            "seed": 0,
            "val_share": 0.2,
        },
    }
    assert "epoch 2/5, best so far 1: val loss 0.3100, AUC 0.9500" in result.stdout
    assert ["new", "version", "m:4"] in [line.split() for line in result.stdout.splitlines()]


def test_schedule_that_trains_sends_what_was_typed(server: CannedServer) -> None:
    training = {"kind": "training", "name": "retraining", "job": {"model": "m"}, "next_fires": [], "last_run": None}
    shown = training | {"cron": "0 3 * * *", "time_zone": "UTC", "overlap": "skip", "paused_at": None}
    server.answer("POST /api/v1/schedules", Answer(shown, 201))

    result = run(
        server, *("schedules", "add-training", "retraining", "--cron", "0 3 * * *", "--model", "m"), "--min-new", "50"
    )

    assert result.exit_code == 0, result.output
    sent = json.loads(server.asked[0].body)
    assert (sent["min_new"], sent["training"]["model"], sent["training"]["options"]["start"]) == (50, "m", "warm")
    assert "job" not in sent


def test_datasets_are_listed_and_shown(server: CannedServer) -> None:
    split = {"instances": 30, "patients": 10, "classes": {"negative": 20, "lesion": 10}, "sites": {"local": 30}}
    dataset = {
        "digest": "d" * 64,
        "model": "m",
        "splits": dict.fromkeys(("train", "val", "holdout"), split | {"scanners": {"not named": 30}}),
        "left_out": {"has no pixel data": 2},
        "created_at": "2026-11-24T12:00:00Z",
    }
    server.answer("GET /api/v1/datasets", Answer({"items": [dataset], "next": None}))
    server.answer("GET /api/v1/datasets/dddddddd", Answer(dataset))

    listed, shown = run(server, "datasets", "list"), run(server, "datasets", "show", "dddddddd")

    assert (listed.exit_code, shown.exit_code) == (0, 0)
    assert "30 of 10" in listed.stdout
    assert "20 negative, 10 lesion" in shown.stdout
    assert "2 left out: has no pixel data" in shown.stdout


def test_models_are_promoted_taken_back_and_told_of(server: CannedServer) -> None:
    def shown(version: int) -> dict[str, Any]:
        there = {"name": "m", "version": version, "state": "champion", "digest": "d" * 64}
        return there | {"created_at": "2026-11-29T01:00:00Z"}

    base = "/api/v1/models"
    server.answer(f"POST {base}/m/versions/2/promote", Answer(shown(2)))
    server.answer(f"GET {base}", Answer({"items": [shown(2)]}))
    server.answer(f"POST {base}/m/versions/2/rollback", Answer(shown(1)))
    row = {"version": 1, "kind": "rolled_back", "reason": "misses", "created_at": "2026-11-29T01:00:00Z"}
    rows = [row | {"by_gate": False}, row | {"version": 2, "kind": "promoted", "by_gate": True}]
    server.answer(f"GET {base}/m/promotions", Answer({"items": rows}))

    promoted = run(server, "models", "promote", "m:2")
    back = run(server, "models", "rollback", "m", "--reason", "misses")
    told = run(server, "models", "history", "m")
    refused = run(server, "models", "rollback", "m:2")

    assert [one.exit_code for one in (promoted, back, told)] == [0, 0, 0]
    asked = next(one for one in server.asked if one.path.endswith("/rollback"))
    assert json.loads(asked.body) == {"reason": "misses"}
    assert "rolled back" in told.output
    assert "promoted by the gate" in told.output
    assert refused.exit_code == 2


def test_gate_shows_both_versions_side_by_side_and_why(server: CannedServer) -> None:
    def figures(value: float) -> dict[str, Any]:
        return dict.fromkeys(("auc", "sensitivity", "specificity", "calibration_error"), value)

    gain = {"gain": 0.1, "low": -0.02, "high": 0.21}
    both = {"candidate": figures(0.9123), "champion": figures(0.8123)}
    subgroup = {"by": "site", "value": "North", "finding": "lesion", "positives": 12, "negatives": 30}
    decision = {
        "outcome": "held",
        "reasons": ["it is not shown to be better"],
        "champion": 1,
        "created_at": "2026-11-29T01:00:00Z",
        "holdout": {"patients": 42, "new_patients": 3, "times_before": 2, "champion_origin_known": False},
        "measures": {
            "findings": [{"code": "lesion", **both, "gains": dict.fromkeys(figures(0), gain)}],
            "subgroups": [subgroup | {"candidate": {"sensitivity": 0.5}, "champion": {"sensitivity": 0.75}}],
        },
    }
    server.answer("GET /api/v1/models/m/versions/2/gate", Answer(decision))

    shown = run(server, "models", "gate", "m:2")

    assert shown.exit_code == 0, shown.output
    for part in (
        "not shown to be better",
        "42 patients",
        "imported",
        "0.9123",
        "-0.0200 to +0.2100",
        "0.5000 / 0.7500",
    ):
        assert part in shown.output, part


def test_card_is_shown_and_kept_as_a_page(server: CannedServer, tmp_path: Path) -> None:
    card = {
        "model": {"name": "m", "version": 2, "state": "held", "description": "Finds.", "intended_use": "Films."}
        | {"licence": "Apache-2.0"},
        "stated_training": {"description": "train: 8 instances", "data_digest": "d"},
        "began_with": "m:1",
        "training": TRAINING,
        "gate": {"outcome": "held", "reasons": ["it is not shown to be better"]},
        "promotions": [],
        "limits": ["What it gives is preliminary."],
    }
    server.answer("GET /api/v1/models/m/versions/2/card", Answer(card))
    server.answer("GET /api/v1/models/m/versions/2/card.html", Answer(b"<!doctype html>"))

    shown = run(server, "models", "card", "m:2")
    kept = run(server, "models", "card", "m:2", "-o", str(tmp_path / "card.html"))

    assert (shown.exit_code, kept.exit_code) == (0, 0), shown.output + kept.output
    for part in ("m:2, held", "train: 8 instances", "not shown to be better", "- What it gives is preliminary."):
        assert part in shown.output, part
    assert (tmp_path / "card.html").read_text() == "<!doctype html>"
