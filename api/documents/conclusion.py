"""What a report says in sentences, for documents that have room for text: DICOM SR, FHIR. English; pure."""

from collections.abc import Iterator
from typing import Any

from shared.states import SIGNED_STATUSES, ReportStatus

Document = dict[str, Any]

NOT_ALONE = "It assists a physician and is not for diagnostic use on its own."


def conclusion(document: Document) -> list[str]:
    """The sentences, the standing of the report first."""
    model = document["model"]
    said = document["completeness"]
    return [
        standing(document),
        f"Made by {model['name']}, version {model['version']}, from {said['predicted']} of {said['instances']} images.",
        *(_result(finding) for finding in document["findings"]),
        *_of_reviewer(document),
        *_follow_ups(document),
    ]


def standing(document: Document) -> str:
    """Who stands for the report, and that it came from an AI."""
    status = ReportStatus(document["version"]["status"])
    review = document.get("review")
    if status is ReportStatus.RETRACTED:
        by = f" by {review['reviewer']} on {_day(review['reviewed_at'])}" if review else ""
        why = f" Reason: {review['reason']}" if review and review.get("reason") else ""
        return f"RETRACTED{by}. Do not use this report.{why}"
    signed = signature(document)
    if status in SIGNED_STATUSES and signed:
        word = "amended and signed" if status is ReportStatus.AMENDED else "reviewed and signed"
        return f"AI result, {word} by {signed['by']} on {_day(signed['at'])}."
    if review:
        return f"AI result, preliminary: reviewed by {review['reviewer']}, not signed. {NOT_ALONE}"
    return f"AI result, preliminary: not reviewed, not signed. {NOT_ALONE}"


def signature(document: Document) -> Document | None:
    """Who signed this version and when; none where it is not signed, or no longer holds."""
    if document["version"]["status"] not in SIGNED_STATUSES:
        return None
    signed: Document | None = (document.get("review") or {}).get("signed")
    return signed


def verdict_of(document: Document, code: str) -> Document | None:
    """What the reviewer says of a finding; none where nobody said anything."""
    said = (document.get("review") or {}).get("verdicts", ())
    return next((one for one in said if one["finding"] == code), None)


def _result(finding: Document) -> str:
    if finding["probability"] is None:
        return f"{finding['display']}: no result, for no image could be predicted on."
    decision = {True: ": positive", False: ": negative", None: ""}[finding["decision"]]
    points = f"probability {finding['probability']:.6g}, operating point {finding['threshold']:.6g}"
    return f"{finding['display']}: {points}{decision}."


def _of_reviewer(document: Document) -> Iterator[str]:
    review = document.get("review")
    if not review:
        return
    for finding in document["findings"]:
        verdict = verdict_of(document, finding["code"])
        if verdict:
            note = f" {verdict['note']}" if verdict["note"] else ""
            yield f"{finding['display']}, the reviewer's verdict: {verdict['verdict']}.{note}"
    if review.get("comment"):
        yield f"The reviewer's comment: {review['comment']}"


def _follow_ups(document: Document) -> Iterator[str]:
    """What it suggests; a retracted report suggests nothing."""
    if document["version"]["status"] != ReportStatus.RETRACTED:
        yield from map(_follow_up, document.get("follow_ups") or ())


def _follow_up(one: Document) -> str:
    action = str(one["action"]).replace("_", " ")
    text = f" {one['text']}" if one["text"] else ""
    return f"Suggested, {one['urgency']}: {action} ({one['display']}) by {_day(one['due_at'])}.{text}"


def _day(moment: str) -> str:
    return moment[:10]
