"""Pages ask the API as any client does, without the network: the same routes, scopes, checks and answers."""

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from flask import Response, current_app, request
from werkzeug.test import EnvironBuilder

from api.auth import COOKIE, KNOWN_TOKENS

Json = dict[str, Any]
# What WSGI says of a body.
OF_BODY = ("CONTENT_TYPE", "CONTENT_LENGTH")


class RefusedError(Exception):
    """The API answered with a problem document, or a page refuses by itself: `detail` alone, in the page's words."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(problem.get("detail", ""))
        self.status, self.problem = status, problem


def ask(path: str, **query: object) -> Json:
    """What GET gives; parameters that are empty are left out. Raises RefusedError."""
    return _call("GET", path, query={name: value for name, value in query.items() if value not in (None, "", False)})


def change(method: str, path: str, body: Json | None = None, *, headers: Mapping[str, str] | None = None) -> Json:
    """What a change gives; raises RefusedError."""
    return _call(method, path, body=body, headers=headers)


def forward(path: str, body: BinaryIO) -> Json:
    """What POST gives for the request's own body, as it comes in; raises RefusedError."""
    return _call("POST", path, stream=body)


def log_in(token: str = "", **named: str) -> Json:
    """A session begun by this token, or by `name` and `password`; the cookie of another plays no part.

    Raises RefusedError.
    """
    return _call("POST", "/api/v1/sessions", body=dict(named), secret=token)


def _call(
    method: str,
    path: str,
    *,
    query: Json | None = None,
    body: Json | None = None,
    secret: str | None = None,
    headers: Mapping[str, str] | None = None,
    stream: BinaryIO | None = None,
) -> Json:
    builder = EnvironBuilder(
        path=path,
        method=method,
        base_url=request.host_url,
        query_string=query,
        json=body,
        headers=list(headers.items()) if headers else None,
        environ_base={"REMOTE_ADDR": request.remote_addr or ""},
    )
    carried = request.cookies.get(COOKIE, "") if secret is None else secret
    if carried:
        builder.headers["Authorization"] = f"Bearer {carried}"
    environ = builder.get_environ() | {KNOWN_TOKENS: request.environ.setdefault(KNOWN_TOKENS, {})}
    if stream is not None:
        # The builder would look how long it is.
        environ |= {"wsgi.input": stream} | {name: request.environ.get(name, "") for name in OF_BODY}
    answer = Response.from_app(current_app.wsgi_app, environ, buffered=True)
    said: Json = json.loads(answer.get_data() or b"{}")
    if answer.status_code >= 400:  # noqa: PLR2004 - where errors begin
        raise RefusedError(answer.status_code, said)
    return said
