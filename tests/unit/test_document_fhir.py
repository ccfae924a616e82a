"""A report as FHIR R4B and R5: valid, of the value sets, and the same numbers that the report has."""

import json
from dataclasses import replace
from importlib import import_module
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from api.documents.fhir import MODELS, make_fhir
from api.documents.fhir_codes import modality, wrong_codes
from api.documents.fhir_terms import Release, markdown
from api.documents.source import Source
from shared.states import ReportOrigin, ReportStatus
from tests.document_sources import (
    ISSUER,
    NOTE,
    REVIEWER,
    evidence,
    instance,
    moved,
    review,
    situations,
    source,
    study,
    told_of_studies,
)

SITUATIONS = situations()
R4B: Literal["4.3"] = "4.3"
R5: Literal["5.0"] = "5.0"
every_situation = pytest.mark.parametrize("of", SITUATIONS.values(), ids=SITUATIONS.keys())
both_releases = pytest.mark.parametrize("release", [R4B, R5])

INTERPRETATIONS = {True: ["POS"], False: ["NEG"], None: []}


def bundle(of: Source, release: Literal["4.3", "5.0"] = R5) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make_fhir(of, release))
    return found


def resources(of: Source, kind: str, release: Literal["4.3", "5.0"] = R5) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle(of, release)["entry"] if one["resource"]["resourceType"] == kind]


def references(value: Any) -> set[str]:
    """All of them, anywhere below."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if isinstance(value, dict):
        own = {value["reference"]} if "reference" in value else set()
        return own.union(*map(references, value.values()))
    return set()


@every_situation
@both_releases
def test_bundle_is_valid_and_whole(of: Source, release: Literal["4.3", "5.0"]) -> None:
    made = bundle(of, release)

    import_module(MODELS[Release(release)]).Bundle.model_validate(made)
    assert wrong_codes(made) == []
    urls = [one["fullUrl"] for one in made["entry"]]
    assert len(set(urls)) == len(urls)
    assert references(made) <= set(urls)
    assert urls == [f"urn:uuid:{one['resource']['id']}" for one in made["entry"]]
    assert make_fhir(of, release) == make_fhir(of, release)


@every_situation
@both_releases
def test_observations_have_the_numbers_of_the_report(of: Source, release: Literal["4.3", "5.0"]) -> None:
    for one, finding in zip(resources(of, "Observation", release), of.document["findings"], strict=True):
        assert one["code"]["coding"][0]["code"] == finding["code"]
        if finding["probability"] is None:
            assert one["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
            assert "valueQuantity" not in one
        else:
            assert (one["valueQuantity"]["value"], one["valueQuantity"]["code"]) == (finding["probability"], "1")
        found = [code["coding"][0]["code"] for code in one.get("interpretation", [])]
        assert found == INTERPRETATIONS[finding["decision"]]
        points = {part["code"]["coding"][0]["code"]: part.get("valueQuantity") for part in one["component"]}
        assert points["operating-point"]["value"] == finding["threshold"]
        assert ("uncalibrated" in points) == (finding["uncalibrated"] is not None)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("positive", "preliminary", "AI result, preliminary: not reviewed, not signed."),
        ("reviewed", "preliminary", f"AI result, preliminary: reviewed by {REVIEWER}, not signed."),
        ("signed", "final", f"AI result, reviewed and signed by {REVIEWER} on 2026-02-04."),
        ("amended", "amended", f"AI result, amended and signed by {REVIEWER} on 2026-02-04."),
        ("retracted", "entered-in-error", f"RETRACTED by {REVIEWER} on 2026-02-04. Do not use this report."),
    ],
)
@both_releases
def test_status_and_conclusion_say_who_stands_for_it(
    name: str, status: str, words: str, release: Literal["4.3", "5.0"]
) -> None:
    of = SITUATIONS[name]

    (report,) = resources(of, "DiagnosticReport", release)

    assert report["conclusion"].startswith(words)
    assert {report["status"]} == {one["status"] for one in resources(of, "Observation", release)} == {status}
    is_signed = status in ("final", "amended")
    assert ("performer" in report) == ("resultsInterpreter" in report) == is_signed
    people = [one["name"][0]["text"] for one in resources(of, "Practitioner", release)]
    assert people == ([] if name == "positive" else [REVIEWER])


def test_each_release_names_things_its_own_way() -> None:
    of = SITUATIONS["several_studies"]
    (r4b,), (r5,) = (resources(of, "DiagnosticReport", release) for release in (R4B, R5))
    assert r4b["imagingStudy"] == r5["study"]
    assert "study" not in r4b
    assert "imagingStudy" not in r5
    before, after = (resources(of, "ImagingStudy", release)[0] for release in (R4B, R5))
    assert before["modality"] == [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}]
    assert after["modality"] == [{"coding": before["modality"]}]
    assert after["series"][0]["modality"] == {"coding": [before["series"][0]["modality"]]}
    (old,), (new,) = (resources(of, "Device", release) for release in (R4B, R5))
    assert old["deviceName"] == [{"name": "sample", "type": "model-name"}]
    assert new["name"] == [{"value": "sample", "type": "registered-name"}]
    with pytest.raises(ValidationError):
        import_module(MODELS[Release.R4B]).Bundle.model_validate(bundle(of, R5))


def test_studies_in_scope_are_told_with_their_evidence() -> None:
    of = SITUATIONS["several_studies"]

    studies = resources(of, "ImagingStudy")

    assert [one["identifier"][0]["value"] for one in studies] == [f"urn:oid:1.2.826.{row}" for row in (1, 2, 3)]
    assert [one["started"] for one in studies] == ["2026-01-02", "2026-03-01", "2025-01-01"]
    assert studies[1]["series"][0]["instance"] == [
        {
            "uid": "1.3.6.1.2",
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
        }
    ]
    (report,) = resources(of, "DiagnosticReport")
    assert report["effectiveDateTime"] == "2026-03-01"


@both_releases
def test_order_is_named_by_its_accession_number_once(release: Literal["4.3", "5.0"]) -> None:
    of = SITUATIONS["several_studies"]
    facts = {uid: replace(one, accession_number=uid[-1:].replace("3", "2")) for uid, one in of.studies.items()}
    of = replace(of, studies=facts)

    (report,) = resources(of, "DiagnosticReport", release)
    studies = resources(of, "ImagingStudy", release)

    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
    first, second = ({"type": kind, "value": value} for value in ("1", "2"))
    assert [one["identifier"][1:] for one in studies] == [[first], [second], [second]]
    assert studies[0]["basedOn"] == [{"type": "ServiceRequest", "identifier": first}]
    assert [one["identifier"] for one in report["basedOn"]] == [first, second]


@both_releases
def test_study_has_its_description_and_a_time_only_with_a_zone(release: Literal["4.3", "5.0"]) -> None:
    (unknown,), (zoned,) = (resources(SITUATIONS[name], "ImagingStudy", release) for name in ("signed", "zoned"))

    assert (unknown["started"], "description" in unknown) == ("2026-01-02", False)
    assert (zoned["started"], zoned["description"]) == ("2026-01-02T10:11:12-09:30", "CT\\of the chest")


def test_study_without_an_accession_number_names_no_order() -> None:
    of = told_of_studies(source(), accession_number="")

    (report,), (told,) = resources(of, "DiagnosticReport"), resources(of, "ImagingStudy")

    assert "basedOn" not in report
    assert "basedOn" not in told
    assert len(told["identifier"]) == 1


def test_study_out_of_scope_is_not_told() -> None:
    of = source(evidence(instance(1, [0.9]), instance(2, [0.2], study_row=2), studies=[study(1), study(2)]))
    of.document["studies"][0]["in_scope"] = False

    assert [one["identifier"][0]["value"] for one in resources(of, "ImagingStudy")] == ["urn:oid:1.2.826.2"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {},
            {
                "gender": "female",
                "birthDate": "1970-02-03",
                "name": [{"text": "Jane Doe", "family": "Doe", "given": ["Jane"]}],
            },
        ),
        (
            {"patient_name": "Adams^John Robert Quincy^X^Rev.^B.A. M.Div.", "patient_sex": "M"},
            {
                "gender": "male",
                "name": [
                    {
                        "text": "Rev. John Robert Quincy X Adams B.A. M.Div.",
                        "family": "Adams",
                        "given": ["John Robert Quincy", "X"],
                        "prefix": ["Rev."],
                        "suffix": ["B.A. M.Div."],
                    }
                ],
            },
        ),
        ({"patient_sex": "O"}, {"gender": "other"}),
        ({"patient_sex": "<b>"}, {"gender": "unknown"}),
        ({"patient_sex": ""}, {"gender": None}),
        ({"patient_birth_date": "19700231"}, {"birthDate": None}),
        ({"patient_birth_date": "1970-02-03"}, {"birthDate": None}),
        ({"patient_name": "^^^"}, {"name": None}),
        ({"patient_name": "王小东"}, {"name": [{"text": "王小东", "family": "王小东"}]}),
    ],
)
def test_patient_is_told_as_far_as_fhir_can(given: dict[str, str], expected: dict[str, Any]) -> None:
    (patient,) = resources(source(patient=given), "Patient")

    assert {name: patient.get(name) for name in expected} == expected


def test_patient_has_the_number_with_who_gave_it_or_only_ours() -> None:
    (known,) = resources(SITUATIONS["positive"], "Patient")
    (of_site,) = resources(replace(SITUATIONS["positive"], site=ISSUER), "Patient")
    (unknown,) = resources(SITUATIONS["patient_unknown"], "Patient")

    assert (known["identifier"][0]["value"], known["identifier"][0]["assigner"]) == ("P1", {"display": ISSUER})
    assert of_site["identifier"][0]["value"] == "P1"
    assert "assigner" not in of_site["identifier"][0]
    assert [one["use"] for one in unknown["identifier"]] == ["secondary"]
    assert "name" not in unknown


def test_groups_of_a_name_are_told_apart() -> None:
    (patient,) = resources(SITUATIONS["patient_chinese"], "Patient")

    told = [(one["extension"][0]["valueCode"], one["family"], one["given"]) for one in patient["name"]]
    assert told == [("ABC", "Wang", ["XiaoDong"]), ("IDE", "王", ["小东"])]


def test_verdict_stands_beside_the_finding() -> None:
    (one,) = resources(SITUATIONS["amended"], "Observation")

    (verdict,) = (part for part in one["component"] if part["code"]["text"] == "Verdict of the reviewer")
    assert verdict["valueCodeableConcept"]["coding"][0]["code"] == "disagree"
    assert verdict["interpretation"][0]["coding"][0]["code"] == "NEG"
    assert one["interpretation"][0]["coding"][0]["code"] == "POS"
    assert one["note"][0]["text"] == NOTE


def test_follow_up_and_comment_stand_in_the_conclusion_until_it_is_retracted() -> None:
    follow_up = {
        "finding": "lesion",
        "display": "Lesion",
        "action": "control_study",
        "urgency": "urgent",
        "text": "CT in *two* <b>weeks</b>",
        "due_at": "2026-02-17T00:00:00+00:00",
        "counted_from": "report",
    }
    unsigned = source(more={"follow_ups": [follow_up]})
    of = moved(unsigned, ReportStatus.FINAL, review(signed=True, comment="# See\x07 [here](http://x)\n- <script>"))

    (r4b,), (r5,) = (resources(of, "DiagnosticReport", release) for release in (R4B, R5))

    assert "Suggested, urgent: control study (Lesion) by 2026-02-17. CT in *two* <b>weeks</b>" in r4b["conclusion"]
    assert r"CT in \*two\* \<b>weeks\</b>" in r5["conclusion"]
    assert "The reviewer's comment: # See [here](http://x)\n- <script>" in r4b["conclusion"]
    assert "The reviewer's comment: # See \\[here\\](http://x)  \n\\- \\<script>" in r5["conclusion"]
    retraction = review(signed=False, reason="Wrong patient.")
    retracted = moved(of, ReportStatus.RETRACTED, retraction, ReportOrigin.RETRACTION)
    (report,) = resources(retracted, "DiagnosticReport", R4B)
    assert (
        f"RETRACTED by {REVIEWER} on 2026-02-04. Do not use this report. Reason: Wrong patient." in report["conclusion"]
    )
    assert "Suggested" not in report["conclusion"]


@pytest.mark.parametrize("text", ["plain words, 2026-02-04.", "0.5 (of 1)"])
def test_plain_words_are_their_own_markdown(text: str) -> None:
    assert markdown(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1. one\n2) two", "1\\. one  \n2\\) two"),
        ("# a", "\\# a"),
        ("  - a", "  \\- a"),
        ("a_b & <c>", "a\\_b \\& \\<c>"),
    ],
)
def test_marks_of_markdown_are_shown_as_they_are(text: str, shown: str) -> None:
    assert markdown(text) == shown


def test_modality_that_dicom_does_not_know_is_other() -> None:
    assert [modality(one)["code"] for one in ("CT", "<script>", "", "ct")] == ["CT", "OT", "OT", "OT"]


@pytest.mark.parametrize("given", ["", "OT", "SEG", "RTDOSE", "XX"])
@both_releases
def test_study_of_any_modality_is_told(release: Literal["4.3", "5.0"], given: str) -> None:
    """Or a report of an old scanner's study could never be signed."""
    of = source()
    of.document["studies"][0]["modalities"] = [given]

    assert resources(of, "ImagingStudy", release)


@pytest.mark.parametrize(
    ("kind", "path", "value", "place"),
    [
        ("DiagnosticReport", ["status"], "bogus", "DiagnosticReport.status"),
        ("Observation", ["status"], "unsigned", "Observation.status"),
        ("Observation", ["interpretation", 0, "coding", 0, "code"], "YES", "Observation.interpretation.coding"),
        ("Observation", ["valueQuantity", "code"], "percent", "Observation.valueQuantity"),
        ("ImagingStudy", ["series", 0, "modality", "coding", 0, "code"], "XX", "ImagingStudy.series.modality.coding"),
        ("Patient", ["gender"], "F", "Patient.gender"),
        ("Device", ["name", 0, "type"], "nickname", "Device.name.type"),
    ],
)
def test_code_outside_its_value_set_is_named_by_its_place(kind: str, path: list[Any], value: str, place: str) -> None:
    made = bundle(SITUATIONS["positive"])
    (part,) = (one["resource"] for one in made["entry"] if one["resource"]["resourceType"] == kind)
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value

    # The library takes it.
    import_module(MODELS[Release.R5]).Bundle.model_validate(made)
    assert wrong_codes(made) == [place]


def test_invalid_bundle_is_not_served_and_the_error_quotes_nothing() -> None:
    of = source()
    of.document["patient"]["key"] = ""

    with pytest.raises(RuntimeError, match=r"not valid at .*value") as caught:
        make_fhir(of, R5)
    assert "Doe" not in str(caught.value)
