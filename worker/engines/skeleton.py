"""Builds a network without its numbers first: a `config.json` of a few lines can ask for terabytes."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared.errors import EngineMemoryError, InvalidModelPackageError

MAX_LAYER_VALUES = 2**28
"""Most values that a layer may give for one batch: 1 GiB of float32."""

MAX_NEW_WEIGHTS = 2**28
"""Most weights that are drawn for a network of ours: 1 GiB of float32."""


def check_network_size(config: dict[str, Any], stored_values: int, *, batch_size: int) -> None:
    """Raise InvalidModelPackageError when the network has more weights than are stored, or a layer's output is huge.

    Raises EngineMemoryError when that output is too large for batches of this size only.

    `config` must have passed `check_keras_archive`, and is used up; its loss and optimizer are left out.
    """
    import keras

    config = config | {"compile_config": None}
    num_values, largest = _measured(lambda: keras.saving.deserialize_keras_object(config, safe_mode=True))
    if num_values > stored_values:
        raise InvalidModelPackageError(
            f"the network of config.json has {num_values} weights, but {stored_values} are stored; "
            "save the model again with Keras 3"
        )
    _check_largest(largest, batch_size)


def check_new_network(build: Callable[[], Any], *, batch_size: int) -> None:
    """The same of a network that is yet to be built: it has as many weights as a file may hold, and no huge layer."""
    num_values, largest = _measured(build)
    if num_values > MAX_NEW_WEIGHTS:
        raise InvalidModelPackageError(
            f"the network would have {num_values} weights, more than the {MAX_NEW_WEIGHTS} allowed; use a smaller input"
        )
    _check_largest(largest, batch_size)


def _check_largest(largest: int, batch_size: int) -> None:
    if largest > MAX_LAYER_VALUES:
        raise InvalidModelPackageError(
            f"a layer gives {largest} values for one frame, more than the {MAX_LAYER_VALUES} allowed; use a smaller "
            "input, or pool earlier"
        )
    if largest * batch_size > MAX_LAYER_VALUES:
        raise EngineMemoryError(
            f"a layer gives {largest} values for one frame, more than the {MAX_LAYER_VALUES // batch_size} allowed in "
            f"batches of {batch_size}; take smaller ones"
        )


def _measured(build: Callable[[], Any]) -> tuple[int, int]:
    """How many weights a network has, and how many values its widest layer gives for a frame; no weight is drawn."""
    # Keras remembers variables that were not given numbers, by thread: that memory ends with this one.
    with ThreadPoolExecutor(1, "network-skeleton") as thread:
        return thread.submit(_measure, build).result()


def _measure(build: Callable[[], Any]) -> tuple[int, int]:
    import keras

    with keras.StatelessScope(initialize_variables=False):
        network = build()
        num_values = sum(math.prod(variable.shape) for variable in network.weights)
        return num_values, max(map(_output_values, _all_layers(network)), default=0)


def _all_layers(network: Any) -> list[Any]:
    layers = []
    for layer in network.layers:
        layers.append(layer)
        layers.extend(_all_layers(layer) if hasattr(layer, "layers") else [])
    return layers


def _output_values(layer: Any) -> int:
    import keras

    shapes = [tensor.shape for tensor in keras.tree.flatten(layer.output)]
    return sum(math.prod(side or 1 for side in shape[1:]) for shape in shapes)
