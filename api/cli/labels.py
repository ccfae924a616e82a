"""`labels import` and `labels list`: what people know of images, for training and for judging models."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.cli.client import Json, patiently
from api.cli.errors import EXIT_FAILED, EXIT_PARTIAL
from api.cli.output import make_table, moment, plain
from api.cli.session import Session, client_command, limit_option
from api.cli.transfer import ATTEMPTS
from shared.states import TargetLevel

LABELS = "/api/v1/labels"
BATCH = 2000
PROBLEMS_SHOWN = 10
COUNTS = ("added", "changed", "unchanged", "refused")

LABEL_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("id", lambda label: label["id"]),
    ("of", lambda label: label["level"]),
    ("patient", lambda label: label["patient_key"]),
    ("study or instance", lambda label: label["sop_instance_uid"] or label["study_instance_uid"] or ""),
    ("finding", lambda label: label["finding"]),
    ("value", lambda label: "positive" if label["value"] else "negative"),
    ("source", lambda label: label["source"]),
    ("who", lambda label: label["who"]),
    ("counts", lambda label: "yes" if label["decides"] else ""),
    ("contradicted", lambda label: "yes" if label["contradicted"] else ""),
    ("split", lambda label: label["split"] or ""),
    ("since", lambda label: moment(label["created_at"])),
]


@click.group()
def labels() -> None:
    """Bring in labels, and list those that stand."""


@labels.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--finding", help="What rows speak of that do not name a finding.")
@click.option("--source", help="Where rows come from that do not say it.")
@click.option("--who", help="Who said so, where rows do not tell.  [default: whose token it is]")
@client_command
def import_labels(session: Session, path: Path, **defaults: str | None) -> None:
    """Send the labels in FILE: CSV with a heading, or a JSON list of objects.

    Columns: sop_instance_uid, study_instance_uid or patient_id (and issuer); finding; value (1 or 0); source; who;
    split (train, val or holdout). Sending them again changes nothing. Exit code 4: some rows were refused, 5: all.
    """
    rows = _rows(path)
    given = {name: value for name, value in defaults.items() if value is not None}
    total = dict.fromkeys(COUNTS, 0)
    problems: list[Json] = []
    unknown: set[str] = set()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=session.err,
        disable=session.as_json,
    ) as progress:
        bar = progress.add_task("sending labels", total=len(rows))
        for start, batch in _batches(rows):
            taken = _send(session, [given | row for row in batch])
            for name in COUNTS:
                total[name] += taken[name]
            unknown.update(taken["unknown_findings"])
            problems += [one | {"row": start + one["row"]} for one in taken["problems"]]
            progress.advance(bar, len(batch))
    answer = total | {"problems": problems, "unknown_findings": sorted(unknown)}
    session.show(answer, lambda: _tell(session, total, problems))
    for code in sorted(unknown):
        session.err.print(plain(f"no model that serves speaks of {code} yet: nothing learns from it"), soft_wrap=True)
    if total["refused"]:
        click.get_current_context().exit(EXIT_FAILED if total["refused"] == len(rows) else EXIT_PARTIAL)


@labels.command("list")
@click.option("--finding", help="Only of this finding.")
@click.option("--source", help="Only from this source.")
@click.option("--level", type=click.Choice([str(level) for level in TargetLevel]), help="Only of patients, ...")
@click.option("--patient", metavar="KEY", help="Only of this patient.")
@click.option("--contradicted", is_flag=True, help="Only where another source says the opposite.")
@limit_option
@client_command
def list_labels(session: Session, limit: int, contradicted: bool, **filters: str | None) -> None:
    """List the labels that stand, the newest first; of a source that changed its mind, the last word."""
    query = {name: value for name, value in filters.items() if value is not None}
    if contradicted:
        query["contradicted"] = "true"
    session.show_list(session.client.collect(LABELS, query, limit), LABEL_COLUMNS, "There are no such labels.")


def _send(session: Session, rows: list[Json]) -> Json:
    return patiently(lambda: session.client.post(LABELS, {"labels": rows}), ATTEMPTS)


def _rows(path: Path) -> list[Json]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _rows_of_json(text)
        table = csv.DictReader(io.StringIO(text, newline=""), restkey="more than the heading names")
        rows = [{name: value for name, value in row.items() if value not in (None, "")} for row in table]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read as labels ({type(error).__name__}); give CSV or JSON") from error
    if not rows:
        raise click.UsageError(f"{path} holds no labels; give CSV with a heading, or a JSON list in a .json file")
    return rows


def _rows_of_json(text: str) -> list[Json]:
    found = json.loads(text)
    rows = found.get("labels") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a list of objects")
    return rows


def _batches(rows: list[Json]) -> Iterator[tuple[int, list[Json]]]:
    """Each with how many rows come before it."""
    for start in range(0, len(rows), BATCH):
        yield start, rows[start : start + BATCH]


def _tell(session: Session, total: dict[str, int], problems: list[Json]) -> None:
    session.out.print(make_table([(name, itemgetter(name)) for name in COUNTS], [total]))
    for one in problems[:PROBLEMS_SHOWN]:
        session.err.print(plain(f"  row {one['row']}: {one['detail']} ({one['reason']})"), soft_wrap=True)
    if len(problems) > PROBLEMS_SHOWN:
        session.err.print(f"  ... and {len(problems) - PROBLEMS_SHOWN} more (--json: all)")
