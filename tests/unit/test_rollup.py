"""Rules and reach of aggregation, as pure functions."""

import json
from datetime import date
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model_contract import MajorityRule, MaxRule, MeanRule, MeanTopKRule, NoisyOrRule
from shared.model_package import load_contract
from shared.rollup import Rule, in_scope, roll_up
from tests.model_samples import contract_fields


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"kind": "max"}, 0.8),
        ({"kind": "mean"}, 0.4),
        ({"kind": "mean_top_k", "k": 1}, 0.8),
        ({"kind": "mean_top_k", "k": 2}, 0.6),
        ({"kind": "mean_top_k", "k": 9}, 0.4),
        ({"kind": "majority"}, 0.3),
        ({"kind": "noisy_or"}, 1 - 0.2 * 0.6 * 0.9 * 0.7),
    ],
)
def test_roll_up_follows_the_rule(rule: dict[str, Any], expected: float) -> None:
    fields = contract_fields(aggregation=dict.fromkeys(("frames", "instances", "series", "studies"), rule))
    frames_rule = load_contract(json.dumps(fields)).aggregation.frames

    assert roll_up(frames_rule, [0.1, 0.8, 0.3, 0.4]) == pytest.approx(expected)
    assert roll_up(frames_rule, [0.7]) == pytest.approx(0.7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 1))
def test_majority_is_over_a_threshold_where_more_than_half_are(values: list[float], threshold: float) -> None:
    over = sum(value >= threshold for value in values)

    assert (roll_up(MajorityRule(kind="majority"), values) >= threshold) is (2 * over > len(values))


RULES = [
    MaxRule(kind="max"),
    MeanRule(kind="mean"),
    MeanTopKRule(kind="mean_top_k", k=2),
    NoisyOrRule(kind="noisy_or"),
    MajorityRule(kind="majority"),
]


@given(st.sampled_from(RULES), st.lists(st.floats(0, 1), min_size=1, max_size=9), st.randoms())
def test_order_does_not_matter_and_what_comes_is_a_probability(rule: Rule, values: list[float], random: Random) -> None:
    rolled_up = roll_up(rule, values)
    random.shuffle(values)

    assert roll_up(rule, values) == rolled_up
    assert 0.0 <= rolled_up <= 1.0


@given(st.sampled_from(RULES), st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_sums_are_to_the_last_bit_those_of_numpy(rule: Rule, values: list[float]) -> None:
    falling = np.sort(np.array(values))[::-1]
    expected = {
        "max": falling[0],
        "mean": falling.mean(),
        "mean_top_k": falling[:2].mean(),
        "noisy_or": 1.0 - np.prod(1.0 - falling),
        "majority": falling[len(falling) // 2],
    }

    assert roll_up(rule, values) == expected[rule.kind]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_what_shows_nothing_never_raises_the_largest(values: list[float]) -> None:
    assert roll_up(RULES[0], [*values, 0.0]) == roll_up(RULES[0], values)


OLD, RECENT, NEWEST = date(2024, 1, 1), date(2024, 3, 1), date(2024, 3, 31)


@pytest.mark.parametrize(
    ("scope", "dates", "expected"),
    [
        ({"kind": "all"}, [OLD, None, NEWEST], [True, True, True]),
        ({"kind": "latest_study"}, [NEWEST, OLD, RECENT], [True, False, False]),
        ({"kind": "latest_study"}, [NEWEST, None, NEWEST], [True, False, True]),
        ({"kind": "latest_study"}, [None, None], [True, True]),
        ({"kind": "window_days", "days": 30}, [OLD, RECENT, NEWEST, None], [False, True, True, False]),
        ({"kind": "window_days", "days": 29}, [OLD, RECENT, NEWEST], [False, False, True]),
    ],
)
def test_scope_holds_the_studies_of_its_reach(
    scope: dict[str, Any], dates: list[date | None], expected: list[bool]
) -> None:
    contract = load_contract(json.dumps(contract_fields(time_scope=scope)))

    assert in_scope(contract.time_scope, dates) == expected
