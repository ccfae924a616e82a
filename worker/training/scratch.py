"""Networks with new weights: one of ours, or the layers of one that exists."""

from functools import partial
from importlib import import_module
from typing import Any

from shared.errors import InvalidModelPackageError, NotTrainableError
from shared.model_contract import ModelContract
from worker.engines.keras import import_keras
from worker.engines.skeleton import check_new_network


def new_network(name: str, contract: ModelContract, num_outputs: int, seed: int, *, batch_size: int = 1) -> Any:
    """One of `worker.networks`, which gives logits, for the images of this contract; the same seed, the same weights.

    Raises NotTrainableError where they are too small or too large for it, EngineMemoryError where batches of this size
    are.
    """
    keras, shape = import_keras(), contract.input
    module = import_module(f"worker.networks.{name}")
    build = partial(module.build, shape.rows, shape.columns, shape.channels, num_outputs)
    try:
        check_new_network(build, batch_size=batch_size)
        keras.utils.set_random_seed(seed)
        return build()
    except (ValueError, InvalidModelPackageError) as error:
        raise NotTrainableError(
            f"{name} cannot take images of {shape.rows} x {shape.columns}: {error}; or choose another network"
        ) from error


def with_new_weights(network: Any, seed: int) -> Any:
    """The same layers with weights drawn anew; the same seed gives the same ones.

    Raises NotTrainableError where Keras cannot make the network anew.
    """
    keras = import_keras()

    def renewed(layer: Any) -> Any:
        # The seeds of the draws that made the old weights are written in the layers' configs: they would come again.
        return type(layer).from_config(_without_seeds(layer.get_config()))

    keras.utils.set_random_seed(seed)
    try:
        return keras.models.clone_model(network, clone_function=renewed)
    except (TypeError, ValueError) as error:
        raise NotTrainableError(
            "the package's network cannot be made anew by Keras; start from its weights (warm)"
        ) from error


def _without_seeds(config: Any) -> Any:
    if isinstance(config, dict):
        return {name: None if name == "seed" else _without_seeds(value) for name, value in config.items()}
    if isinstance(config, list):
        return [_without_seeds(value) for value in config]
    return config
