"""How a verdict looks in a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from api.cli.client import Json
from api.cli.output import make_table, plain

RECOVERY_COLUMNS = [
    ("fault", lambda row: row["kind"]),
    ("done", lambda row: row["faults"]),
    ("shards it interrupted", lambda row: row["interrupted"]),
    ("worked on again, s: p50", lambda row: row["work_p50_s"]),
    ("p99", lambda row: row["work_p99_s"]),
    ("answered again, s: p50", lambda row: row["answer_p50_s"]),
    ("p99", lambda row: row["answer_p99_s"]),
]


def print_verdict(console: Console, answer: Json, beside: Mapping[str, Any] | None = None) -> None:
    """The figures, `beside` them those that are not the oracle's, the faults, and what was found wrong."""
    console.print(_figures(answer, beside or {}))
    if answer["recovery"]:
        console.print(make_table(RECOVERY_COLUMNS, answer["recovery"]))
    for finding in answer["findings"]:
        named = ", ".join(finding["examples"])
        line = f"{finding['verdict']}: {finding['what']}: {finding['count']} ({named})"
        console.print(plain(line), style="red", soft_wrap=True)


def _figures(answer: Json, beside: Mapping[str, Any]) -> Table:
    rows = [*beside.items(), *_rows(answer)]
    return make_table([("", lambda row: row[0]), ("", lambda row: row[1])], rows)


def _rows(answer: Json) -> Iterator[tuple[str, Any]]:
    yield "jobs submitted", answer["submitted"]
    for noun in ("jobs", "shards", "items"):
        yield f"outcomes of {noun}", _counts(answer[noun])
    yield "predictions, reports", f"{answer['predictions']}, {answer['reports']}"
    yield "lost", answer["lost"]
    yield "doubled", answer["doubled"]
    yield "written under an old fence", answer["old_fence"]
    yield "otherwise wrong", answer["wrong"]
    yield "claims taken from their worker (fenced out)", answer["fenced_out"]
    executions = answer["executions"]
    yield "executions of a shard", f"mean {executions['mean']}, most {executions['max']}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "none"
