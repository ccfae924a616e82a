"""Suspects are tried alone: nobody is beside them, they are not put off for ever, and who waits says that it lives."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Event

import pytest

from worker.inference import company as company_module
from worker.inference.company import Company

WAIT_S = 30.0


class _Guest:
    """A thread that comes in, says so, and stays until it is told to go."""

    def __init__(self, pool: ThreadPoolExecutor, way_in: Callable[[Callable[[], None]], AbstractContextManager[None]]):
        self.waits, self.inside, self.go = Event(), Event(), Event()
        self.over: Future[None] = pool.submit(self._visit, way_in)

    def _visit(self, way_in: Callable[[Callable[[], None]], AbstractContextManager[None]]) -> None:
        with way_in(self.waits.set):
            self.inside.set()
            assert self.go.wait(WAIT_S)

    def leave(self) -> None:
        self.go.set()
        self.over.result(WAIT_S)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company_module, "WAKE_S", 0.01)


def test_many_work_in_company_at_once() -> None:
    company = Company()

    with ThreadPoolExecutor(2) as pool:
        guests = [_Guest(pool, company.shared) for _ in range(2)]
        assert all(guest.inside.wait(WAIT_S) for guest in guests)
        for guest in guests:
            guest.leave()


@pytest.mark.parametrize(("inside", "outside"), [("shared", "alone"), ("alone", "alone"), ("alone", "shared")])
def test_who_comes_waits_when_either_is_to_be_alone(inside: str, outside: str) -> None:
    company = Company()

    with ThreadPoolExecutor(2) as pool:
        first = _Guest(pool, getattr(company, inside))
        assert first.inside.wait(WAIT_S)
        second = _Guest(pool, getattr(company, outside))
        assert second.waits.wait(WAIT_S)
        assert not second.inside.is_set()
        first.leave()
        assert second.inside.wait(WAIT_S)
        second.leave()


def test_one_who_wants_to_be_alone_goes_before_those_who_come_later() -> None:
    company = Company()

    with ThreadPoolExecutor(3) as pool:
        first = _Guest(pool, company.shared)
        assert first.inside.wait(WAIT_S)
        suspect = _Guest(pool, company.alone)
        assert suspect.waits.wait(WAIT_S)
        later = _Guest(pool, company.shared)
        assert later.waits.wait(WAIT_S)
        first.leave()
        assert suspect.inside.wait(WAIT_S)
        assert not later.inside.is_set()
        suspect.leave()
        assert later.inside.wait(WAIT_S)
        later.leave()


def _raise() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("kind", ["shared", "alone"])
def test_place_is_free_again_when_its_guest_failed(kind: str) -> None:
    company = Company()

    with pytest.raises(ZeroDivisionError), getattr(company, kind)(_raise):
        _raise()

    with company.alone(_raise):
        pass


def test_others_come_in_when_one_who_wanted_to_be_alone_gave_up() -> None:
    company = Company()

    with company.shared(_raise):
        with pytest.raises(ZeroDivisionError), company.alone(_raise):
            pytest.fail("nobody may be alone here")
        with company.shared(_raise):
            pass
