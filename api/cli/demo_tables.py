"""What the demo prints: a table of patients, how well the model did, a table of real files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from api.cli.client import Json
from api.cli.demo_reports import page_name
from api.cli.metrics import Share, auc, sensitivity, specificity
from api.cli.output import make_table
from api.cli.reports import counted_text, decision_text, probability_text

UID_DIGITS = 6  # the end of a UID is enough to tell a patient's instances apart


@dataclass(frozen=True)
class Assessed:
    """A patient's report beside the truth."""

    report: Json  # whole, with its document
    truth: bool

    @property
    def finding(self) -> Json:
        """The one finding of the demo's model."""
        finding: Json = self.report["document"]["findings"][0]
        return finding

    def as_json(self) -> Json:
        """For `--json`."""
        return {
            "report": self.report["id"],
            "patient_id": self.report["patient"]["patient_id"],
            "probability": self.finding["probability"],
            "decision": self.finding["decision"],
            "truth": self.truth,
        }


def patients_table(assessed: Sequence[Assessed], folder: Path) -> Table:
    """A row for each patient; the patient's name links to the page in `folder`."""
    columns = [
        ("patient", lambda one: _link(one.report, folder)),
        ("finding", lambda one: one.finding["display"]),
        ("probability", lambda one: probability_text(one.finding["probability"])),
        ("decision", lambda one: decision_text(one.finding["decision"])),
        ("truth", lambda one: decision_text(one.truth)),
        ("images counted", lambda one: counted_text(one.report["completeness"])),
        ("evidence: instances", lambda one: _evidence_text(one.finding)),
        ("status", lambda one: one.report["status"]),
    ]
    title = "Reports on patients that the model did not train on"
    return make_table(columns, assessed, title)


def _link(report: Json, folder: Path) -> Text:
    return Text(report["patient"]["patient_id"], style=f"link {(folder / page_name(report)).resolve().as_uri()}")


def _evidence_text(finding: Json) -> str:
    entries = [(entry["sop_instance_uid"][-UID_DIGITS:], entry["probability"]) for entry in finding["evidence"]]
    return ", ".join(f"..{uid} ({probability:.2f})" for uid, probability in entries)


def measure(assessed: Sequence[Assessed]) -> Json:
    """Sensitivity, specificity and AUC, a patient each; one without a single predicted image is left out."""
    counted = [one for one in assessed if one.finding["probability"] is not None]
    truth = [one.truth for one in counted]
    decisions = [bool(one.finding["decision"]) for one in counted]
    return {
        "patients": len(counted),
        "sensitivity": _share(sensitivity(truth, decisions)),
        "specificity": _share(specificity(truth, decisions)),
        "auc": auc(truth, [one.finding["probability"] for one in counted]),
    }


def _share(share: Share) -> Json:
    return {"value": share.value, "part": share.part, "whole": share.whole}


def measures_text(measures: Json) -> str:
    """The figures in a line."""
    shares = [
        f"{name} {probability_text(share['value'])} ({share['part']} of {share['whole']})"
        for name, share in measures.items()
        if isinstance(share, dict)
    ]
    return ", ".join([*shares, f"AUC {probability_text(measures['auc'])}"]) + f", on {measures['patients']} patients"


def files_table(rows: Sequence[tuple[str, Json]]) -> Table:
    """What became of each file: (its name, its item)."""
    columns = [
        ("file", lambda row: row[0]),
        ("became", lambda row: outcome_text(row[1])),
    ]
    return make_table(columns, rows, "Real files from pydicom's wheel (CT, MR, US, multi-frame and others)")


def outcome_text(item: Json) -> str:
    """A prediction, or the named reason why there is none."""
    if item["state"] == "done":
        frames = "1 frame" if item["frames"] == 1 else f"{item['frames']} frames"
        return f"predicted, {frames}" + (" (known from before)" if item["reused"] else "")
    why = item["detail"] or item["reason_text"] or ""
    return f"{item['reason']}: {why}"
