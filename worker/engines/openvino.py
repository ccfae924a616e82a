"""OpenVINO on the CPU: the reference's own graph, converted once and kept, so that a restart needs nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import EngineMissingError
from shared.model_contract import ModelContract
from worker.engines.artefacts import kept
from worker.engines.base import BFLOAT16, FLOAT32, OPENVINO
from worker.engines.compiled import CompiledEngine, Found, Frames, Run, RunAll, in_turn
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
    contract: ModelContract,
    weights_path: Path,
    precision: str,
    batch_sizes: Sequence[int],
    cache: Path,
    *,
    part_size: int = 0,
) -> CompiledEngine:
    """Convert the network, or take what was converted before, and compile it.

    Raises InvalidModelPackageError, and EngineMissingError where this machine has no such engine.
    """
    if precision not in fast_precisions():
        raise EngineMissingError(f"this machine's CPU has no {precision} instructions (on x86: AMX or AVX512_BF16)")
    most = max(batch_sizes)
    graph = _converted(contract, weights_path, batch_size=most, cache=cache) / GRAPH
    compiled: dict[int, Any] = {}
    if part_size:
        part_size = min(part_size, most)
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": most // part_size}
        compiled[part_size] = _compiled(contract, graph, part_size, precision, options)
        run = _beside(contract, compiled[part_size])
    else:
        # One batch after another: all threads on one, else a frame's answer would wait for others'.
        for size in batch_sizes:
            compiled[size] = _compiled(contract, graph, size, precision, {"PERFORMANCE_HINT": "LATENCY"})
        run = in_turn({size: _alone(contract, one) for size, one in compiled.items()})
    map_shape = _map_shape(compiled[max(compiled)])
    engine = CompiledEngine(contract, compiled, run, name=OPENVINO, precision=precision, map_shape=map_shape)
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


def _compiled(contract: ModelContract, path: Path, size: int, precision: str, options: dict[str, object]) -> Any:
    core = _import().Core()
    graph = core.read_model(path)
    graph.reshape(list(input_shape(contract, size)))
    return core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision]} | options)


def _map_shape(compiled: Any) -> tuple[int, int] | None:
    if len(compiled.outputs) == 1:
        return None
    rows, columns = compiled.outputs[1].shape[2:]
    return rows, columns


def _alone(contract: ModelContract, compiled: Any) -> Run:
    request = compiled.create_infer_request()

    def run(batch: Frames) -> Found:
        found = request.infer({0: in_layout(contract, batch)}, share_inputs=True, share_outputs=True)
        return found[0], found[1] if len(compiled.outputs) > 1 else None

    return run


def _beside(contract: ModelContract, compiled: Any) -> RunAll:
    """Whichever cores are free take the next batch, so that one that others keep busy delays only its own."""
    queue = _import().AsyncInferQueue(compiled)
    has_maps = len(compiled.outputs) > 1

    def keep(request: Any, place: tuple[list[Found | Exception], int]) -> None:
        found, at = place
        try:
            outputs = [np.array(request.get_output_tensor(number).data) for number in range(1 + has_maps)]
            found[at] = outputs[0], outputs[1] if has_maps else None
        except Exception as error:  # noqa: BLE001 - OpenVINO ends the process over it; who asked is told instead
            found[at] = error

    queue.set_callback(keep)

    def run(batches: Sequence[Frames]) -> list[Found]:
        found: list[Found | Exception] = [RuntimeError("OpenVINO gave no answer")] * len(batches)
        # Shared, so they have to stay; OpenVINO copies what is not contiguous to where nothing keeps it.
        inputs = [np.ascontiguousarray(in_layout(contract, batch)) for batch in batches]
        try:
            for at, batch in enumerate(inputs):
                queue.start_async({0: batch}, userdata=(found, at), share_inputs=True)
        finally:
            queue.wait_all()
        return [_unless_failed(one) for one in found]

    return run


def _unless_failed(found: Found | Exception) -> Found:
    if isinstance(found, Exception):
        raise found
    return found


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
