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
class Share:
    """The part of every batch that one of `count` processes works on."""

    rank: int = 0
    count: int = 1

    def size(self, whole: int) -> int:
        """How many examples of a batch of `whole` each process has; places beyond the batch fill the last ones up."""
        return -(-whole // self.count)

    def places(self, whole: int) -> NDArray[np.int64]:
        """Which places of a batch of `whole` this process has."""
        size = self.size(whole)
        return np.arange(self.rank * size, (self.rank + 1) * size)


WHOLE = Share()


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
    """What an example of each class weighs: 1, or so that all classes that are there weigh the same together.

    One that is not there weighs 1.
    """
    counts = np.bincount(classes, minlength=num_classes)
    if not balanced:
        return np.ones(num_classes, np.float32)
    present = int((counts > 0).sum())
    balancing = len(classes) / (present * np.maximum(counts, 1))
    return np.where(counts > 0, balancing, 1.0).astype(np.float32)


def batches(
    examples: Examples,
    weights: NDArray[np.float32],
    options: TrainingOptions,
    share: Share = WHOLE,
    *,
    epoch: int,
    first_step: int = 0,
) -> Iterator[Batch]:
    """A share of the batches of an epoch from a step on, in the order that the seed gives, each prepared ahead.

    The shares of a step together are the batch that one process has, augmented alike.
    """
    order = np.random.default_rng([options.seed, epoch]).permutation(len(examples))
    size, places = options.batch_size, share.places(options.batch_size)
    shape = examples.frames.shape[1:3]

    def make(step: int) -> Batch:
        chosen = order[step * size : (step + 1) * size]
        mine = np.resize(chosen, size)[places % size]
        moves = draw_moves(options.augment, np.random.default_rng([options.seed, epoch, step]), size, shape)
        classes = examples.classes[mine]
        counted = np.where(places < len(chosen), weights[classes], np.float32(0))
        return Batch(moved(examples.take(mine), moves[places % size]), classes, counted.astype(np.float32))

    steps = range(first_step, steps_of_epoch(len(examples), size))
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = [pool.submit(make, step) for step in steps[:AHEAD]]
        for step in steps:
            batch = coming.pop(0).result()
            if step + AHEAD in steps:
                coming.append(pool.submit(make, step + AHEAD))
            yield batch


def draw_moves(how: Augment, rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """How so many frames of `shape` (rows, columns) are learnt from this time.

    Returns
    -------
    int64 (count, 3): whether left and right change places, rows down, columns to the right
    """
    mirrored = rng.random(count) < 0.5 * how.mirror
    most = np.array([round(how.shift * side) for side in shape])
    return np.column_stack([mirrored, rng.integers(-most, most + 1, size=(count, 2))])


def moved(frames: Frames, moves: NDArray[np.int64]) -> Frames:
    """The frames as `draw_moves` says; what comes in from outside repeats the edge."""
    if not moves.any():
        return frames
    rows, columns = frames.shape[1:3]
    result = np.empty_like(frames)
    for at, (frame, (mirrored, down, right)) in enumerate(zip(frames, moves, strict=True)):
        from_rows = np.clip(np.arange(rows) - down, 0, rows - 1)
        from_columns = np.clip(np.arange(columns) - right, 0, columns - 1)
        if mirrored:
            from_columns = from_columns[::-1]
        result[at] = frame[from_rows[:, np.newaxis], from_columns]
    return result
