"""Sources of documents in the situations that reports come in, made by what makes reports, without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from api.documents.source import IndexedInstance, IndexedStudy, Source
from api.pictures import Wanted
from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import Evidence, InstanceEvidence, StudyFacts
from shared.model_contract import ModelContract
from shared.reasons import Reason
from shared.reports.digest import content_digest
from shared.reports.trend import trend
from shared.reports.versions import Act, NewestReport, next_version
from shared.states import ReportOrigin, ReportStatus
from tests.model_samples import contract_fields

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LONG_UID = "2.25." + "9" * 59
MADE_AT = datetime(2026, 2, 3, 4, 5, 6, 700000, tzinfo=UTC)
SIGNED_AT = datetime(2026, 2, 4, 9, 30, tzinfo=UTC)
REVIEWER = "Dr. Jane Roe"
NOTE = "Seen on the left, too."
MAX = {"kind": "max"}
ISSUER = "ST MARY"
PATIENT = {
    "key": "0123456789abcdef" * 2,
    "patient_id": "P1",
    "issuer": ISSUER,
    "patient_name": "Doe^Jane",
    "patient_birth_date": "19700203",
    "patient_sex": "F",
}


def package(*codes: str, **changes: Any) -> ModelContract:
    """A package with these findings, of all a patient's studies; `changes` are to every finding."""
    findings = [{"code": code, "display": code.capitalize(), "threshold": 0.5} | changes for code in codes]
    rules = {"frames": MAX, "instances": MAX, "series": MAX, "studies": MAX}
    fields = contract_fields(task="multilabel") | {"aggregation": rules, "time_scope": {"kind": "all"}}
    return ModelContract.model_validate(fields | {"findings": findings})


def multiclass() -> ModelContract:
    """A package one of whose findings is the background."""
    return ModelContract.model_validate(contract_fields(task="multiclass"))


def study(row: int = 1, uid: str = "", day: str = "20260102") -> StudyFacts:
    return StudyFacts(row, uid or f"1.2.826.{row}", day, "101112", conflict=False, modalities=("CT",))


def instance(number: int, *frames: Sequence[float], study_row: int = 1, uid: str = "") -> InstanceEvidence:
    """With a vector of probabilities for each frame; none where it failed."""
    vectors = tuple((at, tuple(vector)) for at, vector in enumerate(frames, start=1))
    reason = None if frames else Reason.DECODE_FAILED
    names = f"{number:064x}", uid or f"1.3.6.1.{number}", f"1.3.6.{study_row}"
    return InstanceEvidence(*names, study_row, False, vectors, reason, number_of_frames=max(1, len(frames)))


def evidence(*instances: InstanceEvidence, studies: Sequence[StudyFacts] = ()) -> Evidence:
    return Evidence(tuple(studies) or (study(),), instances)


def review(*, signed: bool, verdicts: Mapping[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A reviewer's word; `verdicts` by the finding's code."""
    said = [
        {"finding": code, "verdict": verdict, "decision": True, "value": verdict == "agree", "note": NOTE}
        for code, verdict in (verdicts or {}).items()
    ]
    told = {"id": str(MADE_AT), "number": 1, "content_digest": "c" * 64}
    return {
        "reviewer": REVIEWER,
        "reviewed_at": SIGNED_AT.isoformat(),
        "comment": "Compared with the film of 2019.",
        "reason": "",
        "verdicts": said,
        "signed": {"by": REVIEWER, "at": SIGNED_AT.isoformat(), "signs": told} if signed else None,
    } | changes


def source(  # noqa: PLR0913 - each is a way in which reports differ
    of: Evidence | None = None,
    by: ModelContract | None = None,
    *,
    patient: Mapping[str, str] | None = None,
    sop_class_uid: str = CT_IMAGE,
    modality: str = "CT",
    maps: Mapping[int, Wanted] | None = None,
    more: Mapping[str, Any] | None = None,
    at: datetime = MADE_AT,
) -> Source:
    """A preliminary report's; `maps` are pictures of the first rows of evidence, by the id of their heat map."""
    of, by = of or evidence(instance(1, [0.9])), by or package("lesion")
    document = build_document(by, of) | {
        "patient": PATIENT | dict(patient or {}),
        "model": {"name": "sample", "version": 3, "digest": "d" * 64, "intended_use": "None."},
    }
    document |= {"trend": trend(None, document)} | dict(more or {})
    report = next_version(Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, at), document, "i" * 64, None)
    return _settled(report, maps or {}, _instances(of, sop_class_uid, modality))


def _instances(of: Evidence, sop_class_uid: str, modality: str) -> dict[str, IndexedInstance]:
    studies = {one.row: one for one in of.studies}
    return {
        one.blob_sha256: IndexedInstance(
            study_instance_uid=studies[one.study_row].study_instance_uid,
            series_instance_uid=one.series_instance_uid,
            modality=modality,
            body_part_examined="CHEST",
            laterality="",
            sop_instance_uid=one.sop_instance_uid,
            sop_class_uid=sop_class_uid,
            number_of_frames=one.number_of_frames,
        )
        for one in of.instances
        if one.frames
    }


def _settled(report: dict[str, Any], maps: Mapping[int, Wanted], instances: Mapping[str, IndexedInstance]) -> Source:
    """As the API makes it: with the identity fixed, so that a sample is the same each time, and heat maps named."""
    document = report["document"]
    number = document["version"]["number"]
    document["version"]["id"] = f"0198c0de-0000-7000-8000-{number:012d}"
    ids = iter(maps)
    for finding in document["findings"]:
        for row in finding["evidence"]:
            row["heat_map"] = next(({"id": one, "method": "cam"} for one in ids), None)
    named = {row["blob_sha256"] for finding in document["findings"] for row in finding["evidence"]}
    kept = {sha256: one for sha256, one in instances.items() if sha256 in named}
    studies = {one["study_instance_uid"]: IndexedStudy("101112", "S1", "A1") for one in document["studies"]}
    return Source(document, content_digest(document), maps, kept, studies)


def moved(of: Source, status: ReportStatus, said: Mapping[str, Any], origin: ReportOrigin | None = None) -> Source:
    """The next version, made by a person who says this."""
    told = of.document["version"]
    newest = NewestReport(told["id"], told["number"], ReportStatus(told["status"]), "i" * 64, of.document)
    act = Act(origin or ReportOrigin.SIGNATURE, status, SIGNED_AT, principal_id=1, by=REVIEWER)
    document = {name: part for name, part in of.document.items() if name not in ("version", "changes")}
    report = next_version(act, document | {"review": dict(said)}, "i" * 64, newest)
    report["document"]["version"]["id"] = f"0198c0de-0000-7000-8000-{told['number'] + 1:012d}"
    return replace(
        of, document=report["document"], content_digest=content_digest(report["document"]), previous=of.document
    )


def told_of_studies(of: Source, **facts: str) -> Source:
    """Where the index says this of every study."""
    return replace(of, studies={uid: replace(one, **facts) for uid, one in of.studies.items()})


def signed(of: Source, **verdicts: str) -> Source:
    """Signed on the spot."""
    return moved(of, ReportStatus.FINAL, review(signed=True, verdicts=verdicts))


def situations() -> dict[str, Source]:
    """Every kind of report, by its name."""
    plain = source(
        evidence(
            instance(
                1,
                [0.2],
            ),
            instance(2, [0.1]),
        )
    )
    positive = source(evidence(instance(1, [0.9734123456789012]), instance(2, [0.6])))
    two = evidence(
        instance(1, [0.9]),
        instance(2, [0.8], study_row=2),
        instance(3, [0.7], study_row=3),
        studies=[study(1), study(2, day="20260301"), study(3, day="20250101")],
    )
    final = signed(positive, lesion="agree")
    retraction = review(signed=False, reason="Wrong patient.")
    calibration = {"kind": "platt", "slope": 1.0, "intercept": -2.0}
    late = source(evidence(instance(1, [0.9]), studies=[study(1), study(2, day="20260301")]))
    return {
        "normal": plain,
        "positive": positive,
        "multi_frame": source(evidence(instance(1, [0.1], [0.9], [0.3])), sop_class_uid=ENHANCED_CT),
        "several_studies": source(two),
        "newest_study_without_evidence": late,
        "two_findings": source(evidence(instance(1, [0.9, 0.1])), package("mass", "nodule")),
        "no_prediction": source(evidence(instance(1))),
        "calibrated": source(evidence(instance(1, [0.9])), package("lesion", calibration=calibration)),
        "reviewed": moved(
            positive, ReportStatus.PRELIMINARY, review(signed=False, verdicts={"lesion": "unsure"}), ReportOrigin.REVIEW
        ),
        "signed": final,
        "amended": moved(
            final, ReportStatus.AMENDED, review(signed=True, verdicts={"lesion": "disagree"}), ReportOrigin.AMENDMENT
        ),
        "retracted": moved(final, ReportStatus.RETRACTED, retraction, ReportOrigin.RETRACTION),
        "hostile_words": hostile_words(),
        "long_uids": source(evidence(instance(1, [0.9], uid=LONG_UID), studies=[study(uid=LONG_UID)])),
        "zoned": told_of_studies(signed(positive), study_description="CT\\of the chest", timezone_offset="-0930"),
        "background": source(evidence(instance(1, [0.2, 0.7, 0.1])), multiclass()),
    } | {f"patient_{name}": source(patient=patient) for name, patient in PATIENTS.items()}


def hostile_words() -> Source:
    """Everything that a person or a package may say, said badly."""
    odd = "\\<script>alert('x')</script>^=&\x07\n# " + "x" * 200
    of = source(by=package("a" * 17, display=odd[:200]))
    said = review(signed=True, verdicts={"a" * 17: "disagree"}, comment=odd * 50, reviewer=odd)
    said["verdicts"][0]["note"] = odd
    said["signed"]["by"] = odd
    return moved(of, ReportStatus.FINAL, said)


def unsaid(patient: Mapping[str, str]) -> list[str]:
    """What the patient's files do not say and a DICOMDIR would take."""
    return [] if patient.get("patient_id", "P1") else ["Patient ID"]


PATIENTS: dict[str, dict[str, str]] = {
    "unknown": {"patient_id": "", "patient_name": "", "patient_birth_date": "", "patient_sex": ""},
    "other_sex": {"patient_sex": "O"},
    "junk": {"patient_sex": "<b>", "patient_birth_date": "19700231"},
    "chinese": {"patient_name": "Wang^XiaoDong=王^小东=", "patient_id": "病历7"},
    "chinese_only": {"patient_name": "王小东"},
    "arabic": {"patient_name": "قباني^لنزار"},
    "cyrillic": {"patient_name": "Люкceмбypг^Роза"},
    "hostile": {
        "patient_name": "<script>alert(1)</script>\\x^^^^^^^\x00\x1b[0m=a=b=c=d",
        "patient_id": "a\\b^c\x07\n" + "x" * 80,
        "issuer": "\\" * 64,
        "patient_birth_date": "1970-02-03",
    },
    "long": {"patient_name": "x" * 324, "patient_id": "y" * 64},
}
