"""The list of reports, and a report with all that a reader decides on."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response, request

from api.documents.wording import Words, words_in
from api.web.inner import Json, RefusedError, ask
from api.web.report_page import Entry, Part, compared, document_of, entries_of, shown
from api.web.site import blueprint, me, page, words
from shared.states import SIGNED_STATUSES, ReportOrigin, ReportStatus, Role, Scope, Verdict

REPORTS = "/api/v1/reports"
FILTERS = ("unsigned", "status", "patient_id", "patient", "model", "job", "cursor")
STATUSES = tuple(ReportStatus)
PAGE = 50
MOST_VERSIONS = 500
FORMS = ("html", "pdf", "sr", "sc", "fhir_r4b", "fhir_r5")


@blueprint.get("/reports")
def get_reports() -> Any:
    """The newest version of each chain, the newest first."""
    chosen = {name: request.args.get(name, "") for name in FILTERS}
    found = ask(REPORTS, limit=PAGE, **chosen)
    return page("reports.html", reports=found["items"], next_cursor=found["next"], chosen=chosen, statuses=STATUSES)


@blueprint.get("/reports/<uuid:report_id>")
def get_report(report_id: UUID) -> Any:
    """A version, and where the reader may, the form to review or amend it."""
    return report_page(report_id)


def report_page(
    report_id: UUID,
    *,
    refused: RefusedError | None = None,
    entries: Mapping[str, Entry] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Response:
    """The page; after a refusal it says why, and what was entered stands there again."""
    report = ask(f"{REPORTS}/{report_id}")
    documents, document, reader = words_in(words().language), document_of(report), me()
    before, comment = entries_of(document, reader["name"])
    return page(
        "report.html",
        refused.status if refused else 200,
        report=report,
        documents=documents,
        shown=shown(report, before if entries is None else entries, documents),
        form=_form(report, reader, is_amended=bool(entries or request.args.get("amend"))),
        texts={"comment": comment, **(texts or {})},
        is_entered=entries is not None,
        refused=refused.problem if refused else None,
        newer=_newer(document, refused, documents),
        **_rights(report, reader),
        **_around(report, document, documents),
    )


def _rights(report: Json, reader: Json) -> Json:
    """What the reader may do to the version, in which words, and which report is theirs to review next."""
    may_review = Scope.REVIEW in reader["scopes"]
    return {
        "may_review": may_review,
        "next_id": _next_unsigned(report["id"]) if may_review else None,
        "may_sign": _may_sign(reader),
        "is_signed": report["status"] in SIGNED_STATUSES,
        "verdicts": tuple(Verdict),
    }


def _around(report: Json, document: Json, documents: Words) -> Json:
    """The versions before and after, and the forms in which this one can be taken."""
    return {
        "versions": _versions(report, document, documents),
        "compared": _compared(report, document, documents),
        "forms": FORMS,
    }


def _may_sign(reader: Json) -> bool:
    return Scope.REVIEW in reader["scopes"] and Role.PHYSICIAN in reader["roles"]


def _form(report: Json, reader: Json, *, is_amended: bool) -> str | None:
    """What the fields are sent to, if there are any; an older version has none."""
    if report["superseded_by"] or Scope.REVIEW not in reader["scopes"]:
        return None
    if report["status"] not in SIGNED_STATUSES:
        return "review"
    return "amend" if is_amended and _may_sign(reader) else None


def _newer(document: Json, refused: RefusedError | None, documents: Words) -> tuple[Json, Part] | None:
    """The version that came meanwhile, and what it says otherwise than the one that was decided on."""
    newer = refused.problem.get("newer") if refused else None
    if not newer:
        return None
    return newer, compared(document, document["version"]["number"], newer["changes"], documents)


def _versions(report: Json, document: Json, documents: Words) -> list[tuple[Json, Part | None]]:
    """The chain, the newest first, each with what changed since the one before."""
    found = ask(f"{REPORTS}/{report['id']}/versions", limit=MOST_VERSIONS)["items"]
    return [(one, _changed(document, one["changes"] or {}, documents)) for one in reversed(found)]


def _changed(document: Json, changes: Json, documents: Words) -> Part | None:
    since = changes.get("since")
    return compared(document, since["number"], changes, documents) if since else None


def _compared(report: Json, document: Json, documents: Words) -> Part | None:
    """With the version that the address names, else what new results changed."""
    if since := request.args.get("since"):
        told = ask(f"{REPORTS}/{report['id']}/changes", since=since)
        return compared(document, told["since"]["number"], told["changes"], documents)
    is_machine = report["origin"] == ReportOrigin.RESULTS
    return _changed(document, document.get("changes") or {}, documents) if is_machine else None


def _next_unsigned(report_id: str) -> str | None:
    """The next in the list after this one, or after the one that was signed here; behind the last comes the first."""
    for cursor in (request.args.get("after", report_id), ""):
        found = ask(REPORTS, status=ReportStatus.PRELIMINARY.value, cursor=cursor, limit=2)["items"]
        for one in found:
            if one["id"] != report_id:
                return str(one["id"])
    return None
