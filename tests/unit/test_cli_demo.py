"""The demo's arithmetic and its tables."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from api.cli.client import Client
from api.cli.collect import collect_files
from api.cli.demo import name_items, read_truths
from api.cli.demo_reports import write_reports
from api.cli.demo_tables import Assessed, measure, measures_text, outcome_text
from api.cli.metrics import Share, auc, sensitivity, specificity
from api.cli.output import plain
from api.cli.phantoms import write_cohort
from tests.canned_server import Answer, canned_server


def report(key: str, probability: float | None, decision: bool | None) -> dict[str, Any]:
    finding = {"display": "Lesion", "probability": probability, "threshold": 0.5, "decision": decision}
    return {
        "id": key,
        "patient": {"patient_id": f"<{key}>"},
        "model": {"name": "m", "version": 1},
        "findings": [finding],
        "document": {"findings": [finding]},
    }


def test_sensitivity_and_specificity_count_only_their_own_class() -> None:
    truth = [True, True, True, False, False]
    decisions = [True, False, True, False, True]

    assert sensitivity(truth, decisions) == Share(2, 3)
    assert specificity(truth, decisions) == Share(1, 2)
    assert sensitivity([False], [True]).value is None


@pytest.mark.parametrize(
    ("truth", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([0, 1], [0.2, 0.9], 1.0),
        ([1, 0], [0.2, 0.9], 0.0),
        ([0, 1, 1], [0.5, 0.5, 0.9], 0.75),
        ([1, 1], [0.2, 0.9], None),
    ],
)
def test_auc_is_how_often_a_positive_scores_above_a_negative(
    truth: list[int], scores: list[float], expected: float | None
) -> None:
    assert auc(truth, scores) == expected


def test_patients_without_a_probability_are_left_out_of_the_figures() -> None:
    assessed = [
        Assessed(report("a", 0.9, True), truth=True),
        Assessed(report("b", 0.2, False), truth=False),
        Assessed(report("c", None, None), truth=True),
    ]

    figures = measure(assessed)

    assert figures["patients"] == 2
    assert measures_text(figures) == (
        "sensitivity 1.000 (1 of 1), specificity 1.000 (1 of 1), AUC 1.000, on 2 patients"
    )


def test_truth_about_an_earlier_cohort_is_read_back(tmp_path: Path) -> None:
    truths = write_cohort(tmp_path, patients=4, seed=3)

    assert read_truths(tmp_path / "labels.csv") == truths


def test_items_get_the_names_of_all_files_with_their_bytes(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).write_bytes(b"same" if name != "c" else b"other")
    same, other = ({"sha256": sha256(data).hexdigest(), "name": "1.2.3"} for data in (b"same", b"other"))
    rejected = {"sha256": None, "name": "tests/d"}

    rows = name_items([rejected, other, same], collect_files([tmp_path]))

    assert rows == [("a, b", same), ("c", other), ("tests/d", rejected)]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"state": "done", "frames": 1, "reused": False}, "predicted, 1 frame"),
        ({"state": "done", "frames": 30, "reused": True}, "predicted, 30 frames (known from before)"),
        (
            {"state": "failed", "reason": "truncated", "detail": "", "reason_text": "Ends early."},
            "truncated: Ends early.",
        ),
        (
            {"state": "failed", "reason": "truncated", "detail": "more", "reason_text": "Ends early."},
            "truncated: more",
        ),
    ],
)
def test_outcome_is_a_prediction_or_a_named_reason(item: dict[str, Any], text: str) -> None:
    assert outcome_text(item) == text


def test_reports_are_written_privately_and_listed_in_a_page(tmp_path: Path) -> None:
    with canned_server() as server:
        server.answer("GET /api/v1/reports/r1.html", Answer(b"<p>page</p>"))
        with Client(server.url, None) as client:
            write_reports(client, [report("r1", 0.9, True)], tmp_path / "reports")

    folder = tmp_path / "reports"
    assert (folder / "r1.html").read_text() == "<p>page</p>"
    assert '"probability": 0.9' in (folder / "r1.json").read_text()
    assert '<a href="r1.html">&lt;r1&gt;</a>' in (folder / "index.html").read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "r1.html").stat().st_mode & 0o777 == 0o600


def test_text_from_files_is_shown_and_never_obeyed() -> None:
    text = plain("a\x1b[31mb[red]c\x9b\x07\u200bd")

    assert text.plain == "a[31mb[red]c\u200bd"
    assert not text.spans
