"""Code systems of FHIR that documents use, and the check that fhir.resources leaves out: is a code of its value set?"""

from collections.abc import Iterator
from typing import Any

from pydicom.sr.codedict import codes

from api.documents.identity import made_uuid

Json = dict[str, Any]

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
INTERPRETATION = f"{TERMINOLOGY}/v3-ObservationInterpretation"
OBSERVATION_CATEGORY = f"{TERMINOLOGY}/observation-category"
SERVICE_SECTION = f"{TERMINOLOGY}/v2-0074"
IDENTIFIER_TYPE = f"{TERMINOLOGY}/v2-0203"
DATA_ABSENT = f"{TERMINOLOGY}/data-absent-reason"
ASSERTED_BY = f"{TERMINOLOGY}/v3-ObservationValue"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
DICOM_UID = "urn:dicom:uid"
URI = "urn:ietf:rfc:3986"
UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
# Our own, which no registry knows.
OURS = made_uuid("code system").urn
PATIENT_KEYS = made_uuid("patient keys").urn
PACKAGES = made_uuid("digests of model packages").urn

# CID 33, to which R5 binds. R4B binds to CID 29, of what acquires, but may hold others where none of it fits (it is
# extensible): a SEG or an OT has none there.
MODALITIES = frozenset(getattr(codes.cid33, name).value for name in codes.cid33.dir())
RESULT_STATUSES = frozenset({"preliminary", "final", "amended", "entered-in-error"})

# Of required value sets, the codes that documents may hold, by the path of the element.
_OF_ELEMENT: dict[tuple[str, ...], frozenset[str]] = {
    ("Bundle", "type"): frozenset({"collection"}),
    ("DiagnosticReport", "status"): RESULT_STATUSES,
    ("Observation", "status"): RESULT_STATUSES,
    ("ImagingStudy", "status"): frozenset({"available"}),
    ("Device", "status"): frozenset({"active"}),
    ("Device", "deviceName", "type"): frozenset({"model-name"}),
    ("Device", "name", "type"): frozenset({"registered-name"}),
    ("Patient", "gender"): frozenset({"male", "female", "other", "unknown"}),
    ("Patient", "identifier", "use"): frozenset({"usual", "secondary"}),
}
# The same of codings and quantities, by their system.
_OF_SYSTEM: dict[str, frozenset[str]] = {
    INTERPRETATION: frozenset({"POS", "NEG"}),
    OBSERVATION_CATEGORY: frozenset({"imaging"}),
    SERVICE_SECTION: frozenset({"RAD"}),
    IDENTIFIER_TYPE: frozenset({"MR", "ACSN"}),
    DATA_ABSENT: frozenset({"not-performed"}),
    ASSERTED_BY: frozenset({"AIAST"}),
    DICOM: MODALITIES,
    LOINC: frozenset({"18748-4"}),
    UCUM: frozenset({"1"}),
}


def coding(system: str, code: str, display: str | None = None) -> Json:
    """A Coding."""
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(system: str, code: str, display: str | None = None) -> Json:
    """A CodeableConcept of one coding."""
    return {"coding": [coding(system, code, display)]} | ({"text": display} if display else {})


def modality(value: str) -> Json:
    """A modality's Coding; OT, other, where DICOM knows none of that name."""
    return coding(DICOM, value if value in MODALITIES else "OT")


def wrong_codes(resource: Json) -> list[str]:
    """Where in a resource a code is not of its value set; the places only, never the values."""
    return list(_wrong(resource, (resource["resourceType"],)))


def _wrong(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _wrong(one, path)
    elif isinstance(value, dict):
        if (
            "system" in value
            and "code" in value
            and value["code"] not in _OF_SYSTEM.get(value["system"], (value["code"],))
        ):
            yield ".".join(path)
        for name, part in value.items():
            # A resource in a bundle has a path of its own.
            inner = (part["resourceType"],) if name == "resource" else (*path, name)
            yield from _wrong(part, inner)
    elif path in _OF_ELEMENT and value not in _OF_ELEMENT[path]:
        yield ".".join(path)
