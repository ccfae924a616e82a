"""(7) Rows of labels -> targets in the DICOM index -> label rows; each row is judged by itself."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.errors import summary
from api.paging import pointers
from api.schemas.labels import MOST_LABELS, LabelsTaken, LabelWanted, RefusedLabel
from shared.config import Settings
from shared.errors import InvalidRequestError, MalformedRequestError
from shared.models import Principal
from shared.repositories.labels import IDENTIFIERS, NewLabel, Target, add_labels, lock_labels, targets_named
from shared.repositories.registry import served_findings
from shared.repositories.splits import drawn_splits, keep_splits, may_become, splits_of
from shared.states import LabelRefusal, Split, TargetLevel

COLUMNS = tuple(LabelWanted.model_fields)


@dataclass
class Rows:
    """Rows by number, from 1: what may be taken, and what was refused so far."""

    wanted: dict[int, LabelWanted] = field(default_factory=dict)
    problems: list[RefusedLabel] = field(default_factory=list)

    def refuse(self, row: int, reason: LabelRefusal, detail: str) -> None:
        """Drop a row."""
        self.wanted.pop(row, None)
        self.problems.append(RefusedLabel(row=row, reason=reason, detail=detail))


def rows_of_csv(body: bytes) -> list[dict[str, str]]:
    """The rows of a table whose heading names the fields; raises where the heading is not as expected."""
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), restkey="")
        unknown = sorted(set(reader.fieldnames or ()) - set(COLUMNS))
        if unknown or not reader.fieldnames:
            raise InvalidRequestError(
                f"The table's first line names {', '.join(unknown)[:200] or 'no columns'}; it may name "
                f"{', '.join(COLUMNS)}: rename or drop the others."
            )
        rows = [row for row, _ in zip(reader, range(MOST_LABELS + 1), strict=False)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedRequestError("The body is not a table in UTF-8 with commas between; send CSV.") from error
    if not 1 <= len(rows) <= MOST_LABELS:
        raise InvalidRequestError(f"A request takes 1 to {MOST_LABELS} rows; send the table in parts.")
    return [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]


def take_labels(session: Session, principal: Principal, given: Iterable[Any], settings: Settings) -> LabelsTaken:
    """How many rows were added, changed, unchanged and refused, and why; what is taken stands with the commit."""
    rows = _parsed(given)
    lock_labels(session)
    targets = _targets(session, rows)
    _settle_splits(session, rows, targets, settings)
    labels = [
        NewLabel(targets[row], wanted.finding, wanted.value, wanted.source, wanted.who or principal.name)
        for row, wanted in rows.wanted.items()
    ]
    outcomes = add_labels(session, principal.id, labels)
    return LabelsTaken(
        **{name: outcomes[name] for name in ("added", "changed", "unchanged")},
        refused=len(rows.problems),
        problems=sorted(rows.problems, key=lambda one: one.row),
        unknown_findings=sorted({one.finding for one in rows.wanted.values()} - served_findings(session)),
    )


def _parsed(given: Iterable[Any]) -> Rows:
    rows = Rows()
    for number, row in enumerate(given, start=1):
        try:
            rows.wanted[number] = LabelWanted.model_validate(row)
        except ValidationError as error:
            rows.refuse(number, LabelRefusal.INVALID, summary(pointers(error)))
    return rows


def _targets(session: Session, rows: Rows) -> dict[int, Target]:
    """What each row speaks of; rows that name nothing that is stored, or several things, are refused."""
    names: dict[TargetLevel, list[str]] = defaultdict(list)
    for wanted in rows.wanted.values():
        names[wanted.level].append(getattr(wanted, IDENTIFIERS[wanted.level]))
    found = {level: targets_named(session, level, some) for level, some in names.items()}
    targets = {}
    for row, wanted in list(rows.wanted.items()):
        named = found[wanted.level].get(getattr(wanted, IDENTIFIERS[wanted.level]), [])
        fitting = [target for target in named if _fits(target, wanted)]
        if len(fitting) == 1:
            targets[row] = fitting[0]
        else:
            rows.refuse(row, *_why_not(wanted, named, fitting))
    return targets


def _fits(target: Target, wanted: LabelWanted) -> bool:
    names = (*IDENTIFIERS.values(), "issuer")
    return all(getattr(target, name) == getattr(wanted, name) for name in names if getattr(wanted, name))


def _why_not(wanted: LabelWanted, named: Sequence[Target], fitting: Sequence[Target]) -> tuple[LabelRefusal, str]:
    what = IDENTIFIERS[wanted.level]
    if fitting:
        return LabelRefusal.AMBIGUOUS, (
            f"{len(fitting)} stored {wanted.level}s have this {what}; name also what tells them apart, such as "
            "patient_id and issuer"
        )
    if named:
        return LabelRefusal.NOT_STORED, f"no stored {wanted.level} has this {what} and the row's other identifiers"
    return LabelRefusal.NOT_STORED, f"no stored {wanted.level} has this {what}; send its files first"


def _settle_splits(session: Session, rows: Rows, targets: Mapping[int, Target], settings: Settings) -> None:
    """New patients get the first split a row names, or what is drawn; no row moves one into or out of holdout."""
    patients = [targets[row].patient_row for row in rows.wanted]
    before = splits_of(session, patients)
    named = {targets[row].patient_row: wanted.split for row, wanted in reversed(rows.wanted.items()) if wanted.split}
    drawn = drawn_splits(session, [one for one in patients if one not in before], settings)
    after: dict[int, Split | None] = drawn | {one: split for one, split in named.items() if one in drawn} | before
    for row, wanted in list(rows.wanted.items()):
        patient = targets[row].patient_row
        if wanted.split is not None and not may_become(after[patient], wanted.split):
            place = "in" if after[patient] is Split.HOLDOUT else "not in"
            rows.refuse(
                row,
                LabelRefusal.SPLIT_IS_FIXED,
                f"the patient is {place} the holdout, for ever; leave the split out",
            )
        elif wanted.split is not None:
            after[patient] = wanted.split
    keep_splits(session, before, after)
