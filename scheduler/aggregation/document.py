"""Evidence -> the report's document, by the package's rules and time scope. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from heapq import nsmallest
from typing import Any, NamedTuple

import numpy as np

from scheduler.aggregation.evidence import Computed, Evidence, InstanceEvidence, StudyFacts, Vector
from scheduler.aggregation.slices import SliceFacts, slice_facts
from shared.calibration import calibrated
from shared.model_contract import Finding, Level, ModelContract
from shared.reasons import REASON_TEXTS, Reason
from shared.rollup import in_scope, roll_up

DOCUMENT_SCHEMA = "overread.report/2"
# How many instances a finding names as its evidence.
MAX_EVIDENCE = 5


class Scored(NamedTuple):
    """An instance with its probability of each finding, and the frame that leads each finding."""

    instance: InstanceEvidence
    vector: Vector
    leading_frames: tuple[int, ...]


class _Scale(NamedTuple):
    """What a finding's probabilities are after the package's calibration; none where nothing was predicted on."""

    code: str
    threshold: float
    patient: float | None
    studies: list[float | None]


def build_document(contract: ModelContract, evidence: Evidence) -> dict[str, Any]:
    """What the report says, and why."""
    scored = [_score(contract, instance) for instance in evidence.instances if instance.frames]
    of_study: dict[int, list[Scored]] = {study.row: [] for study in evidence.studies}
    for one in scored:
        of_study[one.instance.study_row].append(one)
    by_study = {row: _study_vector(contract, members) for row, members in of_study.items()}
    scope = _studies_in_scope(contract, evidence.studies)
    counted = [one for one in scored if one.instance.study_row in scope]
    vectors = [vector for row, vector in sorted(by_study.items()) if row in scope and vector is not None]
    patient = _combine(contract, "studies", vectors)
    told = [patient, *(by_study[study.row] for study in evidence.studies)]
    scales = [_scale(index, finding, told) for index, finding in enumerate(contract.findings)]
    known = [instance for instance in evidence.instances if instance.study_row in scope]
    asked = [instance for instance in known if instance.reason is not Reason.NOT_SELECTED]
    slices = slice_facts(contract.slices.select, evidence.studies, known)
    return {
        "schema": DOCUMENT_SCHEMA,
        "untrained": contract.is_untrained,
        "findings": [
            _finding(index, finding, patient, scales[index], counted, slices)
            for index, finding in enumerate(contract.findings)
        ],
        "completeness": {
            "instances": len(asked),
            "predicted": len(counted),
            "share": len(counted) / len(asked) if asked else 0.0,
        },
        "engines": _engines(counted),
        "excluded": [_excluded(instance) for instance in asked if not instance.frames],
        "studies": [
            _study(study, study.row in scope, {scale.code: scale.studies[at] for scale in scales})
            for at, study in enumerate(evidence.studies)
        ],
        "series": slices.series,
        "time_scope": contract.time_scope.document,
        "aggregation": contract.aggregation.document,
    }


def _studies_in_scope(contract: ModelContract, studies: Sequence[StudyFacts]) -> frozenset[int]:
    """Rows of the studies that the patient's result is about; the others are trend."""
    kept = in_scope(contract.time_scope, [_date(study) for study in studies])
    return frozenset(study.row for study, keep in zip(studies, kept, strict=True) if keep)


def _date(study: StudyFacts) -> date | None:
    text = study.study_date
    try:
        return date.fromisoformat(text) if len(text) == len("YYYYMMDD") and text.isdigit() else None
    except ValueError:
        return None


def _combine(contract: ModelContract, level: Level, vectors: Sequence[Vector]) -> Vector | None:
    """The probabilities of each finding of one level into those of the level above; None of none."""
    if not vectors:
        return None
    columns = zip(contract.rules[level], zip(*vectors, strict=True), strict=True)
    return tuple([roll_up(rule, column) for rule, column in columns])


def _score(contract: ModelContract, instance: InstanceEvidence) -> Scored:
    vector = _combine(contract, "frames", [vector for _, vector in instance.frames])
    if vector is None:
        raise AssertionError("an instance without frames is not scored")
    if len(instance.frames) == 1:
        return Scored(instance, vector, (instance.frames[0][0],) * len(vector))
    leading = tuple(
        max(instance.frames, key=lambda frame, index=index: (frame[1][index], -frame[0]))[0]  # type: ignore[misc]
        for index in range(len(vector))
    )
    return Scored(instance, vector, leading)


def _study_vector(contract: ModelContract, scored: Sequence[Scored]) -> Vector | None:
    by_series: dict[str, list[Vector]] = defaultdict(list)
    for one in scored:
        by_series[one.instance.series_instance_uid].append(one.vector)
    series = [_combine(contract, "instances", vectors) for vectors in by_series.values()]
    return _combine(contract, "series", [vector for vector in series if vector is not None])


def _finding(
    index: int, finding: Finding, patient: Vector | None, scale: _Scale, counted: Sequence[Scored], slices: SliceFacts
) -> dict[str, Any]:
    rolled_up = None if patient is None else patient[index]
    num_over = sum(one.vector[index] >= finding.threshold for one in counted)
    leading = nsmallest(MAX_EVIDENCE, counted, key=lambda one: (-one.vector[index], one.instance.sop_instance_uid))
    driving = leading[: max(1, num_over)]
    return {
        "code": finding.code,
        "display": finding.display,
        "background": finding.background,
        "probability": scale.patient,
        "threshold": scale.threshold,
        "aggregation": finding.aggregation.document if finding.aggregation else None,
        "uncalibrated": {"probability": rolled_up, "threshold": finding.threshold} if finding.calibration else None,
        "decision": None if rolled_up is None or finding.background else rolled_up >= finding.threshold,
        "counts": {"instances": len(counted), "over_threshold": num_over},
        "evidence": [_evidence(index, one, slices) for one in driving],
    }


def _scale(index: int, finding: Finding, vectors: Sequence[Vector | None]) -> _Scale:
    """Of the patient's vector and those of the studies; together, as a call of numpy takes longer than its work."""
    known = [finding.threshold, *(vector[index] for vector in vectors if vector is not None)]
    threshold, *values = calibrated(finding, np.array(known)).tolist() if finding.calibration else known
    rest = iter(values)
    patient, *studies = [None if vector is None else next(rest) for vector in vectors]
    return _Scale(finding.code, threshold, patient, studies)


def _engines(counted: Sequence[Scored]) -> list[dict[str, Any]]:
    """What computed the frames that the report counts, and how many of them."""
    frames = Counter(computed for one in counted for computed in one.instance.computed_by)
    return [computed._asdict() | {"frames": count} for computed, count in sorted(frames.items(), key=_by_engine)]


def _by_engine(entry: tuple[Computed, int]) -> tuple[str, str, int]:
    computed, _ = entry
    return computed.engine, computed.precision, computed.batch_size or 0


def _evidence(index: int, one: Scored, slices: SliceFacts) -> dict[str, Any]:
    return {
        "sop_instance_uid": one.instance.sop_instance_uid,
        "series_instance_uid": one.instance.series_instance_uid,
        "blob_sha256": one.instance.blob_sha256,
        "frame": one.leading_frames[index],
        "slice": slices.place_of.get((one.instance.blob_sha256, one.leading_frames[index])),
        "probability": one.vector[index],
        "conflict": one.instance.conflict,
    }


def _excluded(instance: InstanceEvidence) -> dict[str, Any]:
    reason = instance.reason or Reason.INVALID
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "reason": reason.value,
        "reason_text": REASON_TEXTS[reason],
        "detail": instance.detail,
    }


def _study(study: StudyFacts, is_in_scope: bool, probabilities: dict[str, float | None]) -> dict[str, Any]:
    return {
        "study_instance_uid": study.study_instance_uid,
        "study_date": study.study_date,
        "modalities": list(study.modalities),
        "in_scope": is_in_scope,
        "conflict": study.conflict,
        "probabilities": probabilities,
    }
