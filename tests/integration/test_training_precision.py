"""Layers may compute in half precision while they learn; what overflows costs a step, and the package is float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from shared.db import reading
from shared.errors import NotTrainableError, TrainingFailedError
from shared.model_contract import ModelContract
from shared.models import ModelVersion
from tests.conftest import Api
from tests.factories import let_backoffs_run_out
from tests.small_trainings import OPTIONS, SIDE, examples, make, run, through_a_file, weights
from tests.trainings import LONG, at_work, drivers, job, submit, train, under_way
from worker.engines.keras import import_keras, load_network
from worker.networks import mission_cnn, pooled_cnn
from worker.runtime import Runtime
from worker.tasks import train_next
from worker.training.data import WHOLE, Examples
from worker.training.loop import Training

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
FLOAT16, BFLOAT16 = "mixed_float16", "mixed_bfloat16"
# More than float16 holds, and nothing to float32.
HUGE = 1e6
# Keras's own, to begin with.
FIRST_SCALE = 2.0**15

both = pytest.mark.parametrize("precision", [FLOAT16, BFLOAT16])
only_sqlite = pytest.mark.parametrize("any_prepared", ["prepared"], indirect=True)


@pytest.fixture(scope="module", autouse=True)
def same_again() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def options(precision: str, **changes: Any) -> Any:
    return OPTIONS.model_copy(update={"precision": precision} | changes)


def with_huge(*places: int) -> Examples:
    found = examples(60, 1)
    found.frames[list(places)] *= HUGE
    return found


def scale_of(training: Training) -> float:
    return float(np.asarray(training._optimizer.dynamic_scale))


def is_equal(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


@both
def test_half_precision_learns_and_the_network_stays_float32(precision: str) -> None:
    training = make(options(precision, epochs=12))
    network = training._network

    run(training)
    training.finish()

    assert training.place.epochs[-1]["val_auc"] > 0.9
    assert {layer.compute_dtype for layer in training.learner.layers[:-1]} == {precision.removeprefix("mixed_")}
    assert training.learner.layers[-1].compute_dtype == "float32"
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
    assert {weight.dtype for weight in [*network.get_weights(), *training.learner.get_weights()]} == {
        np.dtype(np.float32)
    }
    losses = [one["val_loss"] for one in training.place.epochs]
    in_float32 = make(OPTIONS)
    in_float32.learner.set_weights(network.get_weights())
    assert in_float32._validate()["val_loss"] == pytest.approx(min(losses), rel=0.05)


@both
@pytest.mark.parametrize("steps", [3, 19])
def test_training_goes_on_from_a_checkpoint_in_half_precision(precision: str, steps: int) -> None:
    """Of steps that overflow some come before it and some after."""
    whole = make(options(precision), train=with_huge(4, 31))
    run(whole)
    broken_off = make(options(precision), train=with_huge(4, 31))
    run(broken_off, steps)

    resumed = make(options(precision), train=with_huge(4, 31))
    resumed.restore(through_a_file(broken_off))
    rest = run(resumed)

    assert len(rest) == 24 - steps
    assert resumed.place == whole.place
    one, other = whole.state(), resumed.state()
    assert set(one) == set(other)
    assert is_equal(list(one.values()), [other[name] for name in one])
    for training in (whole, resumed):
        training.finish()
    assert is_equal(weights(whole), weights(resumed))


def test_step_that_overflows_changes_nothing_but_the_scale() -> None:
    """Nor the moving averages of a BatchNormalization, which see the batch before anybody knows."""
    training = make(options(FLOAT16), build=pooled_cnn.build, train=with_huge(4))
    before: list[Any] = training.learner.get_weights()
    skipped = 0

    for moment in training.moments():
        after = training.learner.get_weights()
        if moment.loss is None:
            skipped += 1
            assert is_equal(before, after)
        before = after

    assert skipped == 3, "once in each epoch"
    assert scale_of(training) <= FIRST_SCALE / 2**skipped
    assert all(np.isfinite(one).all() for one in before)
    assert all(np.isfinite(one["loss"]) for one in training.place.epochs)


def test_frame_that_overflows_in_float16_is_learnt_from_in_the_others() -> None:
    for precision in ("float32", BFLOAT16):
        training = make(options(precision, epochs=1), train=with_huge(4))

        assert all(moment.loss is not None for moment in run(training))


def test_scale_that_is_too_high_costs_steps_and_not_the_run() -> None:
    training = make(options(FLOAT16, epochs=12))
    training._optimizer.dynamic_scale.assign(2.0**30)
    start = training.learner.get_weights()

    (first,) = run(training, 1)
    assert first.loss is not None, "the loss itself is a number"
    assert is_equal(start, training.learner.get_weights())
    assert scale_of(training) == 2.0**29
    run(training)

    assert training.place.epochs[-1]["val_auc"] > 0.9
    assert 1.0 <= scale_of(training) < 2.0**29


def one_layer(rows: int, columns: int, channels: int, outputs: int) -> Any:
    """What overflows in it is in the loss on every machine; a ReLU of no number is 0 on some."""
    layers = import_keras().layers
    return import_keras().Sequential(
        [import_keras().Input((rows, columns, channels)), layers.Flatten(), layers.Dense(outputs)]
    )


@pytest.mark.parametrize(("batch_size", "why"), [(8, "every step of epoch 1 overflowed"), (2, "too many steps")])
def test_nothing_but_overflow_ends_it(batch_size: int, why: str) -> None:
    training = make(options(FLOAT16, batch_size=batch_size), build=one_layer, train=with_huge(*range(60)))

    with pytest.raises(TrainingFailedError, match=f"{why}.*mixed_bfloat16"):
        run(training)


def test_overflow_in_another_process_is_skipped_here_too() -> None:
    import tensorflow as tf

    class OneOverflows:
        """A process whose peer has nothing to add, or what overflowed."""

        share = WHOLE
        added = tf.Variable(0.0)

        def total(self, values: Sequence[Any]) -> list[Any]:
            loss, weight, first, *others = values
            return [loss, weight, first + self.added, *others]

    peers = OneOverflows()
    training = make(options(FLOAT16), peers=peers)
    run(training, 2)
    before, scale = training.learner.get_weights(), scale_of(training)

    peers.added.assign(np.inf)
    run(training, 1)
    assert is_equal(before, training.learner.get_weights())
    assert scale_of(training) == scale / 2
    peers.added.assign(0.0)
    run(training, 4)
    assert not is_equal(before, training.learner.get_weights())


def odd_network(dtype: str) -> Any:
    layers = import_keras().layers
    found = mission_cnn.build(SIDE, SIDE, 1, 2)
    found.add(layers.Dense(2, dtype=dtype))
    return found


@pytest.mark.parametrize("dtype", ["float64", FLOAT16])
def test_network_with_layers_of_another_precision_is_refused(dtype: str) -> None:
    with pytest.raises(NotTrainableError, match=f"state {dtype}; train it with precision float32"):
        make(options(BFLOAT16), build=lambda *_: odd_network(dtype))


def test_network_that_keras_cannot_make_anew_is_refused() -> None:
    keras = import_keras()

    class Unknown(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, values: Any) -> Any:
            return values

    def build(*shape: int) -> Any:
        found = mission_cnn.build(*shape)
        found.add(Unknown())
        return found

    with pytest.raises(NotTrainableError, match=r"cannot make this network anew.*precision float32"):
        make(options(FLOAT16), build=build)


@only_sqlite
@both
@pytest.mark.usefixtures("cohort")
@pytest.mark.slow_fault
def test_killed_run_in_half_precision_ends_with_the_package_of_the_undisturbed_one(
    any_api: Api, runtime: Runtime, precision: str
) -> None:
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.2})
    wanted = LONG | {"epochs": 100, "precision": precision, "network": "mission_cnn"}
    undisturbed = train(any_api, runtime, wanted)
    job_id = submit(any_api, wanted)

    with at_work(runtime):
        under_way(any_api, runtime, job_id)
        (driver,) = drivers()
        driver.kill()
    let_backoffs_run_out(runtime.engine)
    train_next(runtime)

    resumed = job(any_api, job_id)
    assert (undisturbed["state"], resumed["state"]) == ("done", "done")
    assert resumed["training"]["options"]["precision"] == precision
    assert resumed["training"]["history"] == undisturbed["training"]["history"]
    # The same bytes are the same version.
    assert resumed["training"]["model"] == undisturbed["training"]["model"] == "sample-binary:2"
    with reading(runtime.engine) as session:
        version = session.scalars(select(ModelVersion).where(ModelVersion.version == 2)).one()
    weights_file = runtime.store.path(version.weights_sha256)
    network = load_network(ModelContract.model_validate(version.contract), weights_file, batch_size=1)
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
