"""Keyset cursors, `Link: rel="next"`, and reading bodies and cursors that come from outside."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest

from api.errors import MAX_SHOWN, NOT_JSON, summary
from shared.errors import InvalidRequestError, MalformedRequestError

MAX_ROW_ID = 2**63 - 1

Row = TypeVar("Row")
Model = TypeVar("Model", bound=BaseModel)


def page_of(
    rows: Sequence[Row], limit: int, show: Callable[[Row], Any], cursor_of: Callable[[Row], str]
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """A page of at most `limit` of `rows` (which holds one more where there is a next page), with its Link header."""
    shown = rows[:limit]
    following = cursor_of(shown[-1]) if len(rows) > limit else None
    headers = {}
    if following is not None:
        query = urlencode(request.args.to_dict() | {"cursor": following})
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return {"items": [show(row) for row in shown], "next": following}, 200, headers


def uuid_cursor(text: str | None) -> UUID | None:
    """A cursor of a list ordered by UUID."""
    return read_cursor(text, UUID)


def integer_cursor(text: str | None) -> int | None:
    """A cursor of a list ordered by row id."""
    return read_cursor(text, _row_id)


def _row_id(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_ROW_ID:
        raise ValueError(f"{number} is no row's id")
    return number


def read_cursor(text: str | None, kind: Callable[[str], Row]) -> Row | None:
    """A cursor as what `kind` makes of it; raises InvalidRequestError where that is a ValueError."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidRequestError("The cursor is not one that a previous page gave; start without it.") from error


def read_body(model: type[Model]) -> Model:
    """The JSON body as `model`; raises InvalidRequestError with a pointer to each fault, 400 where it is no JSON."""
    try:
        return model.model_validate(request.get_json(force=True))
    except BadRequest as error:
        raise MalformedRequestError(NOT_JSON) from error
    except ValidationError as error:
        raise invalid(error) from error


def read_query(model: type[Model]) -> Model:
    """The query parameters as `model`."""
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise invalid(error) from error


def pointers(error: ValidationError) -> list[dict[str, str]]:
    """Pydantic's complaints, each with where it is; never the value, which may be a patient's."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"pointer": "/" + "/".join(map(str, one["loc"])), "detail": one["msg"]} for one in faults]


def invalid(error: ValidationError) -> InvalidRequestError:
    """The request as a whole is not as expected."""
    details = pointers(error)
    return InvalidRequestError(f"The request is not as expected: {summary(details)}.", errors=details[:MAX_SHOWN])
