"""What the report is worth, who it is about, and what to beware of."""

from collections.abc import Iterator
from typing import Any

from api.documents.page import Banner, Block, Cell, Facts, Note, Tone
from api.documents.text import clean, day, moment, person_name
from api.documents.wording import Words

Document = dict[str, Any]
MOST_STUDIES = 3  # named at the head; the table of studies has all


def banner(document: Document, words: Words) -> Banner:
    """The status, and by whom it is so."""
    status, review = document["version"]["status"], document.get("review") or {}
    if status == "retracted":
        title = words.say("banner.retracted", **_by(review, "reviewer", "reviewed_at"))
        return Banner(status, title, _reason(review, words))
    lines = _preliminary(document, words) if status == "preliminary" else _signed(status, review, words)
    return Banner(status, words.say(f"banner.{status}"), lines)


def _preliminary(document: Document, words: Words) -> list[str]:
    lines = [words.say("banner.preliminary_what")]
    if review := document.get("review"):
        lines.append(words.say("banner.reviewed", **_by(review, "reviewer", "reviewed_at")))
    changes = document.get("changes") or {}
    if changes.get("status", {}).get("before") in ("final", "amended"):
        lines.append(words.say("banner.again", number=changes["since"]["number"]))
    return lines


def _signed(status: str, review: Document, words: Words) -> list[str]:
    signed = review["signed"]
    key = "banner.amended_by" if status == "amended" else "banner.signed"
    said = words.say(key, number=signed["signs"]["number"], **_by(signed, "by", "at"))
    return [said, *_reason(review, words)]


def _reason(review: Document, words: Words) -> list[str]:
    return [words.say("banner.reason", reason=clean(review["reason"]))] if review.get("reason") else []


def _by(said: Document, person: str, at: str) -> dict[str, str]:
    return {"by": clean(said[person]), "at": moment(said[at])}


def patient_name(document: Document, words: Words) -> str:
    """The patient as people speak of them."""
    patient = document["patient"]
    name = person_name(patient["patient_name"] or "")
    if name or not patient["patient_id"]:
        return name or words.say("page.nameless")
    return words.say("page.patient", patient_id=clean(patient["patient_id"]))


def identity(document: Document, words: Words) -> str:
    """Who every page is about, in one line."""
    patient = document["patient"]
    return words.say(
        "page.identity",
        who=patient_name(document, words),
        patient_id=clean(patient["patient_id"]) or words.say("text.none"),
        born=day(patient["patient_birth_date"] or "") or words.say("text.unknown"),
    )


def facts(document: Document, words: Words) -> Facts:
    """Patient, studies, model and version."""
    patient, model, version = document["patient"], document["model"], document["version"]
    issuer = [words.say("patient.issued", issuer=clean(patient["issuer"]))]
    sex = patient["patient_sex"] or ""
    pairs = [
        ("patient.id", Cell(clean(patient["patient_id"]) or words.say("text.none"), issuer, Tone.STRONG)),
        ("patient.born", Cell(day(patient["patient_birth_date"] or "") or words.say("text.unknown"))),
        ("patient.sex", Cell(words.of("sex", clean(sex), words.say("text.unknown") if not sex else ""))),
        *_studies(document, words),
        ("patient.model", Cell(words.say("patient.model_text", name=model["name"], version=model["version"]))),
        (
            "patient.report",
            Cell(words.say("patient.report_text", number=version["number"], at=moment(version["created_at"]))),
        ),
    ]
    return Facts([(words.say(key), cell) for key, cell in pairs], is_wide=True)


def _studies(document: Document, words: Words) -> Iterator[tuple[str, Cell]]:
    counted = sorted(
        (one for one in document["studies"] if one["in_scope"]), key=lambda one: one["study_date"], reverse=True
    )
    if len(counted) > MOST_STUDIES:
        latest = day(counted[0]["study_date"]) or words.say("text.unknown")
        yield "patient.studies", Cell(words.say("patient.studies_text", count=len(counted), day=latest))
        return
    for study in counted:
        when = day(study["study_date"]) or words.say("text.unknown")
        yield "patient.study", Cell(f"{when} {clean(words.list(study['modalities']))}", [study["study_instance_uid"]])


def warnings(document: Document, words: Words) -> Iterator[Block]:
    """What a reader must know before the results."""
    said = document["completeness"]
    if document["untrained"]:
        yield Note(words.say("warning.untrained"), Tone.WARNING)
    if said["predicted"] == 0:
        yield Note(words.say("warning.unread"), Tone.WARNING)
    elif said["predicted"] < said["instances"]:
        missing = said["instances"] - said["predicted"]
        yield Note(words.say("warning.incomplete", missing=missing, images=said["instances"]), Tone.WARNING)
    evidence = (one for finding in document["findings"] for one in finding["evidence"])
    if any(one["conflict"] for one in (*document["studies"], *evidence)):
        yield Note(words.say("warning.conflict"), Tone.WARNING)
