"""Agreement of reviewers with the machine: counts, kappa against scikit-learn, rates, and what is undefined."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, recall_score

from shared.reports.agreement import Agreement, Counted, Rate, agreements
from shared.states import Verdict


def counted(decision: bool, verdict: Verdict, number: int, **given: str | int) -> Counted:
    of = {"model_name": "m", "model_version": 1, "finding": "mass", "reviewer": "dr.a"} | given
    return Counted(**of, decision=decision, verdict=verdict, number=number)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_kappa_and_rates_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(200) < rng.uniform(0.1, 0.9)
    machine = np.where(rng.random(200) < rng.uniform(0.0, 0.6), ~truth, truth)
    cells = [int(np.sum((machine == one) & (truth == other))) for one in (True, False) for other in (True, False)]
    both_positive, false_positive, false_negative, both_negative = cells

    found = Agreement(both_positive, both_negative, false_positive, false_negative, unsure=9)

    assert found.kappa == pytest.approx(cohen_kappa_score(truth, machine), abs=1e-12)
    assert found.sensitivity.value == pytest.approx(recall_score(truth, machine))
    assert found.specificity.value == pytest.approx(recall_score(~truth, ~machine))
    assert found.sensitivity.n + found.specificity.n == 200


@pytest.mark.parametrize(
    ("found", "kappa"),
    [
        (Agreement(), None),
        (Agreement(unsure=3), None),
        (Agreement(both_positive=5), None),
        (Agreement(both_negative=5), None),
        (Agreement(both_positive=1, both_negative=1), 1.0),
        (Agreement(false_positive=1, false_negative=1), -1.0),
        (Agreement(false_positive=5), 0.0),
        (Agreement(both_positive=10**9, both_negative=10**9, false_positive=1), pytest.approx(1.0)),
    ],
)
def test_kappa_is_none_only_where_chance_explains_all(found: Agreement, kappa: float | None) -> None:
    assert found.kappa == kappa


def test_rate_of_nothing_is_none() -> None:
    found = Agreement(both_negative=2, false_positive=2)

    assert (found.sensitivity, found.specificity) == (Rate(None, 0), Rate(0.5, 4))


def test_verdicts_are_counted_by_what_machine_and_reviewer_say() -> None:
    counts = [
        counted(True, Verdict.AGREE, 1),
        counted(False, Verdict.AGREE, 2),
        counted(True, Verdict.DISAGREE, 3),
        counted(False, Verdict.DISAGREE, 4),
        counted(True, Verdict.UNSURE, 5),
        counted(False, Verdict.UNSURE, 6),
    ]

    (everybody, of_all), (_, of_one) = agreements(counts)

    assert everybody.reviewer is None
    assert of_all == of_one == Agreement(1, 2, 3, 4, 11)


def test_newest_version_comes_first_and_all_reviewers_before_each() -> None:
    counts = [
        counted(True, Verdict.AGREE, 1, reviewer=reviewer, model_version=version, finding=finding)
        for reviewer in ("dr.b", "dr.a")
        for version in (1, 2)
        for finding in ("nodule", "mass")
    ]

    found = [(group.model_version, group.finding, group.reviewer, one.sure) for group, one in agreements(counts)]

    assert found[:4] == [(2, "mass", None, 2), (2, "mass", "dr.a", 1), (2, "mass", "dr.b", 1), (2, "nodule", None, 2)]
    assert len(found) == 12
