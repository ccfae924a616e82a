"""A report version -> DICOM Comprehensive SR, a Measurement Report (PS3.16, TID 1500) with a group for each finding."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from api.documents.conclusion import conclusion, signature, verdict_of
from api.documents.dicom_parts import (
    MANUFACTURER,
    UTF_8,
    as_given,
    content_moment,
    date_time,
    header_of,
    long_string,
    long_text,
    newest_study,
    principal_name,
    to_bytes,
)
from api.documents.identity import made_uid, version_uid
from api.documents.source import IndexedInstance, Source
from shared.states import ReportStatus

Document = dict[str, Any]

SERIES_NUMBER = 9901  # far from those of scanners
SCHEME = "99OVERREAD"
NO_ORGANIZATION = "Not stated"
OPERATING_POINT = CodedConcept("operating-point", SCHEME, "Operating point")
UNCALIBRATED = CodedConcept("uncalibrated", SCHEME, "Probability before calibration")
DECISION = CodedConcept("decision", SCHEME, "Decision at the operating point")
NOT_PREDICTED = CodedConcept("not-predicted", SCHEME, "No image could be predicted on")
VERDICT = CodedConcept("verdict", SCHEME, "Verdict of the reviewer")
RETRACTED = CodedConcept("retracted-report", SCHEME, "RETRACTED Imaging Measurement Report")
REVIEWED = CodedConcept("reviewed-value", SCHEME, "Value held true by the reviewer")
VERDICTS = {
    "agree": CodedConcept("agree", SCHEME, "Agrees with the decision"),
    "disagree": CodedConcept("disagree", SCHEME, "Disagrees with the decision"),
    "unsure": CodedConcept("unsure", SCHEME, "Unsure about the decision"),
}
EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
OF_DECISION = {True: codes.SCT.Positive, False: codes.SCT.Negative}


def make_sr(source: Source) -> bytes:
    """The report as a file; it belongs to the newest study that the result is about."""
    document = source.document
    signed = signature(document)
    with as_given():
        named = _named(source)
        at = content_moment(source, named.StudyInstanceUID)
        header = header_of(source, named.StudyInstanceUID)
        header.update(named)
        report = ComprehensiveSR(
            evidence=[header, *(_referenced(one) for one in source.instances.values())],
            content=_content(source)[0],
            series_instance_uid=header.SeriesInstanceUID,
            series_number=SERIES_NUMBER,
            sop_instance_uid=header.SOPInstanceUID,
            instance_number=document["version"]["number"],
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=signed is not None,
            is_verified=signed is not None,
            verifying_observer_name=principal_name(signed["by"]) if signed else None,
            verifying_organization=NO_ORGANIZATION if signed else None,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set=UTF_8,
            series_description="RETRACTED AI report, do not use" if _is_retracted(document) else "AI report",
            manufacturer_model_name=long_string(document["model"]["name"]),
            device_serial_number=document["model"]["digest"],
            software_versions=str(document["model"]["version"]),
            content_date=at.date(),
            content_time=at.time(),
            coding_schemes=[CodingSchemeIdentificationItem(SCHEME, responsible_organization=MANUFACTURER)],
            previous_versions=[_named(replace(source, document=source.previous))] if source.previous else None,
        )
        _settle(report, header, at, signed)
        if _is_retracted(document):
            report.CompletionFlagDescription = "RETRACTED, do not use"
        return to_bytes(report)


def _named(source: Source) -> Dataset:
    """What the version's SR is named by: its series has all versions by this model in the study, or the retracted."""
    document = source.document
    study = newest_study(source)["study_instance_uid"]
    role = "sr-series-retracted" if _is_retracted(document) else "sr-series"
    named = Dataset()
    named.StudyInstanceUID = study
    named.SeriesInstanceUID = made_uid(role, document["patient"]["key"], document["model"]["digest"], study)
    named.SOPClassUID = ComprehensiveSRStorage
    named.SOPInstanceUID = version_uid(source, "sr")
    return named


def _is_retracted(document: Document) -> bool:
    return bool(document["version"]["status"] == ReportStatus.RETRACTED)


def _settle(report: Dataset, header: Dataset, at: datetime, signed: Document | None) -> None:
    """Times of the version in place of now, and what the header alone knows of the study; it is no evidence."""
    for keyword in ("StudyDescription", "TimezoneOffsetFromUTC"):
        if keyword in header:
            report[keyword] = header[keyword]
    report.InstanceCreationDate, report.InstanceCreationTime = report.ContentDate, report.ContentTime
    report.ContributingEquipmentSequence[0].ContributionDateTime = date_time(at)
    if signed:
        report.VerifyingObserverSequence[0].VerificationDateTime = date_time(datetime.fromisoformat(signed["at"]))
    studies = report.CurrentRequestedProcedureEvidenceSequence
    for study in studies:
        kept = [one for one in study.ReferencedSeriesSequence if one.SeriesInstanceUID != header.SeriesInstanceUID]
        study.ReferencedSeriesSequence = kept
    if not any(study.ReferencedSeriesSequence for study in studies):
        del report.CurrentRequestedProcedureEvidenceSequence


def _referenced(one: IndexedInstance) -> Dataset:
    """As much of an image as a reference to it takes."""
    image = Dataset()
    image.StudyInstanceUID = one.study_instance_uid
    image.SeriesInstanceUID = one.series_instance_uid
    image.SOPClassUID = one.sop_class_uid
    image.SOPInstanceUID = one.sop_instance_uid
    return image


def _content(source: Source) -> MeasurementReport:
    report = MeasurementReport(
        observation_context=_observers(source),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(source, finding) for finding in source.document["findings"]],
        title=RETRACTED if _is_retracted(source.document) else codes.DCM.ImagingMeasurementReport,
    )
    said = ContainerContentItem(EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS)
    said.ContentSequence = ContentSequence(
        [_text(codes.DCM.Conclusion, sentence) for sentence in conclusion(source.document)]
    )
    report[0].ContentSequence.append(said)
    return report


def _observers(source: Source) -> ObservationContext:
    """The model; and the person who reviewed it, where one did."""
    model, review = source.document["model"], source.document.get("review")
    device = DeviceObserverIdentifyingAttributes(
        uid=made_uid("model", model["digest"]),
        name=long_text(model["name"]),
        manufacturer_name=MANUFACTURER,
        model_name=f"version {model['version']}",
        serial_number=model["digest"],
    )
    return ObservationContext(
        observer_device_context=ObserverContext(codes.DCM.Device, device),
        observer_person_context=ObserverContext(
            codes.DCM.Person, PersonObserverIdentifyingAttributes(principal_name(review["reviewer"]))
        )
        if review
        else None,
    )


def _group(source: Source, finding: Document) -> MeasurementsAndQualitativeEvaluations:
    document = source.document
    model, code = document["model"], finding["code"]
    group = MeasurementsAndQualitativeEvaluations(
        # The same in every version about this patient, so that a finding can be followed from one to the next.
        tracking_identifier=TrackingIdentifier(
            made_uid("tracking", document["patient"]["key"], model["name"], code), f"{model['name']} {code}"
        ),
        finding_type=CodedConcept(code, SCHEME, long_string(finding["display"]) or code),
        algorithm_id=AlgorithmIdentification(
            long_text(model["name"]), str(model["version"]), parameters=[f"sha256 of the package: {model['digest']}"]
        ),
        measurements=list(_measurements(finding)),
        qualitative_evaluations=list(_evaluations(document, finding)),
        source_images=list(_images(source, finding)),
    )
    verdict = verdict_of(document, code)
    if verdict and long_text(verdict["note"]):
        group[0].ContentSequence.append(_text(codes.DCM.Comment, verdict["note"]))
    return group


def _measurements(finding: Document) -> Iterator[Measurement]:
    unit = codes.UCUM.NoUnits
    if finding["probability"] is None:
        return
    yield Measurement(codes.DCM.Probability, float(finding["probability"]), unit)
    yield Measurement(OPERATING_POINT, float(finding["threshold"]), unit)
    if finding.get("uncalibrated"):
        yield Measurement(UNCALIBRATED, float(finding["uncalibrated"]["probability"]), unit)


def _evaluations(document: Document, finding: Document) -> Iterator[QualitativeEvaluation]:
    if finding["probability"] is None:
        yield QualitativeEvaluation(DECISION, NOT_PREDICTED)
    elif finding["decision"] is not None:
        yield QualitativeEvaluation(DECISION, OF_DECISION[finding["decision"]])
    verdict = verdict_of(document, finding["code"])
    if verdict:
        yield QualitativeEvaluation(VERDICT, VERDICTS[verdict["verdict"]])
        if verdict["value"] is not None:
            yield QualitativeEvaluation(REVIEWED, OF_DECISION[verdict["value"]])


def _images(source: Source, finding: Document) -> Iterator[SourceImageForMeasurementGroup]:
    """The instances that drove the finding; of multi-frame ones the frame that led it."""
    named = {(source.instances[one["blob_sha256"]], one["frame"]): None for one in finding["evidence"]}
    for one, frame in named:
        frames = [frame] if one.number_of_frames > 1 else None
        yield SourceImageForMeasurementGroup(one.sop_class_uid, one.sop_instance_uid, frames)


def _text(name: CodedConcept, value: str) -> TextContentItem:
    return TextContentItem(name, long_text(value), relationship_type=RelationshipTypeValues.CONTAINS)
