"""A study that a report is about, with the instances that drove its findings, as FHIR."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from api.documents.dicom_parts import date_of, indexed, time_of, zone_of
from api.documents.fhir_codes import DICOM_UID, IDENTIFIER_TYPE, URI, coding, concept, modality
from api.documents.fhir_terms import Told, filled, line, study_id
from api.documents.source import IndexedInstance

Json = dict[str, Any]


def imaging_study(told: Told, study: Json) -> Json:
    """The study; of its series and instances those that the report names as evidence."""
    uid = study["study_instance_uid"]
    by_series: defaultdict[str, dict[str, IndexedInstance]] = defaultdict(dict)
    for one in told.source.instances.values():
        if one.study_instance_uid == uid:
            by_series[one.series_instance_uid][one.sop_instance_uid] = one
    kinds = {modality(one)["code"]: modality(one) for one in study.get("modalities", ())}
    return {"resourceType": "ImagingStudy", "id": study_id(told, uid), "status": "available"} | filled(
        identifier=[{"system": DICOM_UID, "value": f"urn:oid:{uid}"}, *_accession(told, uid)],
        basedOn=orders(told, [study]),
        modality=[told.modality(one) for one in kinds.values()],
        subject=told.patient,
        started=_started(told, study),
        description=line(indexed(told.source, uid).study_description),
        series=[_series(told, uid, list(some.values())) for uid, some in sorted(by_series.items())],
    )


def _started(told: Told, study: Json) -> str | None:
    """The day; with the time where the files say in what zone it is, for FHIR has no time without one."""
    known = indexed(told.source, study["study_instance_uid"])
    day, at, zone = date_of(study["study_date"]), time_of(known.study_time), zone_of(known)
    if day and at and zone:
        return datetime.combine(day, at, zone).isoformat()
    return day.isoformat() if day else None


def orders(told: Told, studies: list[Json]) -> list[Json]:
    """Logical references to what the studies were ordered by: the accession number is all that is known of it."""
    found = [one for study in studies for one in _accession(told, study["study_instance_uid"])]
    return [{"type": "ServiceRequest", "identifier": one} for at, one in enumerate(found) if one not in found[:at]]


def _accession(told: Told, uid: str) -> list[Json]:
    """The accession number as an Identifier; who gave it, files seldom say, so it has no system."""
    number = line(indexed(told.source, uid).accession_number)
    return [{"type": concept(IDENTIFIER_TYPE, "ACSN"), "value": number}] if number else []


def _series(told: Told, uid: str, instances: list[IndexedInstance]) -> Json:
    return {
        "uid": uid,
        "modality": told.modality(modality(instances[0].modality)),
        "instance": [
            {"uid": one.sop_instance_uid, "sopClass": coding(URI, f"urn:oid:{one.sop_class_uid}")} for one in instances
        ],
    }
