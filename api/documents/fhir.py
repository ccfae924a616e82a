"""A report version -> a FHIR bundle, release R4B or R5, that fhir.resources accepts."""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal

from pydantic import ValidationError

from api.documents.conclusion import signature
from api.documents.fhir_codes import URI, wrong_codes
from api.documents.fhir_people import device, patient, practitioner
from api.documents.fhir_results import diagnostic_report, observation
from api.documents.fhir_studies import imaging_study
from api.documents.fhir_terms import Release, Told
from api.documents.identity import made_at
from api.documents.source import Source

Json = dict[str, Any]

MODELS = {Release.R4B: "fhir.resources.R4B.bundle", Release.R5: "fhir.resources.bundle"}


def make_fhir(source: Source, release: Literal["4.3", "5.0"]) -> bytes:
    """The bundle as JSON: the report, its findings, studies, patient and model, and who signed it."""
    told = Told(source, Release(release))
    bundle = {
        "resourceType": "Bundle",
        "id": told.of_version("bundle"),
        "identifier": {"system": URI, "value": f"urn:uuid:{source.document['version']['id']}"},
        "type": "collection",
        "timestamp": made_at(source).isoformat(),
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in _resources(told)],
    }
    _check(bundle, told.release)
    return json.dumps(bundle, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _resources(told: Told) -> Iterator[Json]:
    document = told.document
    yield diagnostic_report(told)
    for finding in document["findings"]:
        yield observation(told, finding)
    for study in told.studies:
        yield imaging_study(told, study)
    yield patient(told)
    yield device(told)
    signed = signature(document)
    people = {document["review"]["reviewer"]: None} if document.get("review") else {}
    for name in people | ({signed["by"]: None} if signed else {}):
        yield practitioner(name)


def _check(bundle: Json, release: Release) -> None:
    """What is served is valid; an error names places only, for values are patients'."""
    try:
        import_module(MODELS[release]).Bundle.model_validate(bundle)
    except ValidationError as error:
        places = [".".join(map(str, one["loc"])) for one in error.errors(include_input=False, include_context=False)]
    else:
        places = wrong_codes(bundle)
    if places:
        raise RuntimeError(f"the FHIR {release} bundle that was made is not valid at {', '.join(places)}")
