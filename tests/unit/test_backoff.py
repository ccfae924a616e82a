"""Waits double, have a limit, and are not all the same."""

import pytest

from shared.backoff import backoff_s


@pytest.mark.parametrize(("tries", "whole_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0)])
def test_wait_doubles_with_each_try_less_a_random_part(tries: int, whole_s: float) -> None:
    waits = [backoff_s(2.0, tries, 300.0) for _ in range(200)]

    assert all(whole_s / 2 <= wait <= whole_s for wait in waits)
    assert max(waits) - min(waits) > whole_s / 8
    assert len(set(waits)) > 100


@pytest.mark.parametrize("tries", [9, 31, 1000, 10**6])
def test_wait_has_a_limit_however_often_it_was_tried(tries: int) -> None:
    assert 150.0 <= backoff_s(2.0, tries, 300.0) <= 300.0


def test_wait_is_none_when_it_is_set_so() -> None:
    assert backoff_s(0.0, 7, 300.0) == 0.0
