"""How many processes of a service run where nobody says so."""

import os

import pytest

from api.cli.places import default_schedulers
from shared.config import load_settings


@pytest.mark.parametrize(
    ("url", "cores", "expected"), [("", 8, 1), ("postgresql://host/name", 8, 2), ("postgresql://host/name", 1, 1)]
)
def test_two_schedulers_run_where_the_database_lets_both_write(
    monkeypatch: pytest.MonkeyPatch, url: str, cores: int, expected: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)

    assert default_schedulers(load_settings(database_url=url)) == expected
