"""Lists of the API, followed to their end as a client does."""

from collections.abc import Iterator
from typing import Any

from tests.conftest import Api


def pages(api: Api, path: str) -> Iterator[Any]:
    """Follow `Link: rel="next"` from the first page to the last."""
    following: str | None = path
    while following:
        answer = api.get(following)
        assert answer.status_code == 200
        yield answer
        link = answer.headers.get("Link")
        assert (link is None) == (answer.json["next"] is None)
        following = link.partition(">")[0].lstrip("<") if link else None
