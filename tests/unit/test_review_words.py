"""Verdicts -> what the next version says of them, and what they say of studies."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import InvalidRequestError
from shared.reports.review import Reviewer, Said, review_said, signed, unjudged, verdicts_on
from shared.reports.review_labels import Word, leading_blobs, words_of
from shared.states import Verdict

AT = datetime(2026, 11, 29, 20, tzinfo=UTC)


def finding(code: str, decision: bool | None, *, leads: str = "a", background: bool = False) -> dict[str, Any]:
    evidence = [] if decision is None else [{"blob_sha256": leads}, {"blob_sha256": "b"}]
    return {"code": code, "decision": decision, "background": background, "evidence": evidence}


def study(uid: str, *, in_scope: bool = True, probability: float | None = 0.5) -> dict[str, Any]:
    return {"study_instance_uid": uid, "in_scope": in_scope, "probabilities": {"mass": probability}}


def document(*findings: dict[str, Any], studies: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"findings": list(findings), "studies": list(studies)}


REPORT = document(finding("mass", True), finding("nodule", False), finding("normal", None, background=True))


@pytest.mark.parametrize(
    ("code", "verdict", "value"),
    [
        ("mass", Verdict.AGREE, True),
        ("mass", Verdict.DISAGREE, False),
        ("nodule", Verdict.AGREE, False),
        ("nodule", Verdict.DISAGREE, True),
        ("nodule", Verdict.UNSURE, None),
    ],
)
def test_value_is_what_the_reviewer_holds_to_be_true(code: str, verdict: Verdict, value: bool | None) -> None:
    (told,) = verdicts_on(REPORT, [Said(code, verdict, "why")])

    assert told == {
        "finding": code,
        "verdict": verdict.value,
        "decision": code == "mass",
        "value": value,
        "note": "why",
    }


def test_what_is_said_now_takes_the_place_of_what_was_said_before() -> None:
    before = verdicts_on(REPORT, [Said("nodule", Verdict.AGREE), Said("mass", Verdict.AGREE)])

    told = verdicts_on(REPORT, [Said("nodule", Verdict.UNSURE)], before)

    assert [(one["finding"], one["verdict"]) for one in told] == [("mass", "agree"), ("nodule", "unsure")]
    assert unjudged(REPORT, told) == []
    assert unjudged(REPORT, told[:1]) == ["nodule"]


def test_every_fault_is_named_with_its_place_and_few_are_told() -> None:
    said = [Said("mass", Verdict.AGREE), Said("mass", Verdict.AGREE), Said("normal", Verdict.AGREE)]
    said += [Said(f"unknown{at}", Verdict.AGREE) for at in range(50)]

    with pytest.raises(InvalidRequestError) as caught:
        verdicts_on(REPORT, said)

    faults = caught.value.context["errors"]
    assert [one["pointer"] for one in faults[:2]] == ["/findings/1/code", "/findings/2/code"]
    assert len(faults) == 20
    assert len(caught.value.message) < 1000
    with pytest.raises(InvalidRequestError, match="nothing was predicted"):
        verdicts_on(document(finding("mass", None)), [Said("mass", Verdict.AGREE)])


def test_signature_names_the_content_that_was_read() -> None:
    review = review_said(Reviewer("dr.a", AT), [], "comment")

    told = signed(review, {"id": "i", "number": 3, "content_digest": "d"})

    assert review["signed"] is None
    assert told["signed"] == {
        "by": "dr.a",
        "at": AT.isoformat(),
        "signs": {"id": "i", "number": 3, "content_digest": "d"},
    }


def words(report: dict[str, Any], *said: Said) -> list[Word]:
    review = {"review": {"verdicts": verdicts_on(report, said)}}
    return words_of(report | review, {"a": "1.1", "b": "1.2"})


def test_only_study_has_every_word() -> None:
    report = REPORT | {"studies": [study("1.2"), study("1.3", in_scope=False), study("1.4", probability=None)]}

    assert words(report, Said("mass", Verdict.AGREE), Said("nodule", Verdict.AGREE)) == [
        Word("1.2", "mass", True),
        Word("1.2", "nodule", False),
    ]


def test_positive_word_of_several_studies_is_of_the_leading_evidence() -> None:
    report = document(finding("mass", True, leads="b"), finding("nodule", False), studies=(study("1.1"), study("1.2")))

    assert leading_blobs(report) == {"mass": "b", "nodule": "a"}
    assert words(report, Said("mass", Verdict.AGREE), Said("nodule", Verdict.DISAGREE)) == [
        Word("1.2", "mass", True),
        Word("1.1", "nodule", True),
    ]
    assert words(report, Said("mass", Verdict.DISAGREE), Said("nodule", Verdict.UNSURE)) == [
        Word("1.1", "mass", False),
        Word("1.2", "mass", False),
        Word("1.1", "nodule", None),
        Word("1.2", "nodule", None),
    ]
