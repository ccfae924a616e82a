"""How well heat maps find a phantom's lesion: films of which its place is known, a network fitted to them, the hits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.cli.phantoms import draw_film_and_place
from worker.networks import pooled_cnn

SIDE = 64
BATCH_SIZE = 32


@dataclass(frozen=True)
class Films:
    """Chest films, every other one with a lesion.

    `frames` float32 (films, rows, columns, 1), normalised; `lesions` bool (films,); `boxes` (films, 4): first and last
    row, first and last column of where the lesion lies, or would lie.
    """

    frames: NDArray[np.float32]
    lesions: NDArray[np.bool_]
    boxes: NDArray[np.int64]


def draw_films(count: int, seed: int) -> Films:
    """As many films, each of a patient of its own; the same by seed."""
    lesions = np.arange(count) % 2 == 0
    drawn = [
        draw_film_and_place(
            np.random.default_rng([seed, n, 0]), np.random.default_rng([seed, n, 1]), SIDE, lesion=bool(lesion)
        )
        for n, lesion in enumerate(lesions)
    ]
    frames = (np.array([image for image, _ in drawn], np.float32) - 0.5) / 0.25
    return Films(frames[..., np.newaxis], lesions, np.array([box for _, box in drawn]))


def fit_network(films: Films, *, epochs: int, seed: int) -> Any:
    """The network with a pooling head, fitted to the films; logits (batch, 2), the second of a lesion."""
    import keras

    keras.utils.set_random_seed(seed)
    network = pooled_cnn.build(SIDE, SIDE, 1, 2)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * len(films.frames) // BATCH_SIZE)
    network.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(films.frames, films.lesions.astype(np.int64), epochs=epochs, batch_size=BATCH_SIZE, verbose=0)
    return network


def hits(maps: NDArray[np.floating[Any]], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the peak of each map, (films, map rows, map columns), lies in its box, dilated by one cell of the map."""
    peaks = np.array([np.unravel_index(one.argmax(), one.shape) for one in maps])
    return np.array([_inside(maps.shape[1:], box)[tuple(peak)] for peak, box in zip(peaks, boxes, strict=True)])


def chance(map_shape: tuple[int, ...], boxes: NDArray[np.int64]) -> float:
    """The share of hits of peaks that lie anywhere: what share of a map's cells the dilated boxes hold, on average."""
    return float(np.mean([_inside(map_shape, box).mean() for box in boxes]))


def _inside(map_shape: tuple[int, ...], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which cells have their middle in the box, dilated by one cell: bool (map rows, map columns)."""
    sides = []
    for cells, (first, last) in zip(map_shape, box.reshape(2, 2), strict=True):
        cell = SIDE / cells
        middles = (np.arange(cells) + 0.5) * cell - 0.5
        sides.append((middles >= first - cell) & (middles <= last + cell))
    return np.logical_and.outer(*sides)
