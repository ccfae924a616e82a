"""The report's document, a pure function of the evidence and the package."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import Computed, Evidence, InstanceEvidence, StudyFacts
from shared.dicom.planes import Plane
from shared.model_contract import ModelContract
from shared.reasons import Reason
from tests.model_samples import contract_fields
from tests.slice_samples import AXIAL

MAX = {"kind": "max"}
DIGEST = "d" * 64


def contract(**changes: Any) -> ModelContract:
    rules = {"frames": MAX, "instances": MAX, "series": MAX, "studies": MAX}
    fields = contract_fields(task="binary") | {"aggregation": rules, "time_scope": {"kind": "all"}} | changes
    return ModelContract.model_validate(fields)


def study(row: int, day: str = "20260101", time: str = "120000") -> StudyFacts:
    return StudyFacts(row, f"1.2.{row}", day, time, conflict=False)


def instance(number: int, *probabilities: float, study_row: int = 1, series: str = "1.3") -> InstanceEvidence:
    frames = tuple((frame, (value,)) for frame, value in enumerate(probabilities, start=1))
    reason = None if frames else Reason.DECODE_FAILED
    return InstanceEvidence(f"{number:064d}", f"1.4.{number}", series, study_row, False, frames, reason)


def finding(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["findings"][0])


def test_patient_probability_is_the_largest_when_every_rule_is_max() -> None:
    evidence = Evidence((study(1), study(2)), (instance(1, 0.2, 0.9), instance(2, 0.4), instance(3, 0.7, study_row=2)))

    found = finding(build_document(contract(), evidence))

    assert found["probability"] == pytest.approx(0.9)
    assert found["decision"] is True
    assert found["counts"] == {"instances": 3, "over_threshold": 2}
    assert found["evidence"][0]["sop_instance_uid"] == "1.4.1"
    assert found["evidence"][0]["frame"] == 2


def test_patient_and_studies_are_calibrated_and_images_are_not() -> None:
    (lesion,) = contract().model_dump(mode="json")["findings"]
    bent = lesion | {"threshold": 0.8, "calibration": {"kind": "platt", "slope": 1.0, "intercept": -2.0}}
    evidence = Evidence((study(1), study(2)), (instance(1, 0.9), instance(2, 0.7, study_row=2)))

    document = build_document(contract(findings=[bent]), evidence)

    found = finding(document)
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(2) / 9))
    assert found["threshold"] == pytest.approx(1 / (1 + np.exp(2) / 4))
    assert found["uncalibrated"] == {"probability": 0.9, "threshold": 0.8}
    assert found["decision"] is True
    assert found["counts"]["over_threshold"] == 1
    assert found["evidence"][0]["probability"] == 0.9
    assert document["studies"][0]["probabilities"] == {found["code"]: found["probability"]}
    assert finding(build_document(contract(), evidence))["uncalibrated"] is None


def test_levels_are_combined_one_by_one_when_rules_differ() -> None:
    mean = {"kind": "mean"}
    rules = {"frames": MAX, "instances": mean, "series": MAX, "studies": mean}
    evidence = Evidence(
        (study(1), study(2)),
        (
            instance(1, 0.1, 0.3, series="a"),
            instance(2, 0.5, series="a"),
            instance(3, 0.2, series="b"),
            instance(4, 0.8, study_row=2),
        ),
    )

    found = finding(build_document(contract(aggregation=rules), evidence))

    # Study 1: the larger of series a (mean of .3 and .5) and b (.2); the patient: the mean of .4 and .8.
    assert found["probability"] == pytest.approx(0.6)


def test_finding_is_rolled_up_by_its_own_rules_where_it_has_some() -> None:
    lesion, own = ({"code": code, "display": code, "threshold": 0.5} for code in ("lesion", "own"))
    own["aggregation"] = {"frames": MAX, "instances": {"kind": "mean"}, "series": MAX, "studies": MAX}
    package = ModelContract.model_validate(
        contract_fields(task="multilabel") | {"findings": [lesion, own], "time_scope": {"kind": "all"}}
    )
    given = (instance(at, 0.0)._replace(frames=((1, (p, p)),)) for at, p in enumerate((0.2, 0.8), start=1))

    found = build_document(package, Evidence((study(1),), tuple(given)))["findings"]

    assert [one["probability"] for one in found] == [pytest.approx(0.8), pytest.approx(0.5)]
    assert [one["aggregation"] and one["aggregation"]["instances"]["kind"] for one in found] == [None, "mean"]


def test_healed_patient_is_negative_when_scope_is_latest_study() -> None:
    evidence = Evidence(
        (study(1, "20250101"), study(2, "20260101")), (instance(1, 0.95), instance(2, 0.05, study_row=2))
    )

    document = build_document(contract(time_scope={"kind": "latest_study"}), evidence)

    assert finding(document)["probability"] == pytest.approx(0.05)
    assert [one["in_scope"] for one in document["studies"]] == [False, True]
    assert document["studies"][0]["probabilities"]["lesion"] == pytest.approx(0.95)


def test_old_study_is_left_out_when_it_lies_before_the_window() -> None:
    studies = (study(1, "20250101"), study(2, "20251215"), study(3, "20260101"))
    evidence = Evidence(studies, tuple(instance(row, 0.1, study_row=row) for row in (1, 2, 3)))

    document = build_document(contract(time_scope={"kind": "window_days", "days": 30}), evidence)

    assert [one["in_scope"] for one in document["studies"]] == [False, True, True]


def test_document_says_what_computed_the_frames_that_count() -> None:
    fast, slow = Computed("openvino", "bfloat16", 16), Computed("keras", "float32", None)
    old = instance(3, 0.5, study_row=2)._replace(computed_by=(slow,))
    counted = [
        instance(1, 0.2, 0.9)._replace(computed_by=(fast, slow)),
        instance(2, 0.4)._replace(computed_by=(fast,)),
    ]
    latest = contract(time_scope={"kind": "latest_study"})
    studies = (study(1, "20260102"), study(2, "20260101"))

    document = build_document(latest, Evidence(studies, (*counted, old)))

    assert document["engines"] == [
        {"engine": "keras", "precision": "float32", "batch_size": None, "frames": 1},
        {"engine": "openvino", "precision": "bfloat16", "batch_size": 16, "frames": 2},
    ]


def test_completeness_says_what_was_left_out_when_an_instance_failed() -> None:
    evidence = Evidence((study(1),), (instance(1, 0.3), instance(2)))

    document = build_document(contract(), evidence)

    assert document["completeness"] == {"instances": 2, "predicted": 1, "share": 0.5}
    assert document["excluded"][0]["sop_instance_uid"] == "1.4.2"
    assert document["excluded"][0]["reason"] == "decode_failed"
    assert document["excluded"][0]["reason_text"]


def test_series_counts_slices_that_failed_but_none_that_cannot_be_predicted_on() -> None:
    reasons = [None, Reason.NOT_SELECTED, Reason.DECODE_FAILED, Reason.NO_PIXEL_DATA, Reason.NOT_ACCEPTED_BY_MODEL]
    members = [
        instance(number, *([0.4] if reason is None else []))._replace(reason=reason, planes=(Plane(AXIAL, (0, 0, at)),))
        for number, (at, reason) in enumerate(zip((0.0, 2.0, 4.0, 5.0, 6.0), reasons, strict=True))
    ]

    document = build_document(contract(), Evidence((study(1),), tuple(members)))

    (stack,) = document["series"][0]["stacks"]
    assert (stack["slices"], stack["selected"], stack["spacing_mm"]) == (3, 2, 2.0)
    assert document["completeness"] == {"instances": 4, "predicted": 1, "share": 0.25}
    assert [one["reason"] for one in document["excluded"]] == [
        "decode_failed",
        "no_pixel_data",
        "not_accepted_by_model",
    ]
    assert finding(document)["evidence"][0]["slice"] == {"number": 1, "of": 3}


def test_series_names_few_of_many_duplicates_and_counts_all() -> None:
    members = [
        instance(number, 0.4)._replace(planes=(Plane(AXIAL, (0.0, 0.0, float(number // 2))),)) for number in range(60)
    ]

    (series,) = build_document(contract(), Evidence((study(1),), tuple(members)))["series"]

    (stack,) = series["stacks"]
    assert (stack["slices"], stack["num_duplicates"], len(stack["duplicates"])) == (30, 30, 20)


def test_series_names_few_of_many_stacks_and_counts_all() -> None:
    clips = [instance(number, 0.4, 0.5)._replace(number_of_frames=2) for number in range(150)]

    (series,) = build_document(contract(), Evidence((study(1),), tuple(clips)))["series"]

    assert (series["num_stacks"], len(series["stacks"])) == (150, 100)


def test_absurd_number_of_frames_makes_no_large_report() -> None:
    absurd = instance(1)._replace(number_of_frames=2**31 - 1)

    (series,) = build_document(contract(), Evidence((study(1),), (absurd,)))["series"]

    assert (series["stacks"][0]["slices"], series["stacks"][0]["ordered_by"]) == (2**31 - 1, "number")


def test_finding_has_no_decision_when_nothing_could_be_counted() -> None:
    found = finding(build_document(contract(), Evidence((study(1),), (instance(1),))))

    assert found["probability"] is None
    assert found["decision"] is None
    assert found["evidence"] == []


probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)
rules = st.sampled_from([MAX, {"kind": "mean"}, {"kind": "mean_top_k", "k": 2}, {"kind": "noisy_or"}])


@given(probabilities, rules, rules, st.randoms())
def test_result_and_digest_do_not_depend_on_the_order_of_rows(
    values: list[float], first: dict[str, Any], second: dict[str, Any], shuffler: random.Random
) -> None:
    package = contract(aggregation={"frames": MAX, "instances": first, "series": second, "studies": MAX})
    rows = [instance(n, value, series=str(n % 2), study_row=n % 3) for n, value in enumerate(values)]
    evidence = Evidence(tuple(study(row, f"2026010{row + 1}") for row in range(3)), tuple(rows))
    shuffler.shuffle(rows)
    shuffled = replace(evidence, instances=tuple(rows))

    one, other = build_document(package, evidence), build_document(package, shuffled)

    assert one["findings"] == other["findings"]
    assert evidence.digest(DIGEST) == shuffled.digest(DIGEST)


@given(probabilities, st.floats(0, 1))
def test_a_lower_instance_never_raises_the_maximum(values: list[float], extra: float) -> None:
    rows = tuple(instance(n, value) for n, value in enumerate(values))
    lower = instance(99, min(extra, *values))
    before = finding(build_document(contract(), Evidence((study(1),), rows)))

    after = finding(build_document(contract(), Evidence((study(1),), (*rows, lower))))

    assert after["probability"] == before["probability"]


def test_digest_changes_when_a_probability_or_a_reason_changes() -> None:
    evidence = Evidence((study(1),), (instance(1, 0.3), instance(2)))
    other_probability = Evidence((study(1),), (instance(1, 0.31), instance(2)))
    other_reason = Evidence((study(1),), (instance(1, 0.3), instance(2)._replace(reason=Reason.TRUNCATED)))

    digests = {one.digest(DIGEST) for one in (evidence, other_probability, other_reason)}

    assert len(digests) == 3
