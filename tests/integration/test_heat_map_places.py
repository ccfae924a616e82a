"""Heat maps point at the lesion: of a network fitted to phantoms, on unseen films; those of random weights do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.model_package import load_contract
from tests.model_samples import contract_fields, write_contract
from tests.phantom_maps import SIDE, Films, chance, draw_films, fit_network, hits
from worker.engines.compiled import CompiledEngine
from worker.engines.openvino import load_openvino_engine
from worker.networks import pooled_cnn

WANTED_SHARE = 0.9
NUM_RANDOM = 6

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def unseen() -> Films:
    return draw_films(300, seed=2)


def served(folder: Path, network: Any) -> CompiledEngine:
    folder.mkdir()
    network.save(folder / "weights.keras")
    write_contract(folder, contract_fields(side=SIDE))
    contract = load_contract((folder / "model.json").read_bytes())
    return load_openvino_engine(contract, folder / "weights.keras", "float32", [16], folder / "cache")


def test_peak_lies_in_the_lesions_box_in_nine_of_ten_true_positives(tmp_path: Path, unseen: Films) -> None:
    engine = served(tmp_path / "fitted", fit_network(draw_films(800, seed=1), epochs=10, seed=5))

    probabilities, maps = engine.predict_with_maps(unseen.frames)

    assert maps is not None
    positive = unseen.lesions & (probabilities[:, 0] >= 0.5)
    assert positive.sum() > 0.9 * unseen.lesions.sum()
    assert hits(maps[positive, 0], unseen.boxes[positive]).mean() >= WANTED_SHARE


def test_peak_of_random_weights_lies_there_no_more_often_than_by_chance(tmp_path: Path, unseen: Films) -> None:
    import keras

    shares = []
    for seed in range(NUM_RANDOM):
        keras.utils.set_random_seed(seed)
        engine = served(tmp_path / str(seed), pooled_cnn.build(SIDE, SIDE, 1, 2))
        _, maps = engine.predict_with_maps(unseen.frames[unseen.lesions])
        assert maps is not None
        shares.append(hits(maps[:, 0], unseen.boxes[unseen.lesions]).mean())

    by_chance = chance((SIDE // 4, SIDE // 4), unseen.boxes[unseen.lesions])
    assert 0.04 < by_chance < 0.1
    # A network sees edges and vessels also without being fitted, so single ones are above or below.
    assert np.mean(shares) < 2 * by_chance
