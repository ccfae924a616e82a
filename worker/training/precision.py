"""Half precision in training: a twin of the network computes in it, and the network itself stays as it was saved."""

from typing import Any

from shared.errors import NotTrainableError
from shared.training_options import Precision
from worker.engines.base import FLOAT32, MIXED_FLOAT16
from worker.engines.keras import import_keras
from worker.engines.mixed import in_mixed_precision


def learner_of(network: Any, precision: Precision) -> Any:
    """What learns for the network: itself, or one like it whose layers compute in half precision.

    Both have float32 weights of the same order and shapes. Raises NotTrainableError where there can be no such twin.
    """
    if precision == FLOAT32:
        return network
    layers = network._flatten_layers(include_self=False)
    others = sorted({layer.dtype_policy.name for layer in layers} - {FLOAT32})
    if others:
        raise NotTrainableError(
            f"{precision} is for networks whose layers all state float32, and some of this one state "
            f"{', '.join(others)}; train it with precision {FLOAT32}, which leaves them as they are"
        )
    try:
        return in_mixed_precision(network, precision)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise NotTrainableError(
            f"Keras cannot make this network anew, which {precision} needs; train it with precision {FLOAT32}"
        ) from error


def optimizer_of(learner: Any, precision: Precision, learning_rate: float) -> Any:
    """Adam; for float16 one whose loss is scaled, as high as the gradients allow, and which skips steps that overflow.

    The scale and its counter are of the optimizer's variables.
    """
    optimizers = import_keras().optimizers
    optimizer = optimizers.Adam(learning_rate)
    if precision == MIXED_FLOAT16:
        optimizer = optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(learner.trainable_variables)
    return optimizer


def scales(optimizer: Any) -> bool:
    """Whether it scales the loss."""
    return isinstance(optimizer, import_keras().optimizers.LossScaleOptimizer)
