"""Is a candidate better than the champion, on patients that no version learnt from; pure.

Better on what the champion's package calls primary, beyond what chance explains; not worse on anything else by more
than its margins; and not worse within one site, scanner, sex or age band, as far as that can be seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model_contract import Finding, Gate
from worker.training.metrics import (
    AUC,
    CALIBRATION_ERROR,
    METRICS,
    NUM_RESAMPLES,
    SENSITIVITY,
    SPECIFICITY,
    Answer,
    Counts,
    Flags,
    Values,
    all_once,
    measured,
    reliability,
    resamples,
    roc_curve,
)

SEED = 0
# The interval of a difference: what 95 of 100 resamples give.
INTERVAL_PERCENT = (2.5, 97.5)
DECIMALS = 6
# Of the resamples, those in which nobody or everybody has a finding.
MOST_UNTOLD = 0.01
# Of one kind, such as sites, those with the most patients.
MOST_SUBGROUPS = 50
CANDIDATE, CHAMPION = "candidate", "champion"
WORDS = {name: name.replace("_", " ") for name in METRICS} | {AUC: "AUC"}

Document = dict[str, Any]


@dataclass(frozen=True)
class Exam:
    """The patients of the holdout: what is true of them (patients, findings), who they are, and the answers.

    Candidate and champion have an answer for each finding.

    `groups` has, for each kind such as site, the value of every patient.
    """

    truth: Flags
    groups: Mapping[str, NDArray[np.str_]]
    candidate: Sequence[Answer]
    champion: Sequence[Answer]


@dataclass(frozen=True)
class Verdict:
    """Why the candidate is not to serve, nothing where it is; and all that was measured, as JSON has it."""

    reasons: list[str]
    measures: Document


def shortage(policy: Gate, findings: Sequence[Finding], truth: Flags) -> Iterator[str]:
    """Of which findings the holdout has too few patients to judge."""
    for at, code in _judged(findings).items():
        positives, negatives = int(truth[:, at].sum()), int((~truth[:, at]).sum())
        if min(positives, negatives) < policy.least_of_each:
            yield (
                f"{code}: the holdout has {positives} patients with it and {negatives} without; {policy.least_of_each} "
                "of each are needed to judge"
            )


def judge(
    policy: Gate, findings: Sequence[Finding], exam: Exam, on_finding: Callable[[], None] = lambda: None
) -> Verdict:
    """The same answers always give the same verdict; only where `shortage` finds none.

    `on_finding` is called before each finding: of very many patients one takes seconds.
    """

    def each() -> Iterator[tuple[int, str]]:
        for finding in _judged(findings).items():
            on_finding()
            yield finding

    counts = resamples(len(exam.truth), SEED)
    compared = [_compare(exam, at, code, counts) for at, code in each()]
    primary = np.mean([one.gains[policy.primary] for one in compared], axis=0)
    subgroups = [one for at, code in each() for one in _subgroups(policy, exam, at, code)]
    reasons = [
        *_not_better(policy, primary),
        *(reason for one in compared for reason in _worse(policy, one)),
        *(reason for one in subgroups for reason in _fallen(policy, one)),
    ]
    measures = {
        "primary": {"metric": policy.primary} | _gain(primary),
        "findings": [one.document for one in compared],
        "subgroups": subgroups,
        "seed": SEED,
        "resamples": NUM_RESAMPLES,
    }
    return Verdict(reasons, measures)


@dataclass(frozen=True)
class _Compared:
    """Of one finding, how much better the candidate is by each measure: first of the patients, then of resamples."""

    code: str
    gains: Mapping[str, Values]
    document: Document


def _judged(findings: Sequence[Finding]) -> dict[int, str]:
    """The places and codes of what is not a background."""
    return {at: one.code for at, one in enumerate(findings) if not one.background}


def _compare(exam: Exam, at: int, code: str, counts: Counts) -> _Compared:
    truth = exam.truth[:, at]
    new, old = (measured(truth, answers[at], counts) for answers in (exam.candidate, exam.champion))
    gains = {name: old[name] - new[name] if name == CALIBRATION_ERROR else new[name] - old[name] for name in METRICS}
    document = {
        "code": code,
        "positives": int(truth.sum()),
        "negatives": int((~truth).sum()),
        "gains": {name: _gain(values) for name, values in gains.items()},
        CANDIDATE: _shown(exam.candidate[at], truth, new),
        CHAMPION: _shown(exam.champion[at], truth, old),
    }
    return _Compared(code, gains, document)


def _shown(answer: Answer, truth: Flags, found: Mapping[str, Values]) -> Document:
    return {
        **{name: _number(values[0]) for name, values in found.items()},
        "threshold": answer.threshold,
        "roc": roc_curve(truth, answer.scores),
        "reliability": reliability(truth, answer.probabilities),
    }


def _gain(gains: Values) -> Document:
    """What the patients show, and the interval that the resamples give."""
    drawn = gains[1:][~np.isnan(gains[1:])]
    low, high = np.percentile(drawn, INTERVAL_PERCENT) if len(drawn) else (np.nan, np.nan)
    return {"gain": _number(gains[0]), "low": _number(low), "high": _number(high)}


def _not_better(policy: Gate, gains: Values) -> Iterator[str]:
    gain = _gain(gains)
    if np.isnan(gains).mean() > MOST_UNTOLD:
        yield f"too few patients have each finding to tell by how much its {WORDS[policy.primary]} differs: label more"
    elif gain["low"] <= 0:
        yield (
            f"it is not shown to be better: its {WORDS[policy.primary]} is {gain['gain']:+.4f} from the champion's, "
            f"and with other patients that might be {gain['low']:+.4f} to {gain['high']:+.4f} (95 %)"
        )


def _worse(policy: Gate, compared: _Compared) -> Iterator[str]:
    for name, values in compared.gains.items():
        gain, allowed = _gain(values), getattr(policy.margins, name)
        if gain["low"] is not None and gain["low"] < -allowed:
            yield (
                f"{compared.code}: its {WORDS[name]} may be worse by {-gain['low']:.4f} (95 %; here "
                f"{gain['gain']:+.4f}), and {allowed:g} is allowed"
            )


def _subgroups(policy: Gate, exam: Exam, at: int, code: str) -> Iterator[Document]:
    """Both versions on each group that is not everybody, by each measure for which there are enough patients."""
    truth = exam.truth[:, at]
    for kind, values in exam.groups.items():
        names, sizes = np.unique(values, return_counts=True)
        for name in names[np.argsort(-sizes, kind="stable")][:MOST_SUBGROUPS]:
            mine = values == name
            positives, negatives = int((truth & mine).sum()), int((~truth & mine).sum())
            enough = {SENSITIVITY: positives, SPECIFICITY: negatives, AUC: min(positives, negatives)}
            told = [name for name, patients in enough.items() if patients >= policy.least_of_each]
            if told and not mine.all():
                yield {
                    "by": kind,
                    "value": str(name),
                    "finding": code,
                    "positives": positives,
                    "negatives": negatives,
                    CANDIDATE: _within(exam.candidate[at], truth, mine, told),
                    CHAMPION: _within(exam.champion[at], truth, mine, told),
                }


def _within(answer: Answer, truth: Flags, mine: Flags, told: Sequence[str]) -> Document:
    found = measured(truth[mine], answer.of(mine), all_once(int(mine.sum())))
    return {name: _number(found[name][0]) for name in told}


def _fallen(policy: Gate, one: Document) -> Iterator[str]:
    for name, new in one[CANDIDATE].items():
        old = one[CHAMPION][name]
        if round(new - old, DECIMALS) < -policy.subgroup_margin:
            yield (
                f"{one['by']} {one['value']}, {one['finding']}: its {WORDS[name]} is {new:.4f} where the champion's is "
                f"{old:.4f}, and {policy.subgroup_margin:g} less is allowed"
            )


def _number(value: float) -> float | None:
    """Rounded, so that the last bits of a sum decide nothing."""
    return None if np.isnan(value) else round(float(value), DECIMALS)
