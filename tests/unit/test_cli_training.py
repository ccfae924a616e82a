"""The commands of training: what they send, and what they show of trainings, datasets, versions, gates and cards."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import watch as watch_module
from api.cli.main import main
from tests.canned_server import JOB, Answer, CannedServer, job


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--url", server.url])


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


def test_train_sends_what_was_typed_and_follows_it(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_S", 0.01)
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
    by_gate = {"version": 2, "kind": "promoted", "by_gate": True, "by": None}
    rows = [row | {"by_gate": False, "by": "Ann"}, row | by_gate]
    server.answer(f"GET {base}/m/promotions", Answer({"items": rows}))

    promoted = run(server, "models", "promote", "m:2")
    back = run(server, "models", "rollback", "m", "--reason", "misses")
    told = run(server, "models", "history", "m")
    refused = run(server, "models", "rollback", "m:2")

    assert [one.exit_code for one in (promoted, back, told)] == [0, 0, 0]
    asked = next(one for one in server.asked if one.path.endswith("/rollback"))
    assert json.loads(asked.body) == {"reason": "misses"}
    assert "rolled back" in told.output
    for said in ("Ann", "the gate"):
        assert said in told.output
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
