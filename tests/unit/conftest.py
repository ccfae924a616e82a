"""What the tests of the command line share."""

from collections.abc import Iterator

import pytest

from tests.canned_server import CannedServer, canned_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedServer]:
    """A server with prepared answers; nothing in the environment names another."""
    for name in ("OVERREAD_URL", "OVERREAD_TOKEN", "OVERREAD_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    with canned_server() as running:
        yield running
