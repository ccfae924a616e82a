"""Every patient of a job is reported, and the newest report counts each done instance once."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import String, cast, func, literal, select
from sqlalchemy.orm import Session

from shared.models import Instance, Item, JobPatient, Report, Series, Study
from shared.oracle.findings import Finding, Verdict, found, gather, stream
from shared.oracle.words import UNREPORTED
from shared.states import ItemState


def check_reports(session: Session) -> Iterator[Finding]:
    """Patients of jobs, then the newest report of each patient and model version."""
    patient = cast(JobPatient.job_id, String) + literal(", patient row ") + cast(JobPatient.patient_id, String)
    waiting = select(patient).where(JobPatient.reported_at.is_(None))
    yield from found(session, Verdict.LOST, UNREPORTED, "job", waiting)
    kept = select(Item.id).where(
        Item.job_id == JobPatient.job_id,
        Item.patient_id == JobPatient.patient_id,
        Item.state.in_([ItemState.DONE, ItemState.FAILED]),
    )
    without = select(patient).where(JobPatient.reported_at.is_not(None), JobPatient.report_id.is_(None), kept.exists())
    yield from found(session, Verdict.LOST, "a patient with outcomes was left without a report", "job", without)
    yield from _counts(session)


@dataclass
class _Counts:
    """What the newest reports say against what items say."""

    unreported: list[str] = field(default_factory=list)
    too_few: list[str] = field(default_factory=list)
    too_many: list[str] = field(default_factory=list)


def _counts(session: Session) -> Iterator[Finding]:
    true = _done_instances(session)
    counts = _Counts()
    for row in stream(session, _newest()):
        _compare(counts, row, true.pop((row.patient_id, row.model_version_id), {}))
    # What is left are patients with results of whom no report tells.
    counts.unreported += [f"patient row {patient}, model version row {version}" for patient, version in true]
    yield from gather(Verdict.LOST, "a patient with results has no report", counts.unreported)
    yield from gather(Verdict.LOST, "a patient's newest report leaves out done instances", counts.too_few)
    yield from gather(Verdict.DOUBLED, "a patient's newest report counts an instance twice", counts.too_many)


def _newest() -> Any:
    key = (Report.patient_id, Report.model_version_id)
    place = func.row_number().over(partition_by=key, order_by=Report.number.desc())
    ranked = select(Report.id.label("id"), place.label("place")).subquery()
    return (
        select(Report.id, Report.patient_id, Report.model_version_id, Report.document)
        .join(ranked, ranked.c.id == Report.id)
        .where(ranked.c.place == 1)
    )


def _done_instances(session: Session) -> dict[tuple[int, int], dict[str, int]]:
    """By patient and model version: of each study, how many instances have a result."""
    statement = (
        select(
            Item.patient_id,
            Item.model_version_id,
            Study.study_instance_uid,
            func.count(func.distinct(Item.instance_id)),
        )
        .join(Instance, Instance.id == Item.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        # What a verification looked at again is no patient's item.
        .where(Item.state == ItemState.DONE, Item.patient_id.is_not(None))
        .group_by(Item.patient_id, Item.model_version_id, Study.study_instance_uid)
    )
    instances: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for patient_id, version_id, study, number in stream(session, statement):
        instances[(patient_id, version_id)][study] = number
    return dict(instances)


def _compare(counts: _Counts, report: Any, true: dict[str, int]) -> None:
    document = report.document
    said = document["completeness"]
    studies = [study["study_instance_uid"] for study in document["studies"]]
    in_scope = {study["study_instance_uid"] for study in document["studies"] if study["in_scope"]}
    done = sum(number for study, number in true.items() if study in in_scope)
    if said["predicted"] < done or true.keys() - set(studies):
        counts.too_few.append(f"report {report.id}")
    accounted = said["predicted"] + len(document["excluded"])
    if said["predicted"] > done or accounted != said["instances"] or len(set(studies)) < len(studies):
        counts.too_many.append(f"report {report.id}")
