"""A browser without a screen: cookies, forms and pages of the reading room."""

import re
from typing import Any

from tests.conftest import Api

_CSRF = re.compile(r'<meta name="csrf" content="([0-9a-f]+)">')


class Browser:
    """Somebody who is logged in, unless no token is given."""

    def __init__(self, api: Api, token: str | None = None) -> None:
        self.client = api.app.test_client()
        if token is not None:
            answer = self.client.post("/login", data={"token": token})
            assert answer.status_code == 303, answer.text

    def get(self, path: str, status: int = 200, **given: Any) -> Any:
        """The page, which answers so."""
        answer = self.client.get(path, **given)
        assert answer.status_code == status, answer.text
        return answer

    def submit(self, path: str, *, on: str = "/", status: int = 303, **fields: str) -> Any:
        """Send a form of the page `on`, with the word that the page has."""
        found = _CSRF.search(self.get(on).text)
        assert found is not None
        answer = self.client.post(path, data=fields | {"csrf": found[1]})
        assert answer.status_code == status, answer.text
        return answer


def browser_of(api: Api, *scopes: str) -> Browser:
    """Somebody who may do so much."""
    made = api.post("/api/v1/tokens", json={"principal": "Ann", "scopes": list(scopes)}).json
    return Browser(api, made["token"])
