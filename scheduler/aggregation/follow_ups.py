"""A report's document, by the package's rules -> what it suggests to do next, and by when. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.follow_up_rules import FollowUpRule
from shared.model_contract import ModelContract
from shared.states import Urgency

Document = Mapping[str, Any]

_ORDER = tuple(Urgency)
# Days that no study was made on: before there were any of people, and later than today is anywhere on earth.
FIRST_STUDY, AHEAD = datetime(1896, 1, 1, tzinfo=UTC), timedelta(days=1)


def suggestions(contract: ModelContract, document: Document, made_at: datetime) -> list[dict[str, Any]]:
    """What the document is to say as `follow_ups`; an untrained model suggests nothing.

    One for each finding and action: of several rules that hold the most urgent, then the one due first.
    """
    if contract.is_untrained or not contract.follow_up:
        return []
    findings = {finding["code"]: finding for finding in document["findings"]}
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for rule in contract.follow_up:
        finding = findings[rule.finding]
        if finding["probability"] is None or not rule.covers(finding["probability"]):
            continue
        found = _suggestion(rule, finding["display"], document, made_at)
        best.setdefault((rule.finding, rule.action), found)
        best[rule.finding, rule.action] = min(best[rule.finding, rule.action], found, key=_by_need)
    return list(best.values())


def _by_need(suggestion: dict[str, Any]) -> tuple[int, datetime]:
    return _ORDER.index(suggestion["urgency"]), datetime.fromisoformat(suggestion["due_at"])


def _suggestion(rule: FollowUpRule, display: str, document: Document, made_at: datetime) -> dict[str, Any]:
    study = _leading_study(document, rule.finding)
    from_study = _after_date(study["study_date"], rule, made_at) if study and rule.counted_from == "study" else None
    return {
        "finding": rule.finding,
        "display": display,
        "action": rule.action.value,
        "urgency": rule.urgency.value,
        "text": rule.text,
        "due_at": (from_study or made_at + rule.within.length).isoformat(),
        "counted_from": "study" if from_study else "report",
        "study_instance_uid": study["study_instance_uid"] if study else "",
    }


def _leading_study(document: Document, finding: str) -> Document | None:
    """Of the studies that the result speaks of, the one of the finding's highest probability; of several the latest."""
    known = [
        (study["probabilities"][finding], study["study_date"], study)
        for study in document["studies"]
        if study["in_scope"] and study["probabilities"][finding] is not None
    ]
    return max(known, key=lambda one: one[:2])[2] if known else None


def _after_date(study_date: str, rule: FollowUpRule, made_at: datetime) -> datetime | None:
    """None where the date cannot be read, or is none on which this study can have been made."""
    try:
        day = datetime.strptime(study_date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day + rule.within.length if FIRST_STUDY <= day <= made_at + AHEAD else None
