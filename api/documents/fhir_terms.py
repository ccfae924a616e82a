"""What the resources of one FHIR bundle share: the release, how they name one another, words that FHIR accepts."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from api.documents.fhir_codes import ASSERTED_BY, coding
from api.documents.identity import made_uuid
from api.documents.source import Source
from shared.dicom.values import clean

Json = dict[str, Any]

# What would mean something to markdown: anywhere, and where a line begins, be it with the number of a list.
_MARKS = re.compile(r"([\\`*_\[\]<&~|])")
_FIRST_MARKS = re.compile(r"^(\s*(?:[0-9]+(?=[.)]\s))?)([#>+=.)-])", re.MULTILINE)


class Release(StrEnum):
    """Of FHIR, as its media type's `fhirVersion` has it."""

    R4B = "4.3"
    R5 = "5.0"


@dataclass(frozen=True)
class Told:
    """A source, and the release in which it is told."""

    source: Source
    release: Release

    @property
    def document(self) -> Json:
        """The report version's."""
        return self.source.document

    @property
    def studies(self) -> list[Json]:
        """Those that the result is about."""
        return [one for one in self.document["studies"] if one["in_scope"]]

    def of_version(self, role: str, *names: str) -> str:
        """The id of what plays this role in this version."""
        return str(made_uuid(self.document["version"]["id"], "fhir", role, *names))

    def modality(self, value: Json) -> Json:
        """A Coding where the release has one of it, else the concept around it."""
        return {"coding": [value]} if self.release is Release.R5 else value

    def conclusion(self, lines: list[str]) -> str:
        """Lines of text, which R5 reads as markdown."""
        return markdown("\n".join(lines)) if self.release is Release.R5 else "\n".join(lines)

    @property
    def patient(self) -> Json:
        """A reference to the patient."""
        return reference(patient_id(self), "Patient")

    @property
    def device(self) -> Json:
        """A reference to the model."""
        return reference(device_id(self), "Device")


def reference(resource_id: str, kind: str) -> Json:
    """A Reference to another entry."""
    return {"reference": f"urn:uuid:{resource_id}", "type": kind}


def patient_id(told: Told) -> str:
    """The same in all versions about a patient."""
    return str(made_uuid("fhir", "patient", told.document["patient"]["key"]))


def device_id(told: Told) -> str:
    """The same for a model version."""
    return str(made_uuid("fhir", "device", told.document["model"]["digest"]))


def practitioner_id(name: str) -> str:
    """The same for a principal."""
    return str(made_uuid("fhir", "practitioner", name))


def study_id(told: Told, study_instance_uid: str) -> str:
    """The same in all versions about a patient."""
    return str(made_uuid("fhir", "study", told.document["patient"]["key"], study_instance_uid))


def line(value: str) -> str:
    """As one line of FHIR's string; "" where no letter is left, and then the element is left out."""
    return clean(value, len(value))


def words(value: str) -> str:
    """As lines of FHIR's string."""
    return "\n".join(part for part in map(line, value.splitlines()) if part)


def markdown(value: str) -> str:
    """Text as markdown that shows it as it is: what people write means nothing to a page."""
    shown = _FIRST_MARKS.sub(r"\1\\\2", _MARKS.sub(r"\\\1", value))
    return shown.replace("\n", "  \n")


def filled(**parts: Any) -> Json:
    """The elements that hold something; FHIR knows no empty ones."""
    return {name: part for name, part in parts.items() if part not in (None, "", [], {})}


AI_ASSERTED = {"security": [coding(ASSERTED_BY, "AIAST", "Artificial Intelligence asserted")]}
