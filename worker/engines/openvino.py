"""OpenVINO on the CPU: the reference's own graph, converted once and kept, so that a restart needs nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.errors import EngineMissingError
from shared.model_contract import ModelContract
from worker.engines.artefacts import kept
from worker.engines.base import BFLOAT16, FLOAT32, OPENVINO
from worker.engines.compiled import CompiledEngine, Frames, Run
from worker.engines.keras import concrete_graph, load_network
from worker.engines.onnxfile import read_onnx
from worker.engines.onnxmaps import with_maps
from worker.engines.shapes import in_layout, input_shape

# What OpenVINO calls the precisions that predictions name, and what a CPU must be able to do to be fast in them.
HINTS = {FLOAT32: "f32", BFLOAT16: "bf16"}
CAPABILITIES = {FLOAT32: "FP32", BFLOAT16: "BF16"}

GRAPH = "graph.xml"
# What is kept under this name has a second output where heat maps come with the first.
KIND = "openvino-maps"


def load_openvino_engine(
    contract: ModelContract, weights_path: Path, precision: str, batch_sizes: Sequence[int], cache: Path
) -> CompiledEngine:
    """Convert the network, or take what was converted before, and compile it.

    Raises InvalidModelPackageError, and EngineMissingError where this machine has no such engine.
    """
    if precision not in fast_precisions():
        raise EngineMissingError(f"this machine's CPU has no {precision} instructions (on x86: AMX or AVX512_BF16)")
    folder = _converted(contract, weights_path, batch_size=max(batch_sizes), cache=cache)
    core = _import().Core()
    runs: dict[int, Run] = {}
    map_shape = None
    for size in batch_sizes:
        graph = core.read_model(folder / GRAPH)
        graph.reshape(list(input_shape(contract, size)))
        map_shape = tuple(graph.outputs[1].get_shape()[2:]) if len(graph.outputs) > 1 else None
        # One batch after another: all threads on one, else a frame's answer would wait for others'.
        options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
        runs[size] = _run_in(contract, core.compile_model(graph, "CPU", options))
    engine = CompiledEngine(contract, runs, name=OPENVINO, precision=precision, map_shape=map_shape)
    engine.prove()
    return engine


def fast_precisions() -> list[str]:
    """The precisions in which this machine's CPU is fast; raises EngineMissingError without OpenVINO."""
    able = _import().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for precision, capability in CAPABILITIES.items() if capability in able]


def _import() -> Any:
    # OpenVINO's converter reports its use to its maker over the network where it finds this package.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise EngineMissingError(
            "OpenVINO is not installed; for faster inference on CPUs: pip install 'overread[openvino]'"
        ) from error
    return openvino


def _run_in(contract: ModelContract, compiled: Any) -> Run:
    request = compiled.create_infer_request()

    def run(batch: Frames) -> tuple[Frames, Frames | None]:
        found = request.infer({0: in_layout(contract, batch)}, share_inputs=True, share_outputs=True)
        return found[0], found[1] if len(compiled.outputs) > 1 else None

    return run


def _converted(contract: ModelContract, weights_path: Path, *, batch_size: int, cache: Path) -> Path:
    """The folder with the network as OpenVINO's graph, made at the first time."""
    openvino = _import()

    def make(folder: Path) -> None:
        if contract.weights.file == "weights.onnx":
            graph = openvino.Core().read_model(with_maps(read_onnx(contract, weights_path)), b"")
        else:
            network = load_network(contract, weights_path, batch_size=batch_size)
            graph = openvino.convert_model(concrete_graph(contract, network, None))
        openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)

    # The same weights can come with contracts of several sides.
    sides = "x".join(map(str, input_shape(contract, None)[1:]))
    version = openvino.__version__.partition("-")[0]
    return kept(cache, f"{contract.weights.sha256}-{sides}-{KIND}-{version}", make)
