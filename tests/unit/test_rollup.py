"""Rules and reach of aggregation, as pure functions."""

import json
from datetime import date
from typing import Any

import pytest

from shared.model_package import load_contract
from shared.rollup import in_scope, roll_up
from tests.model_samples import contract_fields


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"kind": "max"}, 0.8),
        ({"kind": "mean"}, 0.4),
        ({"kind": "mean_top_k", "k": 1}, 0.8),
        ({"kind": "mean_top_k", "k": 2}, 0.6),
        ({"kind": "mean_top_k", "k": 9}, 0.4),
        ({"kind": "noisy_or"}, 1 - 0.2 * 0.6 * 0.9 * 0.7),
    ],
)
def test_roll_up_follows_the_rule(rule: dict[str, Any], expected: float) -> None:
    fields = contract_fields(aggregation=dict.fromkeys(("frames", "instances", "series", "studies"), rule))
    frames_rule = load_contract(json.dumps(fields)).aggregation.frames

    assert roll_up(frames_rule, [0.1, 0.8, 0.3, 0.4]) == pytest.approx(expected)
    assert roll_up(frames_rule, [0.7]) == pytest.approx(0.7)


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
