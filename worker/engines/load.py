"""The engines there are, by name: what `worker.engines.child` loads."""

from pathlib import Path

from shared.errors import EngineMissingError
from shared.model_contract import ModelContract
from worker.engines.base import EXPLAINER_ENGINE, OPENVINO, Engine, EngineChoice, Explainer
from worker.engines.gradients import load_explainer
from worker.engines.keras import load_keras_engine
from worker.engines.mixed import MIXED
from worker.engines.onnxruntime import load_onnxruntime_engine
from worker.engines.openvino import load_openvino_engine


def load_engine(contract: ModelContract, weights_path: Path, choice: EngineChoice, cache: Path) -> Engine | Explainer:
    """Load a package in the engine chosen; raises InvalidModelPackageError, EngineMissingError."""
    if choice.engine == EXPLAINER_ENGINE:
        return load_explainer(contract, weights_path, choice.batch_sizes)
    if choice.engine == OPENVINO:
        return load_openvino_engine(
            contract, weights_path, choice.precision, choice.batch_sizes, cache, part_size=choice.part_size
        )
    if contract.weights.file == "weights.onnx":
        if choice.precision in MIXED:
            raise EngineMissingError(f"{choice.precision} is for Keras networks; packages with .onnx run on the CPU")
        return load_onnxruntime_engine(contract, weights_path, choice.batch_sizes)
    return load_keras_engine(contract, weights_path, choice.batch_sizes, choice.precision)
