"""One table: error class -> status code; every error is a problem document (RFC 9457)."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, request
from gunicorn.http.errors import ParseException
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from werkzeug.exceptions import HTTPException

from shared.errors import (
    AuthenticationError,
    ConflictError,
    FontMissingError,
    IdempotencyMismatchError,
    InvalidRequestError,
    LimitExceededError,
    MalformedRequestError,
    NotAcceptableError,
    NotFoundError,
    OverreadError,
    PermanentError,
    PreconditionRequiredError,
    ScopeError,
    StorageFullError,
    TooManyRequestsError,
    TransientError,
    UnsupportedMediaTypeError,
)
from shared.outage import is_full, is_outage

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 5
# Of a body's faults, so many are listed and so many told in the sentence.
MAX_SHOWN, MAX_SAID = 100, 5
NOT_JSON = "The body is not JSON; send a JSON object, or files with their type where the request takes files."
# What of an error's context goes into its document: faults of a body, and what is newer than what it was made for.
EXTENSIONS = ("errors", "newer")
TRY_AGAIN = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE, HTTPStatus.TOO_MANY_REQUESTS)

STATUS_OF: tuple[tuple[type[OverreadError], HTTPStatus], ...] = (
    (AuthenticationError, HTTPStatus.UNAUTHORIZED),
    (ScopeError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (NotAcceptableError, HTTPStatus.NOT_ACCEPTABLE),
    (FontMissingError, HTTPStatus.NOT_IMPLEMENTED),
    (ConflictError, HTTPStatus.CONFLICT),
    (PreconditionRequiredError, HTTPStatus.PRECONDITION_REQUIRED),
    (IdempotencyMismatchError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidRequestError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MalformedRequestError, HTTPStatus.BAD_REQUEST),
    (UnsupportedMediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (LimitExceededError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (TooManyRequestsError, HTTPStatus.TOO_MANY_REQUESTS),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
    (PermanentError, HTTPStatus.UNPROCESSABLE_ENTITY),
)


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **extensions: Any) -> Response:
    """A problem document."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
    } | extensions
    response = Response(json.dumps(body), status=status, content_type=PROBLEM_JSON, headers=headers)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="overread"'
    if status in TRY_AGAIN:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return response


def status_of(error: OverreadError) -> HTTPStatus:
    """The first row of the table that fits."""
    return next((status for kind, status in STATUS_OF if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def register_error_handlers(app: APIFlask) -> None:
    """Turn every error of the application into a problem document."""
    app.register_error_handler(OverreadError, _of_overread_error)
    app.register_error_handler(HTTPException, of_http_exception)
    app.register_error_handler(SQLAlchemyError, _of_database_trouble)
    app.register_error_handler(DataError, _of_a_value_no_column_takes)
    app.register_error_handler(IntegrityError, _of_a_lost_race)
    app.register_error_handler(ParseException, _of_a_broken_body)
    app.register_error_handler(RecursionError, _of_a_broken_body)
    app.register_error_handler(Exception, _of_unforeseen)
    app.error_processor(_of_apiflask_error)


def _of_overread_error(error: OverreadError) -> Response:
    extensions: dict[str, Any] = {"reason": error.recorded_reason.value} if isinstance(error, PermanentError) else {}
    extensions |= {name: error.context[name] for name in EXTENSIONS if name in error.context}
    retry_after = error.context.get("retry_after_s")
    headers = {"Retry-After": str(retry_after)} if retry_after else None
    return problem(status_of(error), error.message, headers, **extensions)


def of_http_exception(error: HTTPException) -> Response:
    """The problem document of an error that Flask or Werkzeug raised."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return problem(status, str(error.description or HTTPStatus(status).description), headers)


def _of_apiflask_error(error: HTTPError) -> Response:
    """Validation errors: `{location: {field: [messages]}}` becomes a list of pointers."""
    found = [
        {"pointer": "/" + field.replace(".", "/"), "detail": message, "location": location}
        for location, fields in (error.detail or {}).items()
        if isinstance(fields, dict)
        for field, messages in fields.items()
        for message in messages
    ]
    extensions: dict[str, Any] = {"errors": found[:MAX_SHOWN]} if found else {}
    # APIFlask has no word for a body that it cannot read.
    no_json = NOT_JSON if error.status_code == HTTPStatus.BAD_REQUEST else None
    said = summary(found) or no_json or HTTPStatus(error.status_code).description
    return problem(error.status_code, said, **extensions)


def summary(faults: Sequence[dict[str, str]]) -> str:
    """The first faults of a request in a sentence."""
    said = "; ".join(f"{one['pointer']}: {one['detail']}" for one in faults[:MAX_SAID])
    return said + (f"; and {len(faults) - MAX_SAID} more" if len(faults) > MAX_SAID else "")


def _of_database_trouble(error: SQLAlchemyError) -> Response:
    if not is_outage(error):
        return _of_unforeseen(error)
    log.error("database_unavailable", error=type(getattr(error, "orig", None) or error).__name__)
    if is_full(error):
        return problem(HTTPStatus.INSUFFICIENT_STORAGE, "The database's disk is full; free some space and try again.")
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database cannot be reached or is busy; try again shortly.")


def _of_a_value_no_column_takes(error: DataError) -> Response:
    log.warning("value_refused_by_database", error=type(error.orig).__name__)
    detail = "A value of the request holds characters or a number that cannot be looked up; check it for NUL bytes."
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _of_a_lost_race(error: IntegrityError) -> Response:
    log.warning("lost_race", error=type(error.orig).__name__)
    return problem(HTTPStatus.CONFLICT, "Another request made the same thing at this moment; send this one again.")


def _of_a_broken_body(_: Exception) -> Response:
    detail = "The body breaks off or is nested too deep; send it whole, with its right Content-Length."
    return problem(HTTPStatus.BAD_REQUEST, detail)


def _of_unforeseen(error: Exception) -> Response:
    # The text of an unforeseen error could hold patient data: only its class and place are logged.
    error_id = uuid4().hex
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
    log.error("unforeseen_error", error_id=error_id, error=type(error).__name__, place=place)
    detail = f"Something unforeseen went wrong; the log tells more under error id {error_id}."
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, error_id=error_id)
