"""A package's rules and a report's document -> what the report suggests. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.aggregation.follow_ups import suggestions
from shared.model_contract import ModelContract
from tests.model_samples import contract_fields
from tests.readings import CONTROL, REVIEW

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def contract(*rules: dict[str, Any], **changes: Any) -> ModelContract:
    return ModelContract.model_validate(contract_fields(follow_up=list(rules), **changes))


def document(probability: float | None, *studies: dict[str, Any]) -> dict[str, Any]:
    finding = {"code": "lesion", "display": "Lesion", "probability": probability}
    return {"findings": [finding], "studies": list(studies) or [study("1.2", probability)]}


def study(uid: str, probability: float | None, day: str = "20260201", *, in_scope: bool = True) -> dict[str, Any]:
    return {
        "study_instance_uid": uid,
        "study_date": day,
        "in_scope": in_scope,
        "probabilities": {"lesion": probability},
    }


def test_rule_covers_its_lower_end_and_not_its_upper() -> None:
    rules = contract(REVIEW, CONTROL)

    actions = {p: [one["action"] for one in suggestions(rules, document(p), NOW)] for p in (0.399, 0.4, 0.799, 0.8, 1)}

    assert actions == {0.399: [], 0.4: ["control_study"], 0.799: ["control_study"], 0.8: ["review"], 1: ["review"]}


def test_suggestion_says_what_by_when_and_of_which_study() -> None:
    rules = contract(REVIEW, CONTROL)

    (review,) = suggestions(rules, document(0.9), NOW)
    (control,) = suggestions(rules, document(0.5), NOW)

    assert review == {
        "finding": "lesion",
        "display": "Lesion",
        "action": "review",
        "urgency": "urgent",
        "text": "Read it today.",
        "due_at": "2026-03-02T09:30:00+00:00",
        "counted_from": "report",
        "study_instance_uid": "1.2",
    }
    assert (control["due_at"], control["counted_from"]) == ("2026-05-02T00:00:00+00:00", "study")


def test_study_of_a_suggestion_is_the_likeliest_of_those_in_scope() -> None:
    studies = [
        study("1.1", 0.5, "20260101"),
        study("1.2", 0.7, "20251201"),
        study("1.3", 0.9, "20250101", in_scope=False),
        study("1.4", None, "20260201"),
    ]

    (found,) = suggestions(contract(CONTROL), document(0.7, *studies), NOW)

    assert found["study_instance_uid"] == "1.2"
    assert found["due_at"] == "2026-03-01T00:00:00+00:00"


@pytest.mark.parametrize("day", ["", "2026", "99991231", "00010101", "18951231", "20990101", "not a date"])
def test_due_date_is_counted_from_the_report_when_the_studys_is_of_no_use(day: str) -> None:
    (found,) = suggestions(contract(CONTROL), document(0.5, study("1.2", 0.5, day)), NOW)

    assert found["counted_from"] == "report"
    assert datetime.fromisoformat(found["due_at"]) == NOW + timedelta(days=90)


def test_most_urgent_rule_counts_then_the_one_due_first() -> None:
    soon = REVIEW | {"urgency": "routine", "within": {"hours": 1}}
    late = REVIEW | {"within": {"days": 9}}

    for rules in ([soon, late, REVIEW], [REVIEW, late, soon]):
        (found,) = suggestions(contract(*rules), document(0.9), NOW)
        assert (found["urgency"], found["due_at"]) == ("urgent", "2026-03-02T09:30:00+00:00")


def test_nothing_is_suggested_by_an_untrained_model_or_of_what_is_not_known() -> None:
    untrained = {"data_digest": "", "description": "", "trained": False}

    assert suggestions(contract(REVIEW, training=untrained), document(0.9), NOW) == []
    assert suggestions(contract(REVIEW), document(None), NOW) == []
    assert suggestions(contract(), document(0.9), NOW) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"finding": "nodule"}, "nodule is no finding of this model; these are: lesion"),
        ({"at_least": 0.8, "below": 0.8}, "below is 0.8, at_least 0.8; give a larger one"),
        ({"counted_from": "study"}, "which has only a date: give days"),
        ({"within": {"days": 3651}}, "less than or equal to 3650"),
        ({"within": {"hours": 1, "days": 1}}, "Extra inputs are not permitted"),
        ({"within": {}}, "Field required"),
        ({"action": "surgery"}, "Input should be 'review', 'control_study' or 'referral'"),
        ({"at_least": 1.5}, "less than or equal to 1"),
        ({"if": 1}, "Extra inputs are not permitted"),
    ],
)
def test_rule_that_cannot_be_is_refused_in_words(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        contract(REVIEW | change)


def test_contract_has_at_most_a_hundred_rules() -> None:
    with pytest.raises(ValidationError, match="at most 100 items"):
        contract(*[REVIEW] * 101)
