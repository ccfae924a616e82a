"""A small client of the API over httpx: paging, and problem+json as ApiError."""

import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from api.cli.errors import ApiError, UnreachableError
from shared.errors import OverreadError

Json = dict[str, Any]
T = TypeVar("T")

# Reading waits long: the answer to a batch of files comes when all of them are stored durably.
TIMEOUT = httpx.Timeout(60.0, connect=5.0, read=300.0)
TRY_AGAIN = frozenset({429, 503})
LONGEST_WAIT_S = 30.0
MAX_DETAILS = 5
MAX_PAGE = 500  # the API gives no more at once


def is_loopback(url: str) -> bool:
    """True when the address is this machine itself."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """Talks to one Overread server; safe to share between threads."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            headers=headers,
            timeout=TIMEOUT,
            # Shorter than the server's own patience, so that a reused connection is never one it just closed.
            limits=httpx.Limits(keepalive_expiry=1.0),
            # A proxy named in the environment cannot reach this machine's own loopback.
            trust_env=not is_loopback(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Json:
        """The JSON at `path`."""
        return _json(self._request("GET", path, params=parameters))

    def content(self, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The document at `path`, as it is."""
        return self._request("GET", path, params=parameters, headers={"Accept": "*/*"}).content

    def text(self, path: str, accept: str) -> str:
        """The document at `path` in the media type asked for."""
        return self._request("GET", path, headers={"Accept": accept}).text

    def post(
        self,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> Json:
        """Send JSON, or nothing, and return the JSON that comes back."""
        return _json(self._request("POST", path, json=body, headers=headers, params=parameters))

    def put(self, path: str, body: Json) -> Json | None:
        """Put JSON in the place of what is there, and return the JSON that comes back, if any does."""
        response = self._request("PUT", path, json=body)
        return _json(response) if response.content else None

    def delete(self, path: str) -> None:
        """End what is at `path`."""
        self._request("DELETE", path)

    def stream(self, path: str, content: Iterable[bytes], headers: Mapping[str, str]) -> Json:
        """Send bytes as they are made and return the JSON that comes back."""
        return _json(self._request("POST", path, content=content, headers=headers))

    def pages(self, path: str, parameters: Mapping[str, str] | None = None) -> Iterator[Json]:
        """Every page of a list, following `Link: rel="next"`."""
        query = httpx.QueryParams(parameters)
        while True:
            response = self._request("GET", path, params=query)
            yield _json(response)
            following = response.links.get("next", {}).get("url")
            if following is None:
                return
            # Only the query is taken: the token goes to no other place than the one the user named.
            query = httpx.URL(following).params

    def collect(self, path: str, parameters: Mapping[str, str] | None = None, limit: int = 0) -> Json:
        """The pages of a list as one: whole pages until `limit` items are there (0: all)."""
        items: list[Json] = []
        cursor = None
        page_size = {"limit": str(min(limit or MAX_PAGE, MAX_PAGE))}
        for page in self.pages(path, page_size | dict(parameters or {})):
            items.extend(page["items"])
            cursor = page.get("next")
            if limit and len(items) >= limit:
                break
        return {"items": items, "next": cursor}

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, self.url + path, **options)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"no answer from {self.url} ({type(error).__name__}): is it running (`overread up`), "
                "and is the address right (--url or OVERREAD_URL)?"
            ) from error
        if not response.is_success:
            raise _api_error(response)
        return response


def patiently(call: Callable[[], T], attempts: int, sleep: Callable[[float], None] = time.sleep) -> T:
    """Make a call that is safe to repeat, again while the server is out of reach or asks to wait."""
    for attempt in range(attempts):
        try:
            return call()
        except (ApiError, UnreachableError) as error:
            last = attempt == attempts - 1
            if last or (isinstance(error, ApiError) and error.status not in TRY_AGAIN):
                raise
            sleep(_wait_s(error, attempt))
    raise ValueError(f"attempts must be at least 1, got {attempts}")


def _wait_s(error: OverreadError, attempt: int) -> float:
    asked_s = error.retry_after_s if isinstance(error, ApiError) else None
    return min(asked_s if asked_s is not None else 0.5 * 2.0**attempt, LONGEST_WAIT_S)


def _json(response: httpx.Response) -> Json:
    try:
        body = response.json()
    except ValueError as error:
        raise ApiError(
            "the answer is not JSON: is this address an Overread server?", status=response.status_code
        ) from error
    return body if isinstance(body, dict) else {"items": body}


def _api_error(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = None
    problem = body if isinstance(body, dict) else {}
    said = str(problem.get("detail") or problem.get("title") or f"{response.status_code} {response.reason_phrase}")
    errors = [entry for entry in problem.get("errors") or () if isinstance(entry, dict)]
    news = [_said(entry) for entry in errors[:MAX_DETAILS] if not _is_told(entry, said)]
    message = "; ".join([said.rstrip("."), *news]) if news else said
    return ApiError(message, status=response.status_code, problem=problem, retry_after_s=_seconds(response.headers))


def _is_told(entry: Json, said: str) -> bool:
    """True when the sentence speaks of the entry already: in its words, or of the field it points to."""
    field = str(entry.get("pointer") or "").rpartition("/")[2]
    detail = str(entry.get("detail") or "")
    return bool(field and re.search(rf"\b{re.escape(field)}\b", said)) or detail in said


def _said(entry: Json) -> str:
    return ": ".join(str(entry[key]) for key in ("pointer", "detail") if entry.get(key))


def _seconds(headers: httpx.Headers) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
