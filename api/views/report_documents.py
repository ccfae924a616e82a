"""A report version as it is asked for: JSON, or one of its documents; with ETags."""

import json
from typing import Any
from uuid import UUID

from flask import Response as FlaskResponse
from flask import request
from werkzeug.wrappers import Response

from api.documents.formats import FORMATS
from api.documents.renditions import rendition
from api.documents.wording import LANGUAGES
from api.negotiation import preferred
from api.schemas.reports import ReportShown
from shared.errors import NotAcceptableError, NotFoundError
from shared.states import RenditionFormat

SCHEMA_PATH = "/api/v1/schemas/report"
JSON_TYPE, JSON_SUFFIX = "application/json", "json"
# A page is self-contained: nothing is fetched, no script runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PRIVATE = {"Cache-Control": "private, no-store", "Vary": "Accept, Accept-Language", "X-Content-Type-Options": "nosniff"}
# What a browser shows by itself; the others are files.
SHOWN = frozenset({RenditionFormat.HTML, RenditionFormat.PDF})


def accepted_kind() -> RenditionFormat | None:
    """What the request's `Accept` prefers, none for JSON."""
    kinds: dict[str, RenditionFormat | None] = {JSON_TYPE: None}
    kinds |= {one.media_type: kind for kind, one in FORMATS.items()}
    best = preferred(request.accept_mimetypes, list(kinds))
    if best is None:
        there_are = ", ".join(f"{media_type} (.{suffix_of(kind)})" for media_type, kind in kinds.items())
        raise NotAcceptableError(f"A report is none of what `Accept` names; there are {there_are}.")
    return kinds[best]


def suffix_of(kind: RenditionFormat | None) -> str:
    """What the address of a report ends in for this kind."""
    return JSON_SUFFIX if kind is None else FORMATS[kind].suffix


def kind_of_suffix(suffix: str) -> RenditionFormat | None:
    """The kind that an address asks for, none for JSON."""
    kinds: dict[str, RenditionFormat | None] = {suffix_of(kind): kind for kind in (None, *FORMATS)}
    if suffix not in kinds:
        raise NotFoundError(f"A report has no such form; there are {', '.join(f'.{one}' for one in kinds)}.")
    return kinds[suffix]


def links_of(address: str) -> dict[str, str]:
    """Where each document of the report at an address is."""
    return {kind.value: f"{address}.{one.suffix}" for kind, one in FORMATS.items()}


def document_answer(report_id: UUID, kind: RenditionFormat, lang: str | None) -> Response:
    """The document, in the language asked for, else one that `Accept-Language` names, else English."""
    language = lang or request.accept_languages.best_match(LANGUAGES, default=LANGUAGES[0])
    made = rendition(report_id, kind, language)
    one = FORMATS[kind]
    charset = "; charset=utf-8" if one.media_type.startswith("text/") else ""
    answer = FlaskResponse(made.data, content_type=one.media_type + charset, headers=PRIVATE)
    if kind is RenditionFormat.HTML:
        answer.headers["Content-Security-Policy"] = POLICY
    if made.language:
        answer.content_language.add(made.language)
    shown = "inline" if kind in SHOWN else "attachment"
    answer.headers["Content-Disposition"] = f'{shown}; filename="report-{report_id}.{one.suffix}"'
    answer.set_etag(made.sha256)
    return answer.make_conditional(request)


def json_answer(report: ReportShown) -> Response:
    """The report as JSON; its weak ETag is the digest of the document's content."""
    body: dict[str, Any] = report.model_dump(mode="json")
    answer = FlaskResponse(json.dumps(body), content_type=JSON_TYPE, headers=PRIVATE)
    answer.set_etag(report.content_digest, weak=True)
    return answer.make_conditional(request)
