"""What a person says of a report: reviewed, signed, amended, retracted."""

from typing import Any
from uuid import UUID

from flask import request
from werkzeug.wrappers import Response

from api.web.inner import Json, RefusedError, change
from api.web.report_page import Entry
from api.web.reports import REPORTS, report_page
from api.web.site import back_to, blueprint, words

VERDICT, NOTE = "verdict.", "note."
# What the page itself says again, with what was entered: wrong role, stale or otherwise signed, not whole.
TOLD = frozenset({403, 409, 422})


@blueprint.post("/reports/<uuid:report_id>/review")
def post_review(report_id: UUID) -> Any:
    """The verdicts as the next version, signed where that button was chosen."""
    is_signed = request.form.get("act") == "sign"
    return _acted(report_id, "review", {"comment": request.form.get("comment", ""), "sign": is_signed})


@blueprint.post("/reports/<uuid:report_id>/amend")
def post_amend(report_id: UUID) -> Any:
    """The next version of a signed one, signed too."""
    return _acted(report_id, "amend", {name: request.form.get(name, "") for name in ("comment", "reason")})


@blueprint.post("/reports/<uuid:report_id>/retract")
def post_retract(report_id: UUID) -> Any:
    """It is to be relied on no more."""
    return _acted(report_id, "retract", {"reason": request.form.get("reason", "")})


def _acted(report_id: UUID, act: str, body: Json) -> Response:
    entries = _entries()
    try:
        if act != "retract":
            body |= {"findings": _verdicts(entries)}
        made = change("POST", f"{REPORTS}/{report_id}/{act}", body, headers={"If-Match": _read()})
    except RefusedError as error:
        if error.status not in TOLD:
            raise
        texts = {name: request.form[name] for name in ("comment", "reason") if name in request.form}
        entered = None if act == "retract" else entries
        return report_page(report_id, refused=error, entries=entered, texts=texts)
    return back_to(f"/reports/{made['id']}?after={report_id}")


def _entries() -> dict[str, Entry]:
    """By finding, what was chosen and written."""
    form = request.form
    codes = dict.fromkeys(name.partition(".")[2] for name in form if name.startswith((VERDICT, NOTE)))
    return {code: Entry(form.get(VERDICT + code, ""), form.get(NOTE + code, "")) for code in codes}


def _verdicts(entries: dict[str, Entry]) -> list[Json]:
    """As the API takes them; raises RefusedError where a note has no verdict to go with: it would be lost."""
    alone = [code for code, one in entries.items() if one.note.strip() and not one.verdict]
    if alone:
        raise RefusedError(422, {"detail": words().say("review.note_alone", findings=words().list(alone))})
    return [{"code": code, "verdict": one.verdict, "note": one.note} for code, one in entries.items() if one.verdict]


def _read() -> str:
    """The content that the reader had before them, as the API takes it."""
    digest = request.form.get("digest", "")
    return f'"{digest}"' if digest.isascii() and digest.isalnum() else '""'
