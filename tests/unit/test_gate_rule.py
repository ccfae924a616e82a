"""The gate lets through what is better on patients nobody learnt from, and says why it holds what is not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.model_contract import Finding, Gate
from worker.training.gate import Exam, Verdict, judge, shortage
from worker.training.metrics import Answer

NUM_PATIENTS = 400
LESION = Finding(code="lesion", display="Lesion", threshold=0.5)
TRUTH = np.arange(NUM_PATIENTS) % 2 == 0
SITES = np.where(np.arange(NUM_PATIENTS) < 40, "South", "North")


def scores(skill: float, seed: int = 0) -> NDArray[np.float64]:
    """Probabilities that mean what they say: of two normal curves that lie 2 * skill apart, of which patients come."""
    seen = np.where(TRUTH, skill, -skill) + np.random.default_rng(seed).normal(size=NUM_PATIENTS)
    return np.asarray(1 / (1 + np.exp(-2 * skill * seen)))


def verdict(
    candidate: NDArray[np.float64],
    champion: NDArray[np.float64],
    policy: Gate | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Verdict:
    answers = [[Answer(one, at, one)] for one, at in zip((candidate, champion), thresholds, strict=True)]
    return judge(policy or Gate(), [LESION], Exam(TRUTH[:, np.newaxis], {"site": SITES}, *answers))


def interrupt() -> None:
    raise InterruptedError


def test_better_candidate_passes() -> None:
    found = verdict(scores(1.0), scores(0.4))

    assert found.reasons == []
    primary = found.measures["primary"]
    assert 0 < primary["low"] < primary["gain"] < primary["high"]
    (finding,) = found.measures["findings"]
    assert finding["candidate"]["auc"] > finding["champion"]["auc"]
    assert (finding["positives"], finding["negatives"]) == (200, 200)
    assert {one["value"] for one in found.measures["subgroups"]} == {"North", "South"}


def test_candidate_that_knows_nothing_is_held() -> None:
    reasons = verdict(scores(0.0), scores(0.6)).reasons

    assert reasons[0].startswith("it is not shown to be better: its AUC is -0.")
    assert any(one.startswith("lesion: its specificity may be worse by") for one in reasons)


def test_candidate_that_answers_as_the_champion_is_held() -> None:
    same = scores(0.6)

    assert verdict(same, same).reasons == [
        "it is not shown to be better: its AUC is +0.0000 from the champion's, and with other patients that might be "
        "+0.0000 to +0.0000 (95 %)"
    ]


def test_candidate_better_by_luck_is_held() -> None:
    champion = scores(0.6)
    candidate = champion.copy()
    worst = np.flatnonzero(TRUTH)[np.argmin(champion[TRUTH])]
    candidate[worst] = 1.0

    found = verdict(candidate, champion)

    assert found.measures["primary"]["gain"] > 0
    assert found.reasons[0].startswith("it is not shown to be better: its AUC is +0.00")


def test_candidate_that_misses_more_at_one_site_is_held() -> None:
    candidate = scores(2.5)
    # Still over every negative there, but under the threshold.
    candidate[TRUTH & (SITES == "South")] = 0.45
    champion = scores(0.6)

    found = verdict(candidate, champion)

    assert found.measures["primary"]["low"] > 0
    (reason,) = found.reasons
    assert reason.startswith("site South, lesion: its sensitivity is 0.0000 where the champion's is ")


def test_candidate_that_calls_more_negatives_is_held() -> None:
    reasons = verdict(scores(2.0), scores(0.8), thresholds=(0.001, 0.5)).reasons

    assert any(one.startswith("lesion: its specificity may be worse by") for one in reasons)


def test_candidate_whose_probabilities_mean_less_is_held() -> None:
    shrunk = scores(1.0) * 0.4

    reasons = verdict(shrunk, scores(0.4), thresholds=(0.2, 0.5)).reasons

    (reason,) = reasons
    assert reason.startswith("lesion: its calibration error may be worse by 0.")


def test_margins_are_the_packages() -> None:
    policy = Gate(margins={"specificity": 1.0}, subgroup_margin=1.0)

    assert verdict(scores(2.0), scores(0.8), policy, thresholds=(0.001, 0.5)).reasons == []


@pytest.mark.parametrize("primary", ["sensitivity", "specificity"])
def test_another_measure_can_be_the_primary_one(primary: str) -> None:
    found = verdict(scores(1.0), scores(0.2), Gate(primary=primary))

    assert found.measures["primary"]["metric"] == primary
    assert found.reasons == []


def test_the_same_answers_give_the_same_verdict() -> None:
    assert verdict(scores(1.0), scores(0.4)) == verdict(scores(1.0), scores(0.4))


def test_judging_gives_a_sign_of_life_before_each_finding_and_can_be_ended() -> None:
    findings = [Finding(code=code, display=code, threshold=0.5) for code in ("lesion", "nodule", "mass")]
    truth = np.stack([TRUTH] * 3, axis=1)
    answers = [[Answer(scores(skill), 0.5, scores(skill))] * 3 for skill in (1.0, 0.4)]
    exam = Exam(truth, {"site": SITES}, *answers)
    signs: list[int] = []

    watched = judge(Gate(), findings, exam, lambda: signs.append(1))

    assert len(signs) >= len(findings)
    assert watched == judge(Gate(), findings, exam)
    with pytest.raises(InterruptedError):
        judge(Gate(), findings, exam, interrupt)


def test_too_few_patients_are_said() -> None:
    truth = np.array([[True]] * 9 + [[False]] * 50)

    (reason,) = shortage(Gate(), [LESION], truth)

    assert reason == "lesion: the holdout has 9 patients with it and 50 without; 10 of each are needed to judge"
    assert list(shortage(Gate(least_of_each=9), [LESION], truth)) == []


def test_background_is_not_judged() -> None:
    normal = Finding(code="normal", display="Normal", threshold=0.5, background=True)
    both = np.stack([~TRUTH, TRUTH], axis=1)
    candidate, champion = scores(1.0), scores(0.4)
    answers = [[Answer(1 - one, 0.5, 1 - one), Answer(one, 0.5, one)] for one in (candidate, champion)]

    found = judge(Gate(), [normal, LESION], Exam(both, {"site": SITES}, *answers))

    assert [one["code"] for one in found.measures["findings"]] == ["lesion"]
    assert found.measures["findings"] == verdict(candidate, champion).measures["findings"]


def test_measure_that_hangs_on_one_patient_is_held() -> None:
    """Left out of a third of the resamples, that patient would be right in all that tell."""
    truth = np.arange(NUM_PATIENTS) == 0
    candidate, champion = np.where(truth, 0.9, 0.1), np.where(truth, 0.0, 0.1)
    answers = [[Answer(one, 0.5, one)] for one in (candidate, champion)]

    found = judge(Gate(least_of_each=1), [LESION], Exam(truth[:, np.newaxis], {"site": SITES}, *answers))

    assert found.measures["primary"]["low"] > 0
    assert found.reasons[0].startswith("too few patients have each finding to tell")
