"""What a Keras network ends in: the logits, and the last feature maps that a heat map shows."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAP_AXES = 4  # batch, rows, columns, channels
_TO_PROBABILITIES = frozenset({"sigmoid", "softmax"})
# What leaves numbers as they are when predicting, or only puts them in a row.
_IDLE = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "ActivityRegularization"})


@dataclass(frozen=True)
class PoolingHead:
    """Feature maps -> their means -> a dense layer: an output's logit is the mean of features @ kernel, and a bias.

    `features` is the Keras tensor (batch, map rows, map columns, channels); `kernel` float32 (channels, outputs).
    """

    features: Any
    kernel: NDArray[np.float32]

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of a feature map; 0 where they depend on the frame."""
        _, rows, columns, _ = self.features.shape
        return rows or 0, columns or 0


def pooling_head(network: Any) -> PoolingHead | None:
    """The head of a network that ends in global average pooling and one dense layer; None of another one."""
    tensor = _unactivated(network.outputs[0])
    dense = _operation(tensor)
    if type(dense).__name__ != "Dense" or _activation(dense) not in _TO_PROBABILITIES | {"linear"}:
        return None
    kernel, tensor = _numbers(dense.kernel), _source(tensor)
    while tensor is not None and type(layer := _operation(tensor)).__name__ in _IDLE | {"BatchNormalization"}:
        if type(layer).__name__ == "BatchNormalization":
            scale = _scale(layer)
            if scale.shape != kernel.shape[:1]:
                return None
            kernel = scale[:, np.newaxis] * kernel
        tensor = _source(tensor)
    if tensor is None or type(layer).__name__ != "GlobalAveragePooling2D" or layer.data_format != "channels_last":
        return None
    return PoolingHead(_source(tensor), kernel)


def last_features(network: Any) -> Any | None:
    """The last tensor of the network that is still a map, (batch, rows, columns, channels).

    None where there is none behind the input, or where the output is computed of several.
    """
    found, seen, waiting = {}, set(), [network.outputs[0]]
    while waiting:
        tensor = waiting.pop()
        if _is_map(tensor):
            found[id(tensor)] = tensor
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            waiting += _sources(tensor)
    tensor = next(iter(found.values()), None)
    return tensor if len(found) == 1 and _sources(tensor) else None


def logits(network: Any) -> Any:
    """The network's logits as a Keras tensor (batch, outputs), where it ends in probabilities; else its output."""
    import keras

    tensor = _unactivated(network.outputs[0])
    last = _operation(tensor)
    if type(last).__name__ != "Dense" or _activation(last) not in _TO_PROBABILITIES:
        return tensor
    config = last.get_config() | {"activation": "linear", "name": f"{last.name}_logits"}
    linear = keras.layers.Dense.from_config(config)
    found = linear(_source(tensor))
    linear.set_weights(last.get_weights())
    return found


def _unactivated(tensor: Any) -> Any:
    """What a sigmoid or softmax of its own, at the end of a network, is taken of."""
    last = _operation(tensor)
    is_own = type(last).__name__ in ("Activation", "Softmax", "Sigmoid") and _activation(last) in _TO_PROBABILITIES
    return _source(tensor) if is_own else tensor


def _activation(operation: Any) -> str:
    """The name of its activation, or of itself where it is one."""
    return str(getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__)).lower()


def _is_map(tensor: Any) -> bool:
    return len(tensor.shape) == MAP_AXES and None not in tensor.shape[1:] and tensor.shape[1] * tensor.shape[2] > 1


def _scale(normalisation: Any) -> NDArray[np.float32]:
    """What a batch normalisation multiplies each channel by when predicting; what it adds is a bias."""
    variance = _numbers(normalisation.moving_variance)
    gamma = _numbers(normalisation.gamma) if normalisation.scale else 1.0
    return np.asarray(gamma / np.sqrt(variance + normalisation.epsilon), np.float32)


def _numbers(variable: Any) -> NDArray[np.float32]:
    """A Keras variable, wherever it lies, as float32."""
    import keras

    with warnings.catch_warnings():
        # Keras's own conversion of TensorFlow's variables.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _operation(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _sources(tensor: Any) -> list[Any]:
    """The tensors that one is computed of: of this call, where a layer is called several times."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _source(tensor: Any) -> Any | None:
    """The one tensor that it is computed of; None of none or several."""
    sources = _sources(tensor)
    return sources[0] if len(sources) == 1 else None
