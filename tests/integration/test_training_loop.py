"""A training learns, is the same again, and goes on from any checkpoint to the very same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import NotTrainableError, TrainingFailedError
from shared.model_package import open_package
from tests.model_samples import accept_everything_package
from tests.small_trainings import OPTIONS, SIDE, contract, examples, make, run, through_a_file, weights
from worker.engines.keras import import_keras, load_network
from worker.networks import mission_cnn
from worker.training.data import Examples
from worker.training.learn import set_apart
from worker.training.loop import Training
from worker.training.scratch import with_new_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def same_again() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def test_training_learns_and_tells_each_epoch() -> None:
    training = make(OPTIONS.model_copy(update={"epochs": 12}))

    moments = run(training)

    told = [moment.ended for moment in moments if moment.ended]
    assert [one["epoch"] for one in told] == list(range(1, 13))
    assert len(moments) == 12 * 8 == moments[-1].step == moments[-1].steps
    assert told[-1]["val_auc"] > 0.9
    assert min(one["val_loss"] for one in told) < 0.6 * told[0]["val_loss"]


@pytest.mark.parametrize("steps", [3, 8, 19])
def test_training_goes_on_from_a_checkpoint_to_the_same_weights(steps: int) -> None:
    whole = make()
    run(whole)
    whole.finish()
    broken_off = make()
    run(broken_off, steps)

    resumed = make(OPTIONS)
    resumed.restore(through_a_file(broken_off))
    rest = run(resumed)
    resumed.finish()

    assert len(rest) == 24 - steps
    assert all(np.array_equal(one, other) for one, other in zip(weights(whole), weights(resumed), strict=True))
    assert resumed.place.epochs == whole.place.epochs


def test_training_ends_early_and_keeps_the_best_epoch() -> None:
    training = make(OPTIONS.model_copy(update={"epochs": 40, "patience_epochs": 2, "learning_rate": 0.05}))

    moments = run(training)

    place = training.place
    losses = [one["val_loss"] for one in place.epochs]
    assert len(moments) < 40 * 8
    assert place.best_epoch == int(np.argmin(losses)) + 1 == place.epoch - 2
    training.finish()
    assert training._validate()["val_loss"] == pytest.approx(min(losses), abs=1e-6)


def test_epoch_of_the_highest_auc_is_kept_where_that_is_asked_for() -> None:
    """From few frames it becomes too sure: the loss rises where the order is still right."""
    options = OPTIONS.model_copy(update={"epochs": 20, "decay": "constant", "best_by": "auc"})
    training = make(options, train=examples(16, 1))

    run(training)

    ranks = [(-one["val_auc"], one["val_loss"]) for one in training.place.epochs]
    assert training.place.best_epoch == ranks.index(min(ranks)) + 1
    assert min(ranks)[1] > min(loss for _, loss in ranks), "here the two ways keep different epochs"
    training.finish()
    assert training._validate()["val_auc"] == pytest.approx(-min(ranks)[0])


def test_val_weighs_its_classes_as_train_does() -> None:
    """Else a network that calls everybody what most are would have the lowest loss."""
    seen, judged = examples(60, 1), examples(12, 2)
    train = Examples(seen.frames, seen.places, np.where(np.arange(60) % 4, 0, 1))

    def loss(places: Any) -> float:
        val = Examples(judged.frames, judged.places[places], judged.classes[places])
        training = make(OPTIONS.model_copy(update={"epochs": 1}), train=train, val=val)
        run(training)
        return float(training.place.epochs[0]["val_loss"])

    negatives, positives = loss(np.arange(0, 12, 2)), loss(np.arange(1, 12, 2))

    # A quarter of train is positive, and so weighs three times as much.
    assert loss(np.arange(12)) == pytest.approx((negatives + 3 * positives) / 4, rel=1e-5)


def test_loss_that_is_no_number_ends_it() -> None:
    training = make()
    training._network.layers[-1].bias.assign([np.nan, 0])

    with pytest.raises(TrainingFailedError, match="learning_rate"):
        run(training)


def test_new_weights_hang_on_the_seed_alone(tmp_path: Path) -> None:
    package = accept_everything_package(tmp_path / "package")
    opened = open_package(package, max_bytes=10**8)
    network = load_network(opened.contract, package / "weights.keras", batch_size=4)

    first, again, other = (with_new_weights(network, seed).get_weights() for seed in (1, 1, 2))

    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], network.get_weights()[0])


def test_probabilities_and_one_output_can_be_learnt_from() -> None:
    keras = import_keras()
    for output, activation in (("logits", None), ("probabilities", "sigmoid")):
        keras.utils.set_random_seed(1)
        network = mission_cnn.build(SIDE, SIDE, 1, 1)
        if activation:
            network.add(keras.layers.Activation(activation))
        training = Training(
            network,
            contract(output=output),
            examples(60, 1),
            examples(30, 2),
            OPTIONS.model_copy(update={"epochs": 12}),
        )
        run(training)
        assert training.place.epochs[-1]["val_auc"] > 0.9


def test_processes_drop_different_values_and_go_on_doing_so() -> None:
    keras = import_keras()
    frames = np.ones((64, 8), np.float32)

    def made() -> Any:
        keras.utils.set_random_seed(1)
        return keras.Sequential([keras.Input((8,)), keras.layers.Dropout(0.5)])

    def drops(network: Any) -> Any:
        return np.asarray(network(frames, training=True))

    first, second, resumed = made(), made(), made()
    for rank, network in enumerate((first, second)):
        set_apart(network, rank)
    early = [drops(network) for network in (first, second)]
    # A checkpoint has the first one's state.
    resumed.variables[0].assign(first.variables[0])
    set_apart(resumed, 1)

    assert not np.array_equal(*early)
    assert np.array_equal(early[0], drops(made()))
    assert np.array_equal(drops(second), drops(resumed))


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.training.loop.this_backend", object)

    with pytest.raises(NotTrainableError, match="TensorFlow"):
        make()
