"""Makes small real `.onnx` packages for tests: the mean over the frame and one dense layer, as in `model_samples`."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.model_samples import contract_fields, write_contract

IR_VERSION, OPSET = 8, 17


def mean_network(
    *, side: int = 32, channels: int = 1, outputs: int = 2, slope: float = 4.0, layout: str, batch: Any = "batch"
) -> Any:
    """The k-th output is `slope * (k + 1) * (mean - 0.5)`."""
    slopes = slope * np.arange(1, outputs + 1, dtype=np.float32)
    shape = [batch, channels, side, side] if layout == "channels_first" else [batch, side, side, channels]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
        helper.make_node("Gemm", ["column", "kernel", "bias"], ["logits"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(slopes[np.newaxis], "kernel"),
        numpy_helper.from_array(-0.5 * slopes, "bias"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, outputs])
    graph = helper.make_graph(nodes, "mean", [image], [logits], weights)
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


def pooled_network(*, pooling: str, transposed: bool, activation: str | None) -> Any:
    """A 3x3 convolution, pooling, and a dense layer, as exporters write them: channels first, 32 by 32."""
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(6, 2)).astype(np.float32)
    weights = [
        numpy_helper.from_array(rng.normal(size=(6, 1, 3, 3)).astype(np.float32), "filters"),
        numpy_helper.from_array(kernel.T.copy() if transposed else kernel, "kernel"),
        numpy_helper.from_array(np.array([0.1, -0.2], np.float32), "bias"),
        numpy_helper.from_array(np.array([-1, -2], np.int64), "axes"),
    ]
    pool = ["features", "axes"] if pooling == "ReduceMean" else ["features"]
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["features"], strides=[4, 4]),
        helper.make_node(pooling, pool, ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["row"]),
    ]
    last = "logits" if activation is None else "before"
    if transposed:
        nodes.append(helper.make_node("Gemm", ["row", "kernel", "bias"], [last], transB=1))
    else:
        nodes.append(helper.make_node("MatMul", ["row", "kernel"], ["product"]))
        nodes.append(helper.make_node("Add", ["product", "bias"], [last]))
    if activation is not None:
        nodes.append(helper.make_node(activation, ["before"], ["logits"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "pooled", [image], [logits], weights)
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", 18)])


def onnx_package(folder: Path, model: Any, **changes: Any) -> Path:
    """Write a package of this model; `changes` are fields of `model.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    write_contract(folder, contract_fields(**changes), weights="weights.onnx")
    return folder


def channels_first(**changes: Any) -> dict[str, Any]:
    """The `input` of `model.json` as PyTorch has it."""
    return {"rows": 32, "columns": 32, "channels": 1, "layout": "channels_first"} | changes


def with_external_tensor(model: Any, path: Path) -> Any:
    """The same model, its kernel in another file."""
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    path.write_bytes(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in {"location": str(path), "offset": "0", "length": "8"}.items():
        entry = kernel.external_data.add()
        entry.key, entry.value = key, value
    return model


def with_external_tensor_in_a_branch(model: Any, path: Path) -> Any:
    """The same, hidden in a graph inside a node."""
    path.write_bytes(np.zeros(1, np.float32).tobytes())
    hidden = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = hidden.external_data.add()
    entry.key, entry.value = "location", str(path)
    out = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1])
    branch = helper.make_graph([], "branch", [], [out], [hidden])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))
    return model


def with_strange_operator(model: Any) -> Any:
    """The same with a node of somebody's own."""
    model.graph.node.append(helper.make_node("Run", ["mean"], ["unused"], domain="evil.ops"))
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    return model
