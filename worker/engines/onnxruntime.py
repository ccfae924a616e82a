"""The reference engine of `.onnx` packages: ONNX Runtime on the CPU, in float32."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.model_contract import ModelContract
from worker.engines.base import FLOAT32, ONNXRUNTIME, is_memory_exhausted
from worker.engines.compiled import CompiledEngine, Frames, in_turn
from worker.engines.onnxfile import MISSING, read_onnx
from worker.engines.onnxmaps import MAPS, with_maps
from worker.engines.shapes import check_input, check_outputs, in_layout


def load_onnxruntime_engine(contract: ModelContract, weights_path: Path, batch_sizes: Sequence[int]) -> CompiledEngine:
    """Verify the weights, load them and make them ready; raises InvalidModelPackageError, EngineMissingError."""
    data = read_onnx(contract, weights_path)
    session = _session(with_maps(data))
    inputs, outputs = session.get_inputs(), [one for one in session.get_outputs() if one.name != MAPS]
    if len(inputs) != 1 or len(outputs) != 1:
        raise InvalidModelPackageError(
            f"the network has {len(inputs)} inputs and {len(outputs)} outputs; give it 1 of each"
        )
    if inputs[0].type != "tensor(float)":
        raise InvalidModelPackageError(f"input: the network takes {inputs[0].type}; expected tensor(float)")
    check_input(contract, _shape(inputs[0]))
    check_outputs(contract, _shape(outputs[0]))
    name = inputs[0].name

    def run(batch: Frames) -> tuple[Frames, Frames | None]:
        output, *maps = session.run(None, {name: in_layout(contract, batch)})
        return output, maps[0] if maps else None

    runs = dict.fromkeys(batch_sizes, run)
    map_shape = next((tuple(one.shape[2:]) for one in session.get_outputs() if one.name == MAPS), None)
    engine = CompiledEngine(contract, runs, in_turn(runs), name=ONNXRUNTIME, precision=FLOAT32, map_shape=map_shape)
    engine.prove()
    return engine


def _session(data: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissingError(MISSING) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its words could go anywhere
    # Between two batches its threads would go on turning, and take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever it raises, the package is at fault
        if is_memory_exhausted(error):
            raise
        raise InvalidModelPackageError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the weights ({str(error)[:300]}); export them again, "
            "for an opset that it has"
        ) from error


def _shape(value: Any) -> tuple[int | None, ...]:
    """Sides that are free have a name or none."""
    return tuple(side if isinstance(side, int) else None for side in value.shape)
