"""`overread labels`: files of labels are read, sent in batches, and every refused row is told by its number."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.labels import BATCH
from api.cli.main import main
from tests.canned_server import Answer, CannedServer

LABELS = "/api/v1/labels"
POST = f"POST {LABELS}"


def run(server: CannedServer, *words: str) -> Result:
    return CliRunner().invoke(main, ["labels", *words, "--url", server.url])


def taken(added: int, *refused: int) -> Answer:
    problems = [{"row": row, "reason": "not_stored", "detail": "send its files first"} for row in refused]
    counts = {"added": added, "changed": 0, "unchanged": 0, "refused": len(refused)}
    return Answer(counts | {"problems": problems, "unknown_findings": ["nodul"] if added else []})


def sent(server: CannedServer) -> list[list[dict[str, Any]]]:
    return [json.loads(one.body)["labels"] for one in server.asked]


def test_table_is_sent_with_defaults_for_what_rows_leave_open(server: CannedServer, tmp_path: Path) -> None:
    server.answer(POST, taken(2))
    file = tmp_path / "labels.csv"
    file.write_text('\ufeffpatient_id,value,who\nP1,1,"A, B"\nP2,0,\n', encoding="utf-8")

    result = run(server, "import", str(file), "--finding", "nodule", "--source", "ward", "--who", "C")

    assert result.exit_code == 0, result.output
    assert "no model that serves speaks of nodul yet" in result.stderr
    common = {"finding": "nodule", "source": "ward"}
    assert sent(server) == [
        [
            common | {"patient_id": "P1", "value": "1", "who": "A, B"},
            common | {"patient_id": "P2", "value": "0", "who": "C"},
        ]
    ]


def test_long_file_goes_in_batches_and_rows_keep_their_numbers(server: CannedServer, tmp_path: Path) -> None:
    server.answer(POST, taken(BATCH), taken(0, 1, 2))
    file = tmp_path / "labels.json"
    file.write_text(json.dumps([{"patient_id": f"P{at}"} for at in range(BATCH + 2)]))

    result = run(server, "import", str(file), "--json")

    assert [len(batch) for batch in sent(server)] == [BATCH, 2]
    told = json.loads(result.stdout)
    assert [one["row"] for one in told["problems"]] == [BATCH + 1, BATCH + 2]
    assert (told["added"], told["refused"], result.exit_code) == (BATCH, 2, 4)


def test_refused_rows_are_told_and_all_refused_is_a_failure(server: CannedServer, tmp_path: Path) -> None:
    server.answer(POST, taken(0, *range(1, 13)))
    file = tmp_path / "labels.csv"
    file.write_text("patient_id,value\n" + "P1,1\n" * 12)

    result = run(server, "import", str(file))

    assert result.exit_code == 5
    assert "row 10: send its files first (not_stored)" in result.stderr
    assert "row 11" not in result.stderr
    assert "and 2 more" in result.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b"patient_id,value\n"),
        ("labels.csv", b"\xff\xfe\x00"),
        ("labels.json", b"{"),
        ("labels.json", b"{}"),
        ("labels.json", b"[1]"),
    ],
)
def test_file_without_labels_is_refused_before_anything_is_sent(
    server: CannedServer, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)

    result = run(server, "import", str(tmp_path / name))

    assert (result.exit_code, server.asked) == (2, [])
    assert "give CSV" in result.stderr


def test_labels_are_listed_with_who_counts(server: CannedServer) -> None:
    label = {
        "id": 7,
        "level": "study",
        "patient_key": "0" * 32,
        "study_instance_uid": "1.2.3",
        "sop_instance_uid": None,
        "finding": "nodule",
        "value": False,
        "source": "ward",
        "who": "Dr. A",
        "decides": True,
        "contradicted": True,
        "split": "holdout",
        "created_at": "2026-11-24T12:00:00Z",
    }
    server.answer(f"GET {LABELS}", Answer({"items": [label], "next": None}))

    result = run(server, "list", "--contradicted", "--finding", "nodule")

    assert result.exit_code == 0, result.output
    assert all(word in result.output for word in ("1.2.3", "negative", "Dr. A", "holdout"))
    assert "contradicted=true" in server.asked[0].path
    assert "finding=nodule" in server.asked[0].path
