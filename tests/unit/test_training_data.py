"""What a step learns from is settled by seed and step; nothing of an epoch is lost, nothing comes twice."""

import numpy as np
import pytest

from shared.training_options import Augment, TrainingOptions
from worker.training.data import Examples, Share, batches, class_weights, draw_moves, moved
from worker.training.metrics import auc, mean_auc

OPTIONS = TrainingOptions(batch_size=4, seed=7)


def examples(count: int) -> Examples:
    """Frames that all have their own number as every value; those at odd places of the file."""
    frames = np.arange(2 * count, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 3, 1), np.float32)
    return Examples(frames, np.arange(count) * 2 + 1, np.arange(count) % 2)


def test_epoch_has_every_example_once() -> None:
    found = list(batches(examples(10), np.ones(2, np.float32), OPTIONS, epoch=0))

    counted = np.concatenate([batch.frames[batch.weights > 0][:, 1, 1, 0] for batch in found])
    assert len(found) == 3
    assert all(batch.frames.shape == (4, 3, 3, 1) for batch in found)
    assert sorted(counted) == [2 * at + 1 for at in range(10)]


def test_epoch_goes_on_from_any_step_as_if_it_had_not_stopped() -> None:
    weights = np.ones(2, np.float32)
    whole = list(batches(examples(10), weights, OPTIONS, epoch=3))

    rest = list(batches(examples(10), weights, OPTIONS, epoch=3, first_step=1))

    assert len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.classes, other.classes)
    assert not np.array_equal(whole[0].classes, next(batches(examples(10), weights, OPTIONS, epoch=4)).classes)


def test_frames_are_moved_at_most_so_far_and_mirrored_half_of_the_time() -> None:
    frame = np.arange(100, dtype=np.float32).reshape(1, 10, 10, 1)
    given = np.repeat(frame, 400, axis=0)

    moves = draw_moves(Augment(mirror=True, shift=0.2), np.random.default_rng(0), 400, (10, 10))
    found = moved(given, moves)

    middles = found[:, 5, 4:6, 0]
    mirrored = middles[:, 0] > middles[:, 1]
    assert 120 < mirrored.sum() < 280
    rows = (found[:, 5, 5, 0] // 10).astype(int)
    assert set(rows) == {3, 4, 5, 6, 7}
    assert moved(given, draw_moves(Augment(shift=0.0), np.random.default_rng(0), 400, (10, 10))) is given


@pytest.mark.parametrize("count", [2, 3, 4])
def test_shares_of_a_step_are_together_what_one_process_has(count: int) -> None:
    options = OPTIONS.model_copy(update={"augment": Augment(mirror=True, shift=0.4)})
    weights = np.array([1, 3], np.float32)
    whole = list(batches(examples(10), weights, options, epoch=0))

    shares = [list(batches(examples(10), weights, options, Share(rank, count), epoch=0)) for rank in range(count)]

    for step, batch in enumerate(whole):
        mine = [share[step] for share in shares]
        assert len({one.frames.shape for one in mine}) == 1
        wanted, found = batch.weights > 0, np.concatenate([one.weights for one in mine]) > 0
        for of in ("frames", "classes", "weights"):
            together = np.concatenate([getattr(one, of) for one in mine])
            assert np.array_equal(together[found], getattr(batch, of)[wanted])


def test_rare_classes_weigh_as_much_as_frequent_ones() -> None:
    classes = np.array([0, 0, 0, 1])

    weights = class_weights(classes, 3, balanced=True)

    assert weights[classes].sum() == pytest.approx(4)
    assert weights[0] * 3 == pytest.approx(weights[1])
    assert weights[2] == 1, "nobody has it to learn from, so val's few are not all that counts"
    assert class_weights(classes, 3, balanced=False).tolist() == [1, 1, 1]


def test_auc_counts_pairs_in_the_right_order_and_ties_as_half() -> None:
    truth = np.array([False, False, True, True])

    assert auc(truth, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
    assert auc(truth, np.array([0.1, 0.3, 0.2, 0.4])) == 0.75
    assert auc(truth, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert auc(np.array([True]), np.array([0.5])) is None


def test_auc_of_several_classes_is_the_mean_of_each_against_the_rest() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])

    assert mean_auc(np.array([0, 1, 2, 0]), probabilities) == 1.0
    assert mean_auc(np.array([0, 1, 1, 0]), probabilities) == pytest.approx((1.0 + 0.75) / 2)
    assert mean_auc(np.array([0, 0]), np.array([[0.1], [0.2]])) is None
