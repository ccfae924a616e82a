"""What each step of a training learns from: a function of the seed and the step alone, so that a run can be resumed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.training_options import Augment, TrainingOptions

Frames = NDArray[np.float32]
# Prepared while the step before is computed.
AHEAD = 2


@dataclass(frozen=True)
class Examples:
    """Of `frames`, float32 (frames, rows, columns, channels), which may lie on disk, those at `places`, with classes.

    Both are int64 (examples,).
    """

    frames: Frames
    places: NDArray[np.int64]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, chosen: NDArray[np.int64]) -> Frames:
        """The frames of these examples, copied."""
        return self.frames[self.places[chosen]]


@dataclass(frozen=True)
class Batch:
    """As many examples as every other batch has; those that fill it up weigh nothing."""

    frames: Frames
    classes: NDArray[np.int64]
    weights: NDArray[np.float32]


def steps_of_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch has, the last of which may be filled up."""
    return -(-count // batch_size)


def class_weights(classes: NDArray[np.int64], num_classes: int, *, balanced: bool) -> NDArray[np.float32]:
    """What an example of each class weighs: 1, or so that all classes that are there weigh the same together."""
    counts = np.bincount(classes, minlength=num_classes)
    if not balanced:
        return np.ones(num_classes, np.float32)
    present = int((counts > 0).sum())
    return np.asarray(len(classes) / (present * np.maximum(counts, 1)), np.float32)


def batches(
    examples: Examples, weights: NDArray[np.float32], options: TrainingOptions, *, epoch: int, first_step: int = 0
) -> Iterator[Batch]:
    """The batches of an epoch from a step on, in the order that the seed gives, each prepared ahead of its step."""
    order = np.random.default_rng([options.seed, epoch]).permutation(len(examples))
    size = options.batch_size

    def make(step: int) -> Batch:
        chosen = order[step * size : (step + 1) * size]
        filled = np.resize(chosen, size)
        frames = augmented(examples.take(filled), options.augment, np.random.default_rng([options.seed, epoch, step]))
        classes = examples.classes[filled]
        counted = np.where(np.arange(size) < len(chosen), weights[classes], np.float32(0))
        return Batch(frames, classes, counted.astype(np.float32))

    steps = range(first_step, steps_of_epoch(len(examples), size))
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = [pool.submit(make, step) for step in steps[:AHEAD]]
        for step in steps:
            batch = coming.pop(0).result()
            if step + AHEAD in steps:
                coming.append(pool.submit(make, step + AHEAD))
            yield batch


def augmented(frames: Frames, how: Augment, rng: np.random.Generator) -> Frames:
    """The frames as they are learnt from this time; what is drawn depends on their places in the batch only."""
    rows, columns = frames.shape[1:3]
    mirrored = rng.random(len(frames)) < 0.5 * how.mirror
    most = np.array([round(how.shift * rows), round(how.shift * columns)])
    moves = rng.integers(-most, most + 1, size=(len(frames), 2))
    if not mirrored.any() and not moves.any():
        return frames
    result = np.empty_like(frames)
    for at, frame in enumerate(frames):
        # What comes in from outside repeats the edge.
        from_rows = np.clip(np.arange(rows) - moves[at, 0], 0, rows - 1)
        from_columns = np.clip(np.arange(columns) - moves[at, 1], 0, columns - 1)
        if mirrored[at]:
            from_columns = from_columns[::-1]
        result[at] = frame[from_rows[:, np.newaxis], from_columns]
    return result
