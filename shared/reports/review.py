"""A person's words on a report version -> what the next version says of them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.errors import InvalidRequestError
from shared.states import Verdict

Document = dict[str, Any]

# Of faults and findings: so many in a sentence, so many in all.
MOST_TOLD, MOST_NAMED = 5, 20


@dataclass(frozen=True)
class Said:
    """What a reviewer says of the decision on one finding."""

    finding: str
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class Reviewer:
    """Who says it, and when."""

    name: str
    at: datetime


def verdicts_on(document: Document, said: Sequence[Said], before: Sequence[Document] = ()) -> list[Document]:
    """The verdicts on the document's findings, in its order: what is said now, else what was said `before`.

    Raises InvalidRequestError, which names each fault, where something is said of what has no decision.
    """
    _check(document, said)
    found = {one["finding"]: one for one in before}
    decisions = {one["code"]: one["decision"] for one in document["findings"]}
    found |= {one.finding: _verdict(one, decisions[one.finding]) for one in said}
    return [found[code] for code in decisions if code in found]


def unjudged(document: Document, verdicts: Sequence[Document]) -> list[str]:
    """The findings with a decision that no verdict speaks of."""
    judged = {one["finding"] for one in verdicts}
    return [one["code"] for one in document["findings"] if one["decision"] is not None and one["code"] not in judged]


def review_said(by: Reviewer, verdicts: Sequence[Document], comment: str = "", reason: str = "") -> Document:
    """The part `review` of a version that nobody signed."""
    return {
        "reviewer": by.name,
        "reviewed_at": by.at.isoformat(),
        "comment": comment,
        "reason": reason,
        "verdicts": list(verdicts),
        "signed": None,
    }


def signed(review: Document, version: Mapping[str, Any]) -> Document:
    """The same part, signed by the reviewer, who had this version (its id, number and content_digest) before them."""
    signs = {"id": str(version["id"]), "number": version["number"], "content_digest": version["content_digest"]}
    return review | {"signed": {"by": review["reviewer"], "at": review["reviewed_at"], "signs": signs}}


def _verdict(said: Said, decision: bool) -> Document:
    value = {Verdict.AGREE: decision, Verdict.DISAGREE: not decision, Verdict.UNSURE: None}[said.verdict]
    return {
        "finding": said.finding,
        "verdict": said.verdict.value,
        "decision": decision,
        "value": value,
        "note": said.note,
    }


def _check(document: Document, said: Sequence[Said]) -> None:
    findings = {one["code"]: one for one in document["findings"]}
    codes = [one.finding for one in said]
    faults = []
    for place, code in enumerate(codes):
        why = _why_not(findings, code) or ("a verdict on it came before" if code in codes[:place] else None)
        if why:
            faults.append({"pointer": f"/findings/{place}/code", "detail": f"{code}: {why}"})
    if faults:
        told = "; ".join(fault["detail"] for fault in faults[:MOST_TOLD])
        raise InvalidRequestError(f"Not all verdicts can be taken: {told}.", errors=faults[:MOST_NAMED])


def _why_not(findings: Mapping[str, Document], code: str) -> str | None:
    finding = findings.get(code)
    if finding is None:
        more = ", ..." if len(findings) > MOST_NAMED else ""
        return f"the report has no such finding; it has {', '.join(list(findings)[:MOST_NAMED])}{more}"
    if finding["background"]:
        return "it means that nothing was found; say it of the other findings"
    if finding["decision"] is None:
        return "nothing was predicted, so there is no decision to judge"
    return None
