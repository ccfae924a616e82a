"""Do heat maps point at the lesion? `python -m bench.heat_maps`: a pooling head, fitted to phantoms, on unseen films.

For each engine the share of true positives whose map has its peak in the lesion's box, dilated by one cell of the map;
beside it the same of networks with random weights, and what a peak anywhere would give. `--picture FILE` also makes the
picture of the README.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.cli.phantoms import draw_film_and_place
from api.pictures import PictureMaker, Wanted
from bench.harness import report
from shared.config import Settings
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from shared.heat_map_file import encode_maps
from shared.model_contract import ModelContract
from shared.model_package import load_contract
from tests.dicom_samples import make_dataset, to_bytes
from tests.model_samples import contract_fields, write_contract
from tests.phantom_maps import SIDE, Films, chance, draw_films, fit_network, hits
from worker.engines.compiled import CompiledEngine
from worker.engines.keras import load_keras_engine
from worker.engines.openvino import load_openvino_engine
from worker.inference.preprocess import to_input
from worker.networks import pooled_cnn

BATCH_SIZE = 16
THRESHOLD = 0.5
PICTURE_SEED = 11
COLUMNS = ("what", "true positives", "peak in the box")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, measure, print, write."""
    parser = argparse.ArgumentParser("python -m bench.heat_maps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one fit instead of three")
    parser.add_argument("--picture", type=Path, help="also make a picture of a film with a lesion")
    given = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    train, unseen = draw_films(1200, seed=1), draw_films(1000, seed=2)
    found: dict[str, list[tuple[int, float]]] = {"keras float32": [], "openvino float32": [], "random weights": []}
    for seed in range(1 if given.quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            engines = _engines(Path(folder), fit_network(train, epochs=10, seed=seed))
            for name, engine in engines.items():
                found[name].append(_measured(engine, unseen))
            if given.picture and seed == 0:
                given.picture.write_bytes(_picture(Path(folder), engines["keras float32"]))
    for seed in range(10):
        found["random weights"].append(_random(unseen, seed))
    _tell(found, chance((SIDE // 4, SIDE // 4), unseen.boxes[unseen.lesions]))


def _tell(found: dict[str, list[tuple[int, float]]], by_chance: float) -> None:
    rows = [
        (name, str(sum(count for count, _ in runs)), " ".join(f"{share:.3f}" for _, share in runs))
        for name, runs in found.items()
    ]
    ratios = {name.replace(" ", "_"): float(np.mean([share for _, share in runs])) for name, runs in found.items()}
    report("heat_maps", COLUMNS, [*rows, ("a peak anywhere", "", f"{by_chance:.3f}")], ratios | {"chance": by_chance})


def _contract(folder: Path, network: Any) -> ModelContract:
    network.save(folder / "weights.keras")
    normalise = {"mean": [0.5], "std": [0.25]}
    preprocess = {"units": "stored", "intensity": {"kind": "window", "center": 32768.0, "width": 65536.0}}
    write_contract(
        folder, contract_fields(side=SIDE, preprocess=preprocess | {"resize": "stretch", "normalise": normalise})
    )
    return load_contract((folder / "model.json").read_bytes())


def _engines(folder: Path, network: Any) -> dict[str, CompiledEngine]:
    contract, weights = _contract(folder, network), folder / "weights.keras"
    return {
        "keras float32": load_keras_engine(contract, weights, [BATCH_SIZE]),
        "openvino float32": load_openvino_engine(contract, weights, "float32", [BATCH_SIZE], folder / "cache"),
    }


def _measured(engine: CompiledEngine, films: Films) -> tuple[int, float]:
    """How many true positives, and the share of them whose peak hits."""
    probabilities, maps = engine.predict_with_maps(films.frames)
    assert maps is not None
    positive = films.lesions & (probabilities[:, 0] >= THRESHOLD)
    return int(positive.sum()), float(hits(maps[positive, 0], films.boxes[positive]).mean())


def _random(films: Films, seed: int) -> tuple[int, float]:
    """The same of all films with a lesion, which a network of random weights does not tell from the others."""
    import keras

    keras.utils.set_random_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        network = pooled_cnn.build(SIDE, SIDE, 1, 2)
        engine = load_keras_engine(_contract(Path(folder), network), Path(folder) / "weights.keras", [BATCH_SIZE])
    _, maps = engine.predict_with_maps(films.frames[films.lesions])
    assert maps is not None
    return int(films.lesions.sum()), float(hits(maps[:, 0], films.boxes[films.lesions]).mean())


def _picture(folder: Path, engine: CompiledEngine) -> bytes:
    """The picture that a report would show of a film with a lesion."""
    anatomy, view = (np.random.default_rng([PICTURE_SEED, part]) for part in range(2))
    film, _ = draw_film_and_place(anatomy, view, SIDE, lesion=True)
    (folder / "film.dcm").write_bytes(to_bytes(make_dataset((film * 65535).astype(np.uint16), Modality="CR")))
    settings = Settings()
    (frame,) = iter_frames(folder / "film.dcm", ReadLimits.of_settings(settings))
    array: NDArray[np.float32] = to_input(frame, load_contract((folder / "model.json").read_bytes()))
    _, maps = engine.predict_with_maps(array[np.newaxis])
    assert maps is not None
    (folder / "maps.npy").write_bytes(encode_maps([maps[0, 0].astype(np.float16)]))
    wanted = Wanted(str(folder / "film.dcm"), 1, str(folder / "maps.npy"), 0, "stretch", (SIDE, SIDE), side=320)
    maker = PictureMaker(settings)
    try:
        return maker.make(wanted)
    finally:
        maker.close()


if __name__ == "__main__":
    main()
