"""Whose turn it is at the claim: by weight, smoothly, and every lane is asked in the end."""

from collections import Counter
from itertools import pairwise

import pytest
from pydantic import ValidationError

from shared.config import Settings, load_settings
from shared.states import INFERENCE_LANES, Lane
from worker.turns import LaneTurns

URGENT, ROUTINE, BACKGROUND = INFERENCE_LANES


def _settings(**given: object) -> Settings:
    return load_settings(**given)


def _firsts(turns: LaneTurns, number: int) -> list[Lane]:
    return [turns.next_order()[0] for _ in range(number)]


def test_lanes_lead_as_often_as_they_weigh() -> None:
    turns = LaneTurns.of_settings(_settings())

    assert Counter(_firsts(turns, 21)) == {URGENT: 16, ROUTINE: 4, BACKGROUND: 1}
    assert Counter(_firsts(turns, 210)) == {URGENT: 160, ROUTINE: 40, BACKGROUND: 10}


def test_lighter_lanes_turns_are_spread_out() -> None:
    firsts = _firsts(LaneTurns.of_settings(_settings()), 42)

    routine = [number for number, lane in enumerate(firsts) if lane is ROUTINE]
    gaps = [later - earlier for earlier, later in pairwise(routine)]
    assert max(gaps) <= 7
    assert firsts[0] is URGENT


def test_order_names_every_lane_once_and_the_urgent_before_the_others() -> None:
    turns = LaneTurns.of_settings(_settings())

    for _ in range(21):
        first, *rest = turns.next_order()
        assert {first, *rest} == set(INFERENCE_LANES)
        assert rest == [lane for lane in INFERENCE_LANES if lane is not first]


def test_worker_serves_only_the_lanes_that_are_set() -> None:
    turns = LaneTurns.of_settings(_settings(worker_lanes="background,urgent"))

    assert turns.lanes == (URGENT, BACKGROUND)
    assert Counter(_firsts(turns, 17)) == {URGENT: 16, BACKGROUND: 1}
    assert {lane for _ in range(17) for lane in turns.next_order()} == {URGENT, BACKGROUND}


def test_more_urgent_lanes_are_those_before_this_one() -> None:
    turns = LaneTurns.of_settings(_settings())

    assert [turns.more_urgent_than(lane) for lane in INFERENCE_LANES] == [(), (URGENT,), (URGENT, ROUTINE)]


@pytest.mark.parametrize(("name", "value"), [("weight_background", 0), ("worker_lanes", "urgent,express")])
def test_settings_refuse_what_would_stop_a_lane(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        _settings(**{name: value})
