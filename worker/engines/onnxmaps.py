"""Gives an `.onnx` network that ends in pooling and one dense layer its heat maps as a second output."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engines.maps import fits

MAPS = "overread_maps"
_KERNEL = "overread_kernel"

_TO_PROBABILITIES = frozenset({"Sigmoid", "Softmax"})
# What leaves numbers as they are when predicting, or only puts them in a row.
_IDLE = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze"})
# Of (batch, channels, rows, columns), counted from either end.
_SPACE = ({2, 3}, {-2, -1})
_MAP_AXES = 4


def with_maps(data: bytes) -> bytes:
    """The same model with one output more, where its head allows it: (batch, outputs, map rows, map columns).

    `data` has passed `read_onnx`. The first output is computed by the same nodes as before.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    graph = _Graph(model)
    head = graph.pooling_head() if len(model.graph.output) == 1 else None
    shape = _shape(model, head[0]) if head else ()
    if head is None or len(shape) != _MAP_AXES or shape[1] != len(head[1]) or not fits(head[1].shape[1], *shape[2:]):
        return data
    features, kernel = head
    # A convolution of one cell is the dense layer at each place.
    weights = np.ascontiguousarray(kernel.T[:, :, np.newaxis, np.newaxis], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, _KERNEL))
    model.graph.node.append(onnx.helper.make_node("Conv", [features, _KERNEL], [MAPS], kernel_shape=[1, 1]))
    sides = [None, weights.shape[0], *shape[2:]]
    model.graph.output.append(onnx.helper.make_tensor_value_info(MAPS, onnx.TensorProto.FLOAT, sides))
    return bytes(model.SerializeToString())


def _shape(model: Any, name: str) -> tuple[int, ...]:
    """The shape of a tensor as far as it follows from the file, 0 for a side that is free; () where it does not."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        return ()
    known = {value.name: value.type.tensor_type.shape for value in (*inferred.value_info, *inferred.input)}
    return tuple(side.dim_value for side in known[name].dim) if name in known else ()


class _Graph:
    """A model's nodes by what they give, and the numbers that are fixed in it."""

    def __init__(self, model: Any) -> None:
        import onnx

        self._output = model.graph.output[0].name
        self._nodes = {name: node for node in model.graph.node for name in node.output}
        self._fixed = {tensor.name: tensor for tensor in model.graph.initializer}
        self._to_array = onnx.numpy_helper.to_array
        self._attribute = onnx.helper.get_attribute_value

    def pooling_head(self) -> tuple[str, NDArray[np.float32]] | None:
        """The name of the feature maps (batch, channels, rows, columns), and the kernel (channels, outputs)."""
        node = self._node(self._output)
        if node is not None and node.op_type in _TO_PROBABILITIES:
            node = self._node(node.input[0])
        kernel, name = self._dense(node)
        if kernel is None:
            return None
        pooling = self._node(name)
        while pooling is not None and pooling.op_type in _IDLE:
            pooling = self._node(pooling.input[0])
        return (pooling.input[0], kernel) if pooling is not None and self._is_pooling(pooling) else None

    def _dense(self, node: Any) -> tuple[NDArray[np.float32] | None, str]:
        """The kernel (channels, outputs) of a dense layer, and what it takes; without kernel where it is none."""
        if node is not None and node.op_type == "Add":  # the bias
            sources = [self._node(name) for name in node.input if self._array(name) is None]
            node = sources[0] if len(sources) == 1 else None
        if node is None or node.op_type not in ("Gemm", "MatMul"):
            return None, ""
        kernel = self._array(node.input[1])
        said = self._said(node)
        if kernel is None or kernel.ndim != 2 or said.get("transA", 0):  # noqa: PLR2004 - channels and outputs
            return None, ""
        kernel = kernel.T if said.get("transB", 0) else kernel
        return np.asarray(kernel * said.get("alpha", 1.0), np.float32), node.input[0]

    def _is_pooling(self, node: Any) -> bool:
        if node.op_type != "ReduceMean":
            return bool(node.op_type == "GlobalAveragePool")
        given = self._array(node.input[1]) if len(node.input) > 1 else None
        axes = self._said(node).get("axes", () if given is None else given.tolist())
        return set(axes) in _SPACE

    def _said(self, node: Any) -> dict[str, Any]:
        return {attribute.name: self._attribute(attribute) for attribute in node.attribute}

    def _node(self, name: str) -> Any | None:
        return self._nodes.get(name)

    def _array(self, name: str) -> NDArray[Any] | None:
        """Fixed numbers by name, also where they go through nodes that change nothing."""
        if name in self._fixed:
            return np.asarray(self._to_array(self._fixed[name]))
        node = self._node(name)
        if node is not None and node.op_type == "Identity":
            return self._array(node.input[0])
        value = self._said(node).get("value") if node is not None and node.op_type == "Constant" else None
        return None if value is None else np.asarray(self._to_array(value))
