"""Steps of a training: batch -> loss -> gradients -> weights, with all that is needed to go on from any step."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import NotTrainableError, TrainingFailedError
from shared.model_contract import ModelContract
from shared.training_options import TrainingOptions
from worker.engines.backends import TensorFlowBackend, this_backend
from worker.engines.base import MIXED_BFLOAT16
from worker.engines.keras import import_keras
from worker.engines.probabilities import to_probabilities
from worker.training.data import Batch, Examples, batches, class_weights, steps_of_epoch
from worker.training.metrics import mean_auc
from worker.training.peers import Alone, Peers
from worker.training.precision import learner_of, optimizer_of, scales
from worker.training.steps import compiled

State = Mapping[str, NDArray[Any]]
PLACE = "place"
# As likely as not.
EVEN = 0.5
# A loss that overflows when it is scaled by less does so by itself.
LEAST_SCALE = 1.0


@dataclass
class Place:
    """Where a training is; the sums are of the epoch so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    best: tuple[float, float] = (math.inf, math.inf)
    best_epoch: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Moment:
    """After a step; `ended` has the epoch's metrics where it was the last of one.

    `waited_s` is how long this process has waited for its batches until now, in all. The loss is None of a step that
    overflowed, and was skipped.
    """

    epoch: int
    step: int
    steps: int
    loss: float | None
    waited_s: float
    ended: Mapping[str, Any] | None = None


class Training:
    """A network that learns from `train` and is chosen by what it does on `val`.

    In half precision a twin of the network learns, and the network has its weights in the end. Where several processes
    do so together, each with the same network and data, all of them have the same weights after every step, and find
    the same.
    """

    def __init__(
        self,
        network: Any,
        contract: ModelContract,
        train: Examples,
        val: Examples,
        options: TrainingOptions,
        peers: Peers | None = None,
    ) -> None:
        """Raises NotTrainableError where the network, its precision or this machine's Keras cannot."""
        if not isinstance(this_backend(), TensorFlowBackend):
            raise NotTrainableError("training needs Keras on TensorFlow; start the worker without KERAS_BACKEND")
        self._network, self._contract, self._options = network, contract, options
        self._train, self._val = train, val
        self._peers = peers or Alone()
        self._outputs = int(network.outputs[0].shape[-1])
        self.learner = learner_of(network, options.precision)
        self._optimizer = optimizer_of(self.learner, options.precision, options.learning_rate)
        self._weights = class_weights(train.classes, max(2, self._outputs), balanced=options.class_weights)
        self._learn, self._judge = compiled(self.learner, self._optimizer, contract, options.batch_size, self._peers)
        self._best = self.learner.get_weights()
        self._waited_s = 0.0
        self.place = Place()
        self.steps_of_epoch = steps_of_epoch(len(train), options.batch_size)

    def moments(self) -> Iterator[Moment]:
        """Learn, one step for each moment taken, until the last epoch or until val is no better for too long.

        Raises TrainingFailedError when the loss is no number any more.
        """
        place = self.place
        while not self._is_over():
            coming = batches(
                self._train,
                self._weights,
                self._options,
                self._peers.share,
                epoch=place.epoch,
                first_step=place.step % self.steps_of_epoch,
            )
            while (batch := self._next(coming)) is not None:
                self._optimizer.learning_rate.assign(self._rate())
                loss_sum, weight = (float(one) for one in self._learn(batch.frames, batch.classes, batch.weights))
                self._check(loss_sum)
                place.step += 1
                loss = None
                if math.isfinite(loss_sum):
                    loss = loss_sum / weight
                    place.loss_sum += loss_sum
                    place.weight_sum += weight
                ended = self._end_epoch() if place.step % self.steps_of_epoch == 0 else None
                steps = self.steps_of_epoch * self._options.epochs
                yield Moment(place.epoch, place.step, steps, loss, self._waited_s, ended)

    def _check(self, loss_sum: float) -> None:
        """Whether learning can go on; one whose loss is scaled skips what overflows, but not without end."""
        step, rate = self.place.step + 1, self._options.learning_rate
        if not scales(self._optimizer):
            if not math.isfinite(loss_sum):
                raise TrainingFailedError(
                    f"the loss is {loss_sum} at step {step}; try a lower learning_rate than {rate:g}"
                )
        elif float(self._optimizer.dynamic_scale) < LEAST_SCALE:
            raise TrainingFailedError(
                f"too many steps overflowed in float16, the last of them step {step}; try precision {MIXED_BFLOAT16}, "
                f"or a lower learning_rate than {rate:g}"
            )

    def _next(self, coming: Iterator[Batch]) -> Batch | None:
        began = time.monotonic()
        batch = next(coming, None)
        self._waited_s += time.monotonic() - began
        return batch

    def _is_over(self) -> bool:
        place, options = self.place, self._options
        waited = place.epoch - place.best_epoch
        return place.epoch >= options.epochs or 0 < options.patience_epochs <= waited

    def _rate(self) -> float:
        """Of this step: as at the first one, or on a half wave of the cosine down to nothing."""
        options = self._options
        if options.decay == "constant":
            return options.learning_rate
        share = self.place.step / (self.steps_of_epoch * options.epochs)
        return options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))

    def _end_epoch(self) -> dict[str, Any]:
        place = self.place
        place.epoch += 1
        if not place.weight_sum:
            raise TrainingFailedError(
                f"every step of epoch {place.epoch} overflowed in float16; try precision {MIXED_BFLOAT16}"
            )
        found = {"epoch": place.epoch, "loss": place.loss_sum / place.weight_sum, **self._validate()}
        if not math.isfinite(found["val_loss"]):
            raise TrainingFailedError(f"the loss on val is {found['val_loss']} after epoch {place.epoch}")
        place.loss_sum = place.weight_sum = 0.0
        if (rank := self._rank(found)) < place.best:
            place.best, place.best_epoch = rank, place.epoch
            self._best = self.learner.get_weights()
        found["best_epoch"] = place.best_epoch
        place.epochs.append(found)
        return found

    def _rank(self, found: Mapping[str, Any]) -> tuple[float, float]:
        """The lower the better; an AUC that nobody can tell counts as none."""
        auc = found["val_auc"] if self._options.best_by == "auc" else None
        return -(auc or 0.0), found["val_loss"]

    def _validate(self) -> dict[str, Any]:
        """The mean loss on val, weighted like what is learnt from, how many are right, and the AUC; unmoved."""
        share = self._peers.share
        size = share.size(self._options.batch_size)
        # Each process fills in the rows of its own examples: the sums are what all have found.
        losses, outputs = np.zeros(len(self._val)), np.zeros((len(self._val), self._outputs))
        mine = np.arange(share.rank, len(self._val), share.count)
        for start in range(0, len(mine), size):
            chosen = mine[start : start + size]
            filled = np.resize(chosen, size)
            output, loss = self._judge(self._val.take(filled), self._val.classes[filled])
            losses[chosen] = np.asarray(loss)[: len(chosen)]
            outputs[chosen] = np.asarray(output)[: len(chosen)]
        losses, outputs = (np.asarray(one) for one in self._peers.total([losses, outputs]))
        probabilities = to_probabilities(self._contract, outputs.astype(np.float32))
        classes = self._val.classes
        called = probabilities[:, 0] >= EVEN if probabilities.shape[1] == 1 else probabilities.argmax(axis=1)
        return {
            "val_loss": float(np.average(losses, weights=self._weights[classes])),
            "val_accuracy": float((called == classes).mean()),
            "val_auc": mean_auc(classes, probabilities),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the steps to come depend on."""
        to_numpy = import_keras().ops.convert_to_numpy
        arrays = {f"network_{at}": to_numpy(one) for at, one in enumerate(self.learner.variables)}
        arrays |= {f"optimizer_{at}": to_numpy(one) for at, one in enumerate(self._optimizer.variables)}
        arrays |= {f"best_{at}": one for at, one in enumerate(self._best)}
        place = json.dumps(asdict(self.place)).encode()
        return arrays | {PLACE: np.frombuffer(place, np.uint8)}

    def restore(self, state: State) -> None:
        """Go on from there."""
        for kind, variables in (("network", self.learner.variables), ("optimizer", self._optimizer.variables)):
            for at, variable in enumerate(variables):
                variable.assign(state[f"{kind}_{at}"])
        self._best = [np.array(state[f"best_{at}"]) for at in range(len(self._best))]
        place = json.loads(bytes(state[PLACE]))
        self.place = Place(**place | {"best": tuple(place["best"])})

    def finish(self) -> None:
        """Give the network the weights of the epoch that was best on val."""
        self._network.set_weights(self._best)
