"""What a report says, as FHIR: the report, and an observation for each finding."""

from collections.abc import Iterator
from typing import Any

from api.documents.conclusion import conclusion, signature, verdict_of
from api.documents.dicom_parts import date_of
from api.documents.fhir_codes import (
    DATA_ABSENT,
    INTERPRETATION,
    LOINC,
    OBSERVATION_CATEGORY,
    OURS,
    SERVICE_SECTION,
    UCUM,
    URI,
    concept,
)
from api.documents.fhir_studies import orders
from api.documents.fhir_terms import (
    AI_ASSERTED,
    Release,
    Told,
    filled,
    line,
    markdown,
    practitioner_id,
    reference,
    study_id,
    words,
)
from api.documents.identity import made_at, made_uuid
from shared.states import ReportStatus

Json = dict[str, Any]

STATUSES = {
    ReportStatus.PRELIMINARY: "preliminary",
    ReportStatus.FINAL: "final",
    ReportStatus.AMENDED: "amended",
    ReportStatus.RETRACTED: "entered-in-error",
}
DECISIONS = {True: ("POS", "Positive"), False: ("NEG", "Negative")}
VERDICTS = {"agree": "Agrees", "disagree": "Disagrees", "unsure": "Unsure"}


def diagnostic_report(told: Told) -> Json:
    """The report; its conclusion says first who stands for it."""
    document = told.document
    version = document["version"]
    study = "study" if told.release is Release.R5 else "imagingStudy"
    lines = [line for line in map(words, conclusion(document)) if line]
    return {
        "resourceType": "DiagnosticReport",
        "id": told.of_version("report"),
        "meta": AI_ASSERTED,
        "identifier": [{"system": URI, "value": f"urn:uuid:{version['id']}"}],
        "status": _status(told),
        "category": [concept(SERVICE_SECTION, "RAD", "Radiology")],
        "code": concept(LOINC, "18748-4", "Diagnostic imaging study"),
        "subject": told.patient,
        "issued": made_at(told.source).isoformat(),
        "conclusion": told.conclusion(lines),
    } | filled(
        basedOn=orders(told, told.studies),
        effectiveDateTime=_effective(told),
        performer=_signers(told),
        resultsInterpreter=_signers(told),
        result=[reference(_observation_id(told, one), "Observation") for one in document["findings"]],
        **{study: _studies(told)},
    )


def observation(told: Told, finding: Json) -> Json:
    """The finding: its probability, what the model decides at its operating point, what the reviewer says."""
    display = line(finding["display"]) or finding["code"]
    system = made_uuid("findings", told.document["model"]["name"]).urn
    known = finding["probability"] is not None
    return {
        "resourceType": "Observation",
        "id": _observation_id(told, finding),
        "meta": AI_ASSERTED,
        "status": _status(told),
        "category": [concept(OBSERVATION_CATEGORY, "imaging", "Imaging")],
        "code": concept(system, finding["code"], display),
        "subject": told.patient,
        "issued": made_at(told.source).isoformat(),
        "device": told.device,
        **(
            {"valueQuantity": _probability(finding["probability"])}
            if known
            else {"dataAbsentReason": concept(DATA_ABSENT, "not-performed", "Not Performed")}
        ),
    } | filled(
        effectiveDateTime=_effective(told),
        performer=_signers(told),
        interpretation=[_decision(finding["decision"])] if finding["decision"] is not None else [],
        note=list(_notes(told, finding)),
        derivedFrom=_studies(told),
        component=list(_components(told, finding)),
    )


def _components(told: Told, finding: Json) -> Iterator[Json]:
    def number(code: str, display: str, value: float) -> Json:
        return {"code": concept(OURS, code, display), "valueQuantity": _probability(value)}

    yield number("operating-point", "Operating point", finding["threshold"])
    before = finding.get("uncalibrated")
    if before and before["probability"] is not None:
        yield number("uncalibrated", "Probability before calibration", before["probability"])
    verdict = verdict_of(told.document, finding["code"])
    if verdict:
        value = concept(OURS, verdict["verdict"], VERDICTS[verdict["verdict"]])
        held = [_decision(verdict["value"])] if verdict["value"] is not None else []
        said = {"code": concept(OURS, "verdict", "Verdict of the reviewer"), "valueCodeableConcept": value}
        yield said | filled(interpretation=held)


def _notes(told: Told, finding: Json) -> Iterator[Json]:
    verdict = verdict_of(told.document, finding["code"])
    if verdict and words(verdict["note"]):
        review = told.document["review"]
        by = reference(practitioner_id(review["reviewer"]), "Practitioner")
        yield {"authorReference": by, "time": review["reviewed_at"], "text": markdown(words(verdict["note"]))}


def _probability(value: float) -> Json:
    return {"value": value, "unit": "1", "system": UCUM, "code": "1"}


def _decision(positive: bool) -> Json:
    return concept(INTERPRETATION, *DECISIONS[positive])


def _status(told: Told) -> str:
    return STATUSES[ReportStatus(told.document["version"]["status"])]


def _observation_id(told: Told, finding: Json) -> str:
    return told.of_version("finding", finding["code"])


def _signers(told: Told) -> list[Json]:
    signed = signature(told.document)
    return [reference(practitioner_id(signed["by"]), "Practitioner")] if signed else []


def _studies(told: Told) -> list[Json]:
    return [reference(study_id(told, one["study_instance_uid"]), "ImagingStudy") for one in told.studies]


def _effective(told: Told) -> str | None:
    """The day of the newest study that the result is about."""
    days = [day for day in (date_of(one["study_date"]) for one in told.studies) if day]
    return max(days).isoformat() if days else None
