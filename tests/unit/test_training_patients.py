"""Rolling up very many patients can be watched, and ended, between any two of them."""

import json
from datetime import date

import numpy as np
import pytest

from shared.model_package import load_contract
from shared.states import Split
from tests.model_samples import contract_fields
from worker.training.patients import by_patient, rolled_up
from worker.training.samples import Labelled

CONTRACT = load_contract(json.dumps(contract_fields()))


def interrupt() -> None:
    raise InterruptedError


def test_roll_up_gives_a_sign_of_life_for_each_patient_and_can_be_ended() -> None:
    samples = [
        Labelled(f"p{at // 2}", f"1.{at}", "1", date(2024, 1, 1), f"file {at}", Split.HOLDOUT, at % 2)
        for at in range(6)
    ]
    outputs = {one.sha256: np.full((1, 1), at / 10) for at, one in enumerate(samples)}
    patients = by_patient(CONTRACT, samples)
    signs: list[int] = []

    watched = rolled_up(CONTRACT, patients, outputs, lambda: signs.append(1))

    assert len(signs) == len(patients) == 3
    assert np.array_equal(watched, rolled_up(CONTRACT, patients, outputs))
    with pytest.raises(InterruptedError):
        rolled_up(CONTRACT, patients, outputs, interrupt)
