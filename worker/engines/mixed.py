"""Half precision where it is fast and precise enough: Keras's mixed precision, given to a network that has none."""

from typing import Any

from worker.engines.base import MIXED_BFLOAT16, MIXED_FLOAT16

MIXED = (MIXED_FLOAT16, MIXED_BFLOAT16)


def in_mixed_precision(network: Any, precision: str) -> Any:
    """A network like this one that computes in half precision (P. Micikevicius et al., arXiv:1710.03740).

    Its weights stay float32, and so does what its last layer computes: probabilities and logits need the bits.
    `precision` is one of MIXED, as Keras names its policies of types.
    """
    import keras

    last = network.outputs[0]._keras_history.operation
    spared = None if hasattr(last, "layers") else last.name
    config = _with_policy(keras.saving.serialize_keras_object(network), precision, spared)
    mixed = keras.saving.deserialize_keras_object(config)
    mixed.set_weights(network.get_weights())
    return mixed


def _with_policy(value: Any, precision: str, spared: str | None) -> Any:
    """A serialized network with another policy in all layers but one."""
    if isinstance(value, list | tuple):
        return [_with_policy(one, precision, spared) for one in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    if value.get("class_name") == "DTypePolicy":
        return value | {"config": {"name": precision}}
    if spared is not None and isinstance(config, dict) and config.get("name") == spared:
        return value
    return {key: _with_policy(one, precision, spared) for key, one in value.items()}
