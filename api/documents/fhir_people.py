"""Who a report is about, what made it and who signed it, as FHIR."""

from typing import Any

from api.documents.dicom_parts import date_of
from api.documents.fhir_codes import IDENTIFIER_TYPE, PACKAGES, PATIENT_KEYS, concept
from api.documents.fhir_terms import (
    Release,
    Told,
    device_id,
    filled,
    line,
    markdown,
    patient_id,
    practitioner_id,
    words,
)

Json = dict[str, Any]

GENDERS = {"": None, "M": "male", "F": "female", "O": "other"}
# Of a person's name, the groups behind the first one: in ideographs, and as it sounds.
GROUPS = ("ABC", "IDE", "SYL")
REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
MAX_COMPONENTS = 5


def patient(told: Told) -> Json:
    """The patient, as the files name them."""
    about = told.document["patient"]
    born = date_of(about["patient_birth_date"])
    number = line(about["patient_id"])
    assigner = filled(display=line(told.source.issuer))
    medical_record = {"use": "usual", "type": concept(IDENTIFIER_TYPE, "MR"), "value": number}
    identifiers = [medical_record | filled(assigner=assigner)] if number else []
    return {"resourceType": "Patient", "id": patient_id(told)} | filled(
        identifier=[*identifiers, {"use": "secondary", "system": PATIENT_KEYS, "value": about["key"]}],
        name=_names(about["patient_name"]),
        gender=GENDERS.get(about["patient_sex"], "unknown"),
        birthDate=born.isoformat() if born else None,
    )


def _names(value: str) -> list[Json]:
    """A HumanName for each group of a DICOM person's name (PS3.5, 6.2.1)."""
    names = []
    for group, code in zip(line(value).split("="), GROUPS, strict=False):
        parts = [part.strip() for part in group.split("^")]
        family, given, middle, prefix, suffix = [*parts, *[""] * MAX_COMPONENTS][:MAX_COMPONENTS]
        text = " ".join(part for part in (prefix, given, middle, family, suffix) if part)
        if not text:
            continue
        extension = [{"url": REPRESENTATION, "valueCode": code}] if "=" in value else []
        names.append(
            filled(
                extension=extension,
                text=text,
                family=family,
                given=[part for part in (given, middle) if part],
                prefix=[prefix] if prefix else [],
                suffix=[suffix] if suffix else [],
            )
        )
    return names


def device(told: Told) -> Json:
    """The model version."""
    model = told.document["model"]
    use = words(model["intended_use"])
    name = line(model["name"])
    named = (
        {"name": [{"value": name, "type": "registered-name"}]}
        if told.release is Release.R5
        else {"deviceName": [{"name": name, "type": "model-name"}]}
    )
    return {
        "resourceType": "Device",
        "id": device_id(told),
        "identifier": [{"system": PACKAGES, "value": f"sha256:{model['digest']}"}],
        "status": "active",
        **named,
        "version": [{"value": str(model["version"])}],
    } | filled(note=[{"text": markdown(use)}] if use else [])


def practitioner(name: str) -> Json:
    """Who reviewed or signed."""
    return {"resourceType": "Practitioner", "id": practitioner_id(name)} | filled(name=[filled(text=line(name))])
