"""What changed from one report version to the next, finding by finding. Pure."""

from typing import Any

Document = dict[str, Any]

_OF_FINDING = ("probability", "threshold", "decision")


def changes(before: Document, after: Document) -> dict[str, Any]:
    """What the later document of a chain says otherwise; each part is there only where something changed.

    Empty: nothing that a reader would see. `before` and `after` of a part are None where it was not there.
    """
    found: dict[str, Any] = {
        "findings": _findings(before["findings"], after["findings"]),
        "model_version": _pair(before["model"]["version"], after["model"]["version"]),
        "studies": _studies(before["studies"], after["studies"]),
        "images": _pair(_images(before), _images(after)),
        "status": _pair(_status(before), _status(after)),
        "verdicts": _verdicts(before.get("review"), after.get("review")),
    }
    return {name: part for name, part in found.items() if part}


def _pair(before: Any, after: Any) -> dict[str, Any] | None:
    return None if before == after else {"before": before, "after": after}


def _findings(before: list[Document], after: list[Document]) -> list[Document]:
    """Findings whose result, operating point or decision is another; those that came or went with the model, too."""
    old = {one["code"]: one for one in before}
    new = {one["code"]: one for one in after}
    told = []
    for code in (*new, *(code for code in old if code not in new)):
        pair = _pair(_result(old.get(code)), _result(new.get(code)))
        if pair:
            told.append({"code": code, "display": (new.get(code) or old[code])["display"]} | pair)
    return told


def _result(finding: Document | None) -> Document | None:
    return None if finding is None else {name: finding[name] for name in _OF_FINDING}


def _studies(before: list[Document], after: list[Document]) -> Document | None:
    """Studies that came, and which of the others the result began or ceased to speak of."""
    old = {one["study_instance_uid"]: one["in_scope"] for one in before}
    new = {one["study_instance_uid"]: one["in_scope"] for one in after}
    told = {
        "added": [uid for uid in new if uid not in old],
        "gone": [uid for uid in old if uid not in new],
        "counted_now": [uid for uid, counted in new.items() if counted and old.get(uid) is False],
        "counted_no_more": [uid for uid, counted in old.items() if counted and new.get(uid) is False],
    }
    return told if any(told.values()) else None


def _images(document: Document) -> Document:
    said = document["completeness"]
    return {"predicted": said["predicted"], "instances": said["instances"]}


def _status(document: Document) -> str:
    # Documents from before they said so were all preliminary.
    return str(document["version"]["status"]) if "version" in document else "preliminary"


def _verdicts(before: Document | None, after: Document | None) -> list[Document]:
    old = {one["finding"]: one["verdict"] for one in before["verdicts"]} if before else {}
    new = {one["finding"]: one["verdict"] for one in after["verdicts"]} if after else {}
    pairs = ((code, _pair(old.get(code), new.get(code))) for code in (*new, *(code for code in old if code not in new)))
    return [{"code": code} | pair for code, pair in pairs if pair]
