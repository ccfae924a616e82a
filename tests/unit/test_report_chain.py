"""The chain of report versions: what changed, the trend, and which version may follow which."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import ConflictError
from shared.reports.changes import changes
from shared.reports.digest import content_digest
from shared.reports.trend import trend
from shared.reports.versions import Act, NewestReport, next_version
from shared.states import REPORT_MOVES, ReportOrigin, ReportStatus

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)


def study(uid: str, day: str, probability: float | None, *, in_scope: bool = True) -> dict[str, Any]:
    return {
        "study_instance_uid": uid,
        "study_date": day,
        "in_scope": in_scope,
        "probabilities": {"lesion": probability},
    }


def document(probability: float = 0.2, *, version: int = 1, **changed: Any) -> dict[str, Any]:
    lesion = {"code": "lesion", "display": "Lesion", "probability": probability, "threshold": 0.5}
    return {
        "findings": [lesion | {"decision": probability >= 0.5}],
        "model": {"name": "model", "version": version},
        "studies": [study("1.2.1", "20260101", probability)],
        "completeness": {"predicted": 4, "instances": 4, "share": 1.0},
    } | changed


def results(content: dict[str, Any], previous: NewestReport | None = None) -> dict[str, Any]:
    return next_version(Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, NOW), content, "d" * 64, previous)


def newest(columns: dict[str, Any]) -> NewestReport:
    names = ("id", "number", "status", "inputs_digest", "document")
    return NewestReport(**{name: columns[name] for name in names})


def test_nothing_is_told_when_documents_say_the_same() -> None:
    assert changes(document(), document()) == {}


def test_finding_is_told_with_both_results_when_its_decision_changes() -> None:
    told = changes(document(0.2), document(0.7, version=2))

    assert told["findings"] == [
        {
            "code": "lesion",
            "display": "Lesion",
            "before": {"probability": 0.2, "threshold": 0.5, "decision": False},
            "after": {"probability": 0.7, "threshold": 0.5, "decision": True},
        }
    ]
    assert told["model_version"] == {"before": 1, "after": 2}
    assert set(told) == {"findings", "model_version"}


def test_finding_has_no_before_when_the_new_version_of_the_model_brought_it() -> None:
    more = document()
    more["findings"] = [*more["findings"], more["findings"][0] | {"code": "mass", "display": "Mass"}]

    (told,) = changes(document(), more)["findings"]
    (gone,) = changes(more, document())["findings"]

    assert (told["code"], told["before"]) == ("mass", None)
    assert (gone["code"], gone["display"], gone["after"]) == ("mass", "Mass", None)


def test_late_study_is_told_with_what_is_counted_no_more() -> None:
    late = [study("1.2.1", "20260101", 0.2, in_scope=False), study("1.2.2", "20260201", 0.9)]

    told = changes(document(), document(0.9, studies=late))

    assert told["studies"] == {"added": ["1.2.2"], "gone": [], "counted_now": [], "counted_no_more": ["1.2.1"]}


def test_verdicts_are_told_when_a_review_says_otherwise() -> None:
    said = {"verdicts": [{"finding": "lesion", "verdict": "disagree"}]}

    told = changes(document(), document(review=said))

    assert told["verdicts"] == [{"code": "lesion", "before": None, "after": "disagree"}]


def test_trend_keeps_the_point_of_a_study_that_the_new_model_version_was_not_asked_about() -> None:
    before = document(studies=[study("1.2.1", "20250101", 0.9), study("1.2.2", "20260101", 0.3)])
    before["trend"] = trend(None, before)
    after = document(version=2, studies=[study("1.2.2", "20260101", 0.2), study("1.2.3", "20260501", None)])

    points = trend(before, after)

    assert [(one["study_instance_uid"], one["model_version"]) for one in points] == [("1.2.1", 1), ("1.2.2", 2)]
    assert [one["probabilities"]["lesion"] for one in points] == [0.9, 0.2]


def test_first_version_has_number_one_and_nothing_since() -> None:
    columns = results(document())

    assert (columns["number"], columns["supersedes"]) == (1, None)
    assert columns["document"]["changes"] == {"since": None}
    assert columns["document"]["version"]["status"] == "preliminary"
    assert columns["content_digest"] == content_digest(json.loads(json.dumps(columns["document"])))


def test_next_version_names_what_changed_since_the_one_before() -> None:
    first = results(document())

    second = results(document(0.7), newest(first))

    assert (second["number"], second["supersedes"]) == (2, first["id"])
    assert second["document"]["changes"]["since"] == {"id": str(first["id"]), "number": 1}
    assert second["document"]["changes"]["findings"][0]["after"]["probability"] == 0.7


@pytest.mark.parametrize("before", list(ReportStatus))
@pytest.mark.parametrize("after", list(ReportStatus))
def test_version_follows_only_where_the_table_of_moves_has_it(before: ReportStatus, after: ReportStatus) -> None:
    previous = newest(results(document()) | {"status": before})
    act = Act(ReportOrigin.REVIEW, after, NOW, principal_id=1, by="dr")

    if after in REPORT_MOVES[before]:
        assert next_version(act, document(), "d" * 64, previous)["status"] is after
    else:
        with pytest.raises(ConflictError, match=f"cannot be {after}"):
            next_version(act, document(), "d" * 64, previous)


def test_digest_is_another_when_one_probability_is() -> None:
    assert content_digest(document(0.2)) != content_digest(document(0.2000001))
