"""A gate decision and a model card on the command line."""

from collections.abc import Callable, Iterator
from typing import Any

from api.cli.client import Json
from api.cli.jobs import gate_text
from api.cli.output import make_table, moment, plain
from api.cli.session import Session

OUTCOMES = {
    "promoted": "promoted",
    "passed": "passed: it serves once somebody promotes it",
    "held": "held",
}
MEASURES = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration_error": "calibration error",
}
FINDING_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("finding", lambda row: row["finding"]),
    ("measure", lambda row: row["measure"]),
    ("candidate", lambda row: f"{row['candidate']:.4f}"),
    ("champion", lambda row: f"{row['champion']:.4f}"),
    ("better by", lambda row: f"{row['gain']:+.4f}"),
    ("95 %", lambda row: f"{row['low']:+.4f} to {row['high']:+.4f}"),
]
SUBGROUP_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("of", lambda row: f"{row['by']} {row['value']}"),
    ("finding", lambda row: row["finding"]),
    ("with it", lambda row: row["positives"]),
    ("without", lambda row: row["negatives"]),
    *((title, lambda row, name=name: _both(row, name)) for name, title in list(MEASURES.items())[:3]),
]


def show_gate(session: Session, decision: Json) -> None:
    """Print a decision whole."""
    holdout, out = decision["holdout"], session.out
    out.print(
        f"{OUTCOMES[decision['outcome']]}; judged {moment(decision['created_at'])} against version "
        f"{decision['champion']}",
        markup=False,
    )
    for reason in decision["reasons"]:
        out.print(plain(f"  {reason}"), soft_wrap=True)
    origin = "" if holdout["champion_origin_known"] else "; the champion was imported: what it learnt from is not known"
    out.print(
        f"{holdout['patients']} patients of the holdout, {holdout['new_patients']} of them for the first time; judged "
        f"on {holdout['times_before']} times before{origin}",
        markup=False,
        soft_wrap=True,
    )
    measures = decision["measures"]
    if measures:
        out.print(make_table(FINDING_COLUMNS, list(_rows(measures["findings"]))))
    if measures and measures["subgroups"]:
        out.print("candidate / champion, where there are enough patients:")
        out.print(make_table(SUBGROUP_COLUMNS, measures["subgroups"]))


def show_card(session: Session, card: Json) -> None:
    """Print what a card says, without its curves."""
    model, training, gate, out = card["model"], card["training"], card["gate"], session.out
    learnt = card["stated_training"]["description"] if card["stated_training"] else "nothing is said of it"
    facts = [
        ("model", f"{model['name']}:{model['version']}, {model['state']}"),
        ("description", model["description"]),
        ("intended use", model["intended_use"]),
        ("licence", model["licence"]),
        ("began with", card["began_with"] or "its package"),
        ("learnt from", learnt),
        ("snapshot", training["dataset"] if training else None),
        ("gate", gate_text(gate) or "not compared with another version"),
        ("serves since", moment(card["promotions"][0]["created_at"]) if model["state"] == "champion" else None),
    ]
    rows = [(name, plain(value)) for name, value in facts if value is not None]
    out.print(make_table([("", lambda row: row[0]), ("", lambda row: row[1])], rows))
    for limit in card["limits"]:
        out.print(plain(f"- {limit}"), soft_wrap=True)
    out.print("the page with curves: overread models card NAME:VERSION -o card.html", markup=False)


def _rows(findings: list[Json]) -> Iterator[Json]:
    for one in findings:
        for name, title in MEASURES.items():
            both = {who: one[who][name] for who in ("candidate", "champion")}
            yield {"finding": one["code"], "measure": title, **both, **one["gains"][name]}


def _both(row: Json, name: str) -> str:
    """Empty where there are too few patients."""
    return f"{row['candidate'][name]:.4f} / {row['champion'][name]:.4f}" if name in row["candidate"] else ""
