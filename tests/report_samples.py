"""Report versions as the product makes them, of made patients, and the sources of their documents."""

import copy
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image
from pydicom.uid import generate_uid

from api.cli.phantoms import draw_film_and_place
from api.documents.source import Source
from api.pictures import Wanted
from scheduler.aggregation.document import build_document
from scheduler.aggregation.evidence import Computed, Evidence, InstanceEvidence, StudyFacts
from shared.dicom.planes import Plane
from shared.model_contract import ModelContract
from shared.reasons import Reason
from shared.reports.trend import trend
from shared.reports.versions import Act, NewestReport, next_version
from shared.states import NO_MAP_TEXTS, NoMap, ReportOrigin, ReportStatus
from tests.model_samples import contract_fields
from tests.slice_samples import AXIAL

NOW = datetime(2026, 11, 29, 20, 15, tzinfo=UTC)
MAX = {"kind": "max"}
CHEST = ("effusion", "mass", "nodule")
CHINESE, ARABIC, CYRILLIC = "Wang^Xiaoming=王^小明", "الحسن^محمد", "Иванов^Иван^Иванович"


def uid_of(*names: object) -> str:
    """The same UID for the same names."""
    return str(generate_uid("1.2.826.0.1.3680043.10.999.", [str(name) for name in names]))


def chest_contract(**changes: Any) -> ModelContract:
    """A multilabel package with three findings, each with its own operating point."""
    points = {"effusion": 0.42, "mass": 0.5, "nodule": 0.35}
    fields = contract_fields(task="multilabel") | {
        "findings": [{"code": code, "display": code.capitalize(), "threshold": points[code]} for code in CHEST],
        "aggregation": {"frames": MAX, "instances": MAX, "series": {"kind": "mean_top_k", "k": 3}, "studies": MAX},
        "time_scope": {"kind": "window_days", "days": 365},
        "intended_use": "Triage of frontal chest films of adults for a radiologist's review.",
    }
    return ModelContract.model_validate(fields | changes)


@dataclass(frozen=True)
class Patient:
    """Who a report is about."""

    name: str = "Jansen^Maria"
    patient_id: str = "P-004711"
    birth_date: str = "19580314"
    sex: str = "F"


@dataclass(frozen=True)
class Version:
    """A report version: its row's columns, its source, and its pictures by the id of the heat map."""

    row: dict[str, Any]
    source: Source
    pictures: Mapping[int, bytes]

    @property
    def newest(self) -> NewestReport:
        return NewestReport(
            **{name: self.row[name] for name in ("id", "number", "status", "inputs_digest", "document")}
        )


def study(number: int, day: str, *, conflict: bool = False) -> StudyFacts:
    return StudyFacts(number, uid_of("study", number), day, "093000", conflict, ("CR",))


def image(number: int, study_row: int, *probabilities: float, reason: Reason | None = None) -> InstanceEvidence:
    """An instance of one frame, or without where there is a reason."""
    frames = ((1, tuple(probabilities)),) if probabilities else ()
    return InstanceEvidence(
        f"{number:064x}",
        uid_of("image", number),
        uid_of("series", study_row),
        study_row,
        conflict=False,
        frames=frames,
        reason=reason,
        computed_by=(Computed("openvino", "bfloat16", 16),) if frames else (),
    )


def results(
    evidence: Evidence,
    contract: ModelContract | None = None,
    *,
    patient: Patient | None = None,
    before: Version | None = None,
    model_version: int = 3,
    at: datetime = NOW,
    extra: dict[str, Any] | None = None,
) -> Version:
    """What the aggregation makes of the evidence."""
    contract, patient = contract or chest_contract(), patient or Patient()
    document = build_document(contract, evidence) | _nouns(patient, contract, model_version) | (extra or {})
    document["trend"] = trend(before.row["document"] if before else None, document)
    act = Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, at)
    return version_of(next_version(act, document, "d" * 64, before.newest if before else None))


def _nouns(patient: Patient, contract: ModelContract, version: int) -> dict[str, Any]:
    return {
        "patient": {
            "key": "k" * 26,
            "patient_id": patient.patient_id,
            "issuer": "local",
            "patient_name": patient.name,
            "patient_birth_date": patient.birth_date,
            "patient_sex": patient.sex,
        },
        "model": {
            "name": contract.name,
            "version": version,
            "digest": "4f" * 32,
            "intended_use": contract.intended_use,
        },
    }


def reviewed(before: Version, act: ReportOrigin, status: ReportStatus, **said: Any) -> Version:
    """The version that a person makes of the one before: a review, a signature, an amendment or a retraction."""
    document = {name: part for name, part in before.row["document"].items() if name not in ("version", "changes")}
    at = datetime.fromisoformat(before.row["document"]["version"]["created_at"]) + timedelta(minutes=25)
    review = (document.get("review") or {}) | {"reviewer": "Dr. A. Okafor", "reviewed_at": at.isoformat()}
    document["review"] = {"comment": "", "reason": "", "verdicts": [], "signed": None} | review | said
    signs: UUID | None = None
    if status in (ReportStatus.FINAL, ReportStatus.AMENDED):
        signs = before.row["id"]
        signed = {name: str(before.row[name]) if name == "id" else before.row[name] for name in ("id", "number")}
        signed["content_digest"] = before.row["content_digest"]
        document["review"]["signed"] = {"by": "Dr. A. Okafor", "at": at.isoformat(), "signs": signed}
    elif status is ReportStatus.RETRACTED:
        document["review"]["signed"] = None
    made = Act(act, status, at, principal_id=2, by="Dr. A. Okafor", signs=signs)
    return version_of(next_version(made, document, before.row["inputs_digest"], before.newest))


def version_of(row: dict[str, Any]) -> Version:
    """With a heat map of each row of evidence over its operating point."""
    document, pictures, wanted = copy.deepcopy(row["document"]), {}, {}
    number = 0
    for finding in document["findings"]:
        for one in finding["evidence"]:
            is_over = one["probability"] >= finding["threshold"]
            number += is_over
            links = {"self": f"/api/v1/heat-maps/{number}", "png": f"/api/v1/heat-maps/{number}.png"}
            named = {"id": number, "method": "cam", "links": links}
            one |= {
                "heat_map": named if is_over else None,
                "no_heat_map": None if is_over else NO_MAP_TEXTS[NoMap.HEAD],
            }
            if is_over:
                pictures[number] = picture(number)
                path = f"/store/{one['blob_sha256']}"
                wanted[number] = Wanted(path, one["frame"], f"/store/{number:064x}", 0, "stretch", (64, 64))
    return Version(row, Source(document, row["content_digest"], wanted), pictures)


@cache
def picture(number: int) -> bytes:
    """A made chest film with a lesion, and warmth over it, as PNG."""
    drawn, box = draw_film_and_place(
        np.random.default_rng([7, number, 0]), np.random.default_rng([7, number, 1]), 320, lesion=True
    )
    rows, columns = np.indices(drawn.shape)
    middle, reach = ((box[0] + box[1]) / 2, (box[2] + box[3]) / 2), 1.2 * max(box[1] - box[0], box[3] - box[2])
    warmth = np.exp(-(((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / reach**2))[..., np.newaxis]
    grey = np.repeat(drawn[..., np.newaxis] * 255.0, 3, axis=2)
    colour = np.array([180.0, 0.0, 0.0]) + np.array([75.0, 230.0, 60.0]) * warmth
    buffer = io.BytesIO()
    blended = grey * (1 - 0.55 * warmth) + colour * 0.55 * warmth
    Image.fromarray(np.clip(blended, 0, 255).astype(np.uint8)).quantize(96).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def normal(patient: Patient | None = None) -> Version:
    """Two films, nothing over its operating point."""
    evidence = Evidence((study(1, "20261128"),), (image(1, 1, 0.08, 0.03, 0.11), image(2, 1, 0.12, 0.04, 0.09)))
    return results(evidence, patient=patient)


def positive(patient: Patient | None = None) -> Version:
    """A second version: a late study with an effusion and a nodule, by another version of the model, follow-ups."""
    first = Evidence((study(1, "20260714"),), (image(1, 1, 0.21, 0.06, 0.18), image(2, 1, 0.17, 0.05, 0.12)))
    before = results(first, patient=patient, model_version=2, at=NOW - timedelta(days=138))
    late = (image(3, 2, 0.87, 0.11, 0.64), image(4, 2, 0.79, 0.08, 0.41))
    second = Evidence((*first.studies, study(2, "20261128")), (*first.instances, *late))
    follow_ups = [
        follow_up("effusion", "review", "urgent", "Read today; consider ultrasound.", days=1),
        follow_up("nodule", "control_study", "routine", "CT of the chest, low dose.", days=90),
    ]
    calibrated = chest_contract(
        findings=[
            {"code": "effusion", "display": "Effusion", "threshold": 0.42}
            | {"calibration": {"kind": "platt", "slope": 1.1, "intercept": -0.2}},
            {"code": "mass", "display": "Mass", "threshold": 0.5},
            {"code": "nodule", "display": "Nodule", "threshold": 0.35},
        ]
    )
    extra = {"follow_ups": follow_ups}
    return results(second, calibrated, patient=patient, before=before, extra=extra)


def follow_up(finding: str, action: str, urgency: str, text: str, *, days: int) -> dict[str, Any]:
    is_urgent = urgency == "urgent"
    since = NOW if is_urgent else NOW.replace(hour=0, minute=0)
    said = {"finding": finding, "display": finding.capitalize(), "action": action, "urgency": urgency, "text": text}
    due_at = (since + timedelta(days=days)).isoformat()
    return said | {"due_at": due_at, "counted_from": "report" if is_urgent else "study"}


def incomplete() -> Version:
    """Of seven images three were left out, one study lies under two patients."""
    good = (
        image(1, 1, 0.55, 0.2, 0.1),
        image(2, 1, 0.31, 0.2, 0.1),
        image(3, 1, 0.3, 0.2, 0.1),
        image(4, 2, 0.2, 0.1, 0.1),
    )
    reasons = (Reason.DECODE_FAILED, Reason.TRUNCATED, Reason.DECODERS_DISAGREE)
    bad = tuple(image(number, 1, reason=reason) for number, reason in enumerate(reasons, start=10))
    return results(Evidence((study(1, "20261128"), study(2, "20260102", conflict=True)), (*good, *bad)))


def unread() -> Version:
    """Nothing could be read."""
    bad = tuple(image(number, 1, reason=Reason.DECODE_CRASHED) for number in (1, 2))
    return results(Evidence((study(1, "20261128"),), bad))


def long_history() -> Version:
    """Thirty studies over four years, the model's versions changing."""
    version: Version | None = None
    days = [datetime(2022, 11, 3, tzinfo=UTC) + timedelta(days=51 * number) for number in range(30)]
    studies: list[StudyFacts] = []
    images: list[InstanceEvidence] = []
    for number, day in enumerate(days, start=1):
        level = 0.15 + 0.6 * number / 30 + 0.1 * math.sin(number)
        studies.append(study(number, f"{day:%Y%m%d}"))
        images.append(image(number, number, level, 0.1 + 0.05 * math.cos(number), 0.3 + 0.1 * math.sin(number / 2)))
        if number % 10 == 0:
            # A new version of the model is asked about the latest studies only.
            seen = Evidence(tuple(studies[-10:]), tuple(images[-10:]))
            version = results(
                seen, chest_contract(time_scope={"kind": "all"}), before=version, model_version=number // 10
            )
    assert version is not None
    seen = Evidence(tuple(studies), tuple(images[-10:]))
    return results(seen, chest_contract(time_scope={"kind": "all"}), before=version, model_version=3)


def slices() -> Version:
    """A CT of thirty slices with a gap and a duplicate."""
    members = tuple(
        image(number, 1, 0.1, 0.62 if number == 14 else 0.2, 0.1)._replace(planes=(Plane(AXIAL, (0.0, 0.0, at)),))
        for number, at in enumerate([2.5 * place for place in range(30) if place != 20] + [25.0])
    )
    return results(Evidence((study(1, "20261128"),), members))


def verdict(finding: str, said: str, value: bool | None, note: str = "", *, decision: bool = True) -> dict[str, Any]:
    return {"finding": finding, "verdict": said, "decision": decision, "value": value, "note": note}


VERDICTS = [
    verdict("effusion", "agree", value=True, note="Left, about 300 ml."),
    verdict("mass", "agree", value=False, decision=False),
    verdict("nodule", "disagree", value=False, note="Nipple shadow; not seen on the lateral film."),
]


def signed(patient: Patient | None = None) -> Version:
    """Reviewed, then signed."""
    review = reviewed(positive(patient), ReportOrigin.REVIEW, ReportStatus.PRELIMINARY, verdicts=VERDICTS)
    comment = "Compared with the films of July. The effusion is new."
    return reviewed(review, ReportOrigin.SIGNATURE, ReportStatus.FINAL, verdicts=VERDICTS, comment=comment)


def amended() -> Version:
    """Signed, and then said otherwise."""
    others = [VERDICTS[0], VERDICTS[1], verdict("nodule", "unsure", value=None, note="CT to follow.")]
    reason = "The lateral film came later."
    return reviewed(signed(), ReportOrigin.AMENDMENT, ReportStatus.AMENDED, verdicts=others, reason=reason)


def retracted() -> Version:
    """Signed, and taken back."""
    return reviewed(signed(), ReportOrigin.RETRACTION, ReportStatus.RETRACTED, reason="Films of another patient.")


def new_after_signature() -> Version:
    """Signed, and then a study came."""
    evidence = Evidence(
        (study(2, "20261128"), study(3, "20261202")), (image(3, 2, 0.87, 0.11, 0.64), image(9, 3, 0.3, 0.1, 0.1))
    )
    return results(evidence, before=signed(), at=NOW + timedelta(days=4))


SAMPLES: dict[str, Callable[[], Version]] = {
    "normal": normal,
    "positive": positive,
    "incomplete": incomplete,
    "unread": unread,
    "long": long_history,
    "slices": slices,
    "chinese-name": lambda: positive(Patient(CHINESE, "患-0815", "19700101", "M")),
    "arabic-name": lambda: normal(Patient(ARABIC, "P-0816", "19811231", "M")),
    "cyrillic-name": lambda: normal(Patient(CYRILLIC, "P-0817", "", "O")),
    "signed": signed,
    "amended": amended,
    "retracted": retracted,
    "new-after-signature": new_after_signature,
}
