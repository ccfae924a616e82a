"""The published JSON Schema: every document that is made fits it, and nothing else does."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from scheduler.aggregation.evidence import Evidence
from shared.reasons import Reason
from shared.reports.schema import report_schema
from tests.report_odd_samples import ODD_SAMPLES
from tests.report_samples import SAMPLES, chest_contract, image, results, study

VALIDATOR = Draft202012Validator(report_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("name", SAMPLES | ODD_SAMPLES)
def test_documents_fit_the_schema_as_stored_and_as_served(name: str) -> None:
    version = (SAMPLES | ODD_SAMPLES)[name]()

    VALIDATOR.validate(version.row["document"])
    VALIDATOR.validate(version.source.document)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 3), st.booleans(), st.booleans())
def test_every_document_that_is_made_fits_the_schema(
    values: list[float], num_studies: int, is_calibrated: bool, is_late: bool
) -> None:
    lesions = [{"code": code, "display": code, "threshold": 0.5} for code in ("a", "b", "c")]
    if is_calibrated:
        lesions[0]["calibration"] = {"kind": "platt", "slope": 2.0, "intercept": -1.0}
    contract = chest_contract(findings=lesions, time_scope={"kind": "latest_study" if is_late else "all"})
    images = [
        image(at, at % num_studies, *([value] * 3), reason=None)
        if at % 3
        else image(at, at % num_studies, reason=Reason.TRUNCATED)
        for at, value in enumerate(values)
    ]
    studies = tuple(study(number, f"2026010{number + 1}") for number in range(num_studies))

    first = results(Evidence(studies, tuple(images[:1])), contract)
    second = results(Evidence(studies, tuple(images)), contract, before=first)

    VALIDATOR.validate(first.row["document"])
    VALIDATOR.validate(json.loads(json.dumps(second.row["document"])))


def test_document_of_before_versions_were_told_fits_the_schema() -> None:
    document = copy.deepcopy(SAMPLES["normal"]().row["document"]) | {"schema": "overread.report/1"}
    for name in ("version", "changes", "trend"):
        del document[name]

    VALIDATOR.validate(document)


def places(part: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all objects in a document."""
    found = [way] if isinstance(part, dict) else []
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return found + [place for key, one in inner for place in places(one, (*way, key))]


# Their keys are data.
FREE = {"probabilities", "links", "software", "left_out"}


@pytest.mark.parametrize("name", ["signed", "slices", "incomplete"])
def test_a_field_that_the_schema_does_not_know_is_refused_wherever_it_stands(name: str) -> None:
    document = SAMPLES[name]().source.document
    ways = [way for way in places(document) if not way or way[-1] not in FREE]
    assert len(ways) > 20

    for way in ways:
        other = copy.deepcopy(document)
        part = other
        for key in way:
            part = part[key]
        part["surprise"] = 1
        with pytest.raises(ValidationError):
            VALIDATOR.validate(other)


@pytest.mark.parametrize("wrong", [1.5, -0.1, "0.5"])
def test_a_probability_outside_its_range_is_refused(wrong: Any) -> None:
    document = copy.deepcopy(SAMPLES["normal"]().row["document"])
    document["findings"][0]["probability"] = wrong

    with pytest.raises(ValidationError):
        VALIDATOR.validate(document)


def test_provenance_as_the_record_has_it_fits_the_schema() -> None:
    document = SAMPLES["normal"]().row["document"]
    digest = "ab" * 32
    one = {"sop_instance_uid": "1.2", "blob_sha256": digest, "generation": 0, "frames": 1, "vectors": digest[:32]}
    at = "2026-11-29T20:15:00+00:00"
    provenance = {
        "inputs": [one, one | {"counted": False, "environment": 1}],
        "left_out": {"truncated": [digest]},
        "conflicts": [],
        "model": {"digest": digest, "contract_sha256": digest, "weights_sha256": digest},
        "software": {
            "overread": "0.1.0",
            "environments": [None, {"python": "3.11.7", "packages": {"keras": "3.15.1"}, "hardware": "x86_64"}],
        },
        "job": {"id": "j", "label": "", "asked_by": "admin", "asked_at": at, "started_at": None},
        "audit_chain": {"sequence": 3, "digest": digest},
        "inputs_digest": digest,
    }

    VALIDATOR.validate(document | {"provenance": provenance})


def test_every_part_is_described_and_closed() -> None:
    parts = report_schema()["$defs"]

    assert [name for name, part in parts.items() if not (part.get("description") or part.get("enum"))] == []
    assert [name for name, part in parts.items() if "enum" not in part and part["additionalProperties"]] == []
