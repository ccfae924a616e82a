"""A report as DICOM SR: other people's readers and validators find in it what the report says."""

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import MeasurementReport, srread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from api.documents.source import Source
from api.documents.sr import DECISION, OPERATING_POINT, REVIEWED, VERDICT, make_sr
from tests.dicom_samples import make_uid
from tests.document_sources import (
    ENHANCED_CT,
    ISSUER,
    NOTE,
    REVIEWER,
    evidence,
    instance,
    signed,
    situations,
    source,
    study,
    unsaid,
)
from tests.support import tool
from tests.validators import validated

SITUATIONS = situations()
every_situation = pytest.mark.parametrize("of", SITUATIONS.values(), ids=SITUATIONS.keys())


def content(of: Source) -> MeasurementReport:
    found: MeasurementReport = srread(io.BytesIO(make_sr(of))).content
    return found


@every_situation
def test_validator_finds_nothing(of: Source, tmp_path: Path) -> None:
    assert validated(make_sr(of), tmp_path, unsaid=unsaid(of.document["patient"])) == []


@every_situation
def test_numbers_are_those_of_the_report(of: Source) -> None:
    groups = content(of).get_image_measurement_groups()

    for group, finding in zip(groups, of.document["findings"], strict=True):
        assert group.finding_type.value == finding["code"]
        assert group.finding_type.meaning == finding["display"] or len(finding["display"]) > 64
        numbers = [one.value for one in group.get_measurements(codes.DCM.Probability)]
        assert numbers == ([] if finding["probability"] is None else [finding["probability"]])
        points = [one.value for one in group.get_measurements(OPERATING_POINT)]
        assert points == ([] if finding["probability"] is None else [finding["threshold"]])
        decisions = [one.value.meaning for one in group.get_qualitative_evaluations(DECISION)]
        words = {True: ["Positive"], False: ["Negative"], None: ["No image could be predicted on"]}
        assert decisions == ([] if finding["background"] else words[finding["decision"]])


@every_situation
def test_patient_and_study_are_those_of_the_report(of: Source) -> None:
    found = pydicom.dcmread(io.BytesIO(make_sr(of)))

    studies = [one for one in of.document["studies"] if one["in_scope"]]
    newest = max(studies, key=lambda one: one["study_date"])
    assert found.StudyInstanceUID == newest["study_instance_uid"]
    assert found.StudyDate == newest["study_date"]
    name = of.document["patient"]["patient_name"]
    if "<" not in name and len(name) < 64:
        assert str(found.PatientName).rstrip("^=") == name.rstrip("=")
    assert found.SpecificCharacterSet == "ISO_IR 192"


@every_situation
def test_same_source_gives_the_same_bytes(of: Source) -> None:
    assert make_sr(of) == make_sr(of)


@pytest.mark.parametrize("name", ["positive", "multi_frame", "signed", "retracted", "two_findings", "no_prediction"])
def test_dcmtk_shows_finding_and_probability(name: str, tmp_path: Path) -> None:
    of = SITUATIONS[name]
    (tmp_path / "report.dcm").write_bytes(make_sr(of))

    command = [tool("dsr2html", "dcmtk"), tmp_path / "report.dcm"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for finding in of.document["findings"]:
        assert finding["display"] in page
        assert finding["probability"] is None or f"{finding['probability']:.10f}"[:8].rstrip("0") in page
    assert "AI " in page
    assert ("RETRACTED" in page) == (name == "retracted")
    assert (f"signed by {REVIEWER} on 2026-02-04" in page) == (name == "signed")


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("positive", ("COMPLETE", "UNVERIFIED", "PRELIMINARY", None)),
        ("reviewed", ("COMPLETE", "UNVERIFIED", "PRELIMINARY", None)),
        ("signed", ("COMPLETE", "VERIFIED", "FINAL", None)),
        ("amended", ("COMPLETE", "VERIFIED", "FINAL", None)),
        ("retracted", ("COMPLETE", "UNVERIFIED", "PRELIMINARY", "RETRACTED, do not use")),
    ],
)
def test_flags_say_how_the_report_stands(name: str, flags: tuple[str, str, str, str | None]) -> None:
    found = pydicom.dcmread(io.BytesIO(make_sr(SITUATIONS[name])))

    told = found.CompletionFlag, found.VerificationFlag, found.PreliminaryFlag, found.get("CompletionFlagDescription")
    assert told == flags
    observers = found.get("VerifyingObserverSequence") or []
    assert [str(one.VerifyingObserverName) for one in observers] == (
        ["Dr. Jane Roe^"] if flags[1] == "VERIFIED" else []
    )
    assert all(one.VerificationDateTime == "20260204093000.000000+0000" for one in observers)


def test_times_are_those_of_the_zone_of_the_study() -> None:
    unknown, zoned = (pydicom.dcmread(io.BytesIO(make_sr(SITUATIONS[name]))) for name in ("signed", "zoned"))

    assert (unknown.ContentDate, unknown.ContentTime, unknown.StudyTime) == ("20260204", "093000", "101112")
    assert "TimezoneOffsetFromUTC" not in unknown
    assert (zoned.ContentDate, zoned.ContentTime, zoned.StudyTime) == ("20260204", "000000", "101112")
    assert zoned.TimezoneOffsetFromUTC == "-0930"
    assert zoned.StudyDescription == "CT/of the chest"


def test_issuer_stands_only_where_the_files_name_one() -> None:
    known, of_site = (pydicom.dcmread(io.BytesIO(make_sr(replace(source(), site=site)))) for site in ("", ISSUER))

    assert known.IssuerOfPatientID == ISSUER
    assert "IssuerOfPatientID" not in of_site


def test_versions_are_one_series_and_each_names_the_one_before() -> None:
    names = ("positive", "signed", "amended")
    first, second, third = (pydicom.dcmread(io.BytesIO(make_sr(SITUATIONS[name]))) for name in names)

    assert [one.InstanceNumber for one in (first, second, third)] == [1, 2, 3]
    assert {(one.SeriesInstanceUID, one.SeriesDescription) for one in (first, second, third)} == {
        (first.SeriesInstanceUID, "AI report")
    }
    assert "PredecessorDocumentsSequence" not in first
    assert predecessor(second) == (first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
    assert predecessor(third) == (first.StudyInstanceUID, first.SeriesInstanceUID, second.SOPInstanceUID)


def test_version_in_a_newer_study_names_the_one_in_the_study_before() -> None:
    before = SITUATIONS["positive"]
    later = source(evidence(instance(1, [0.9]), studies=[study(1), study(2, day="20260301")]))

    first, second = (
        pydicom.dcmread(io.BytesIO(make_sr(one))) for one in (before, replace(later, previous=before.document))
    )

    assert (first.StudyInstanceUID, second.StudyInstanceUID) == ("1.2.826.1", "1.2.826.2")
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert predecessor(second) == ("1.2.826.1", first.SeriesInstanceUID, first.SOPInstanceUID)


def test_retracted_report_says_so_wherever_it_is_listed() -> None:
    final, found = (pydicom.dcmread(io.BytesIO(make_sr(SITUATIONS[name]))) for name in ("signed", "retracted"))

    assert found.SeriesDescription == "RETRACTED AI report, do not use"
    assert found.ConceptNameCodeSequence[0].CodeMeaning == "RETRACTED Imaging Measurement Report"
    # Descriptions are those of a whole series.
    assert found.SeriesInstanceUID != final.SeriesInstanceUID
    assert predecessor(found) == (final.StudyInstanceUID, final.SeriesInstanceUID, final.SOPInstanceUID)


def predecessor(of: Dataset) -> tuple[str, str, str]:
    (one,) = of.PredecessorDocumentsSequence
    (series,) = one.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    return one.StudyInstanceUID, series.SeriesInstanceUID, instance.ReferencedSOPInstanceUID


def test_images_are_referenced_with_frames_only_where_there_are_several() -> None:
    one, several = (content(SITUATIONS[name]).get_image_measurement_groups() for name in ("positive", "multi_frame"))

    assert [image.referenced_sop_instance_uid for image in one[0].source_images] == ["1.3.6.1.1", "1.3.6.1.2"]
    assert {image.referenced_frame_numbers for image in one[0].source_images} == {None}
    (image,) = several[0].source_images
    assert (image.referenced_sop_class_uid, image.referenced_frame_numbers) == (ENHANCED_CT, [2])


def test_images_of_other_studies_are_other_evidence() -> None:
    report = srread(io.BytesIO(make_sr(SITUATIONS["several_studies"])))

    current = {row[0] for row in report.get_evidence(current_procedure_only=True)}
    assert current == {"1.2.826.2"} == {report.StudyInstanceUID}
    assert {row[0] for row in report.get_evidence()} == {"1.2.826.1", "1.2.826.2", "1.2.826.3"}
    late = srread(io.BytesIO(make_sr(SITUATIONS["newest_study_without_evidence"])))
    assert late.StudyInstanceUID == "1.2.826.2"
    assert [row[:3] for row in late.get_evidence()] == [("1.2.826.1", "1.3.6.1", "1.3.6.1.1")]
    assert late.get_evidence(current_procedure_only=True) == []


def test_verdict_stands_beside_the_finding_with_who_gave_it() -> None:
    report = content(SITUATIONS["amended"])

    (group,) = report.get_image_measurement_groups()
    (verdict,) = group.get_qualitative_evaluations(VERDICT)
    (value,) = group.get_qualitative_evaluations(REVIEWED)
    assert (verdict.value.value, value.value.meaning) == ("disagree", "Negative")
    texts = [item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"]
    assert NOTE in texts
    people = [context for context in report.get_observer_contexts() if context.observer_type == codes.DCM.Person]
    assert [str(one.observer_identifying_attributes.name) for one in people] == ["Dr. Jane Roe^"]


def test_model_is_named_as_observer_and_algorithm() -> None:
    report = content(SITUATIONS["positive"])

    (device,) = (context.observer_identifying_attributes for context in report.get_observer_contexts())
    assert (device.name, device.serial_number, device.model_name) == ("sample", "d" * 64, "version 3")
    items = report.get_image_measurement_groups()[0][0].ContentSequence
    told = {item.name.meaning: item.value for item in items if item.ValueType == "TEXT"}
    assert (told["Algorithm Name"], told["Algorithm Version"]) == ("sample", "3")
    assert "d" * 64 in told["Algorithm Parameters"]


def test_finding_is_tracked_from_one_version_to_the_next() -> None:
    before, after = (
        content(SITUATIONS[name]).get_image_measurement_groups()[0].tracking_uid for name in ("positive", "signed")
    )
    other = content(source(patient={"key": "f" * 32})).get_image_measurement_groups()[0].tracking_uid

    assert before == after
    assert other != before
    uids = {pydicom.dcmread(io.BytesIO(make_sr(SITUATIONS[name]))).SOPInstanceUID for name in ("positive", "signed")}
    assert len(uids) == 2


@pytest.mark.parametrize("uid", ["1.02.003.4", "1..2", "0" * 64, "2.25." + "9" * 59])
def test_uids_stand_as_the_files_have_them(uid: str) -> None:
    of = source(evidence(instance(1, [0.9], uid=uid), studies=[study(uid=uid)]))

    data = make_sr(signed(of))

    with disable_value_validation():
        report = srread(io.BytesIO(data))
        assert report.StudyInstanceUID == uid
        assert [row[2] for row in report.get_evidence()] == [uid]


def test_instances_of_one_uid_and_unknown_classes_are_referenced_once() -> None:
    uid = make_uid("twice")
    twice = evidence(instance(1, [0.9], uid=uid), instance(2, [0.8], uid=uid))

    report = srread(io.BytesIO(make_sr(source(twice, sop_class_uid="1.2.3.4", modality=""))))

    assert [row[2:] for row in report.get_evidence()] == [(uid, "1.2.3.4")]
    (group,) = report.content.get_image_measurement_groups()
    assert len(group.source_images) == 1
