"""From a network's outputs to probabilities, for each task and way of stating them."""

import json

import numpy as np
import pytest

from shared.model_package import ModelContract, load_contract
from tests.model_samples import contract_fields
from worker.engines.probabilities import to_probabilities


def contract(task: str, output: str) -> ModelContract:
    return load_contract(json.dumps(contract_fields(task=task, output=output)))


@pytest.mark.parametrize(
    ("task", "output", "given", "expected"),
    [
        ("binary", "logits", [[0.0]], [[0.5]]),
        ("binary", "logits", [[2.0]], [[1 / (1 + np.exp(-2.0))]]),
        ("binary", "logits", [[1.0, 3.0]], [[1 / (1 + np.exp(-2.0))]]),
        ("binary", "probabilities", [[0.25]], [[0.25]]),
        ("binary", "probabilities", [[0.25, 0.75]], [[0.75]]),
        ("multiclass", "logits", [[0.0, 0.0, np.log(2.0)]], [[0.25, 0.25, 0.5]]),
        ("multiclass", "probabilities", [[0.2, 0.3, 0.5]], [[0.2, 0.3, 0.5]]),
        ("multilabel", "logits", [[0.0, 2.0, -2.0]], [[0.5, 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))]]),
        ("multilabel", "probabilities", [[0.9, 0.8, 0.7]], [[0.9, 0.8, 0.7]]),
        ("binary", "logits", [[1e30], [-1e30]], [[1.0], [0.0]]),
        ("multiclass", "logits", [[1e30, 0.0, -1e30]], [[1.0, 0.0, 0.0]]),
        ("multilabel", "probabilities", [[1.001, -0.001, 0.5]], [[1.0, 0.0, 0.5]]),
    ],
)
def test_probabilities_follow_the_contract(
    task: str, output: str, given: list[list[float]], expected: list[list[float]]
) -> None:
    probabilities = to_probabilities(contract(task, output), np.array(given, np.float32))

    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "output", "bad"),
    [
        ("binary", "logits", [np.nan]),
        ("multilabel", "logits", [0.0, np.inf, 0.0]),
        ("multilabel", "probabilities", [0.5, 3.2, 0.5]),
        ("multiclass", "probabilities", [0.5, 0.5, 0.5]),
        ("binary", "probabilities", [0.5, 0.1]),
    ],
)
def test_only_the_bad_row_is_nan_when_it_holds_no_probabilities(task: str, output: str, bad: list[float]) -> None:
    good = np.full(len(bad), 1 / len(bad))

    probabilities = to_probabilities(contract(task, output), np.array([good, bad, good], np.float32))

    assert np.isnan(probabilities[1]).all()
    assert np.isfinite(probabilities[[0, 2]]).all()
