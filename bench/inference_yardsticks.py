"""What the product is measured against: OpenVINO's own loop, our engine by itself, and a good engineer's script."""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.inference_models import Model
from bench.inference_work import Cohort
from shared.model_contract import InputShape
from worker.engines.base import EngineChoice
from worker.engines.load import load_engine
from worker.engines.openvino import GRAPH, HINTS

Frames = NDArray[np.float32]
SCRIPT_BATCH = 32


class Yardsticks:
    """Loaded once; each method gives the seconds that it took."""

    def __init__(self, model: Model, serving: dict[str, Any], cache: Path) -> None:
        import keras

        weights = model.folder / "weights.keras"
        self._shape = model.contract.input
        self._choice = EngineChoice.of_row(serving)
        self._engine = load_engine(model.contract, weights, self._choice, cache)
        # Also where something else serves: OpenVINO's loop is the best that there is on a CPU.
        load_engine(model.contract, weights, EngineChoice("openvino", "float32", self._choice.batch_sizes), cache)
        (self._graph,) = cache.glob(f"*/{GRAPH}")
        self._network = keras.saving.load_model(weights)
        self.answers = np.empty((0, 1))

    def ready(self, cohort: Cohort) -> Frames:
        """All frames of a cohort as the script makes them."""
        return np.stack([read_as_script(path, self._shape) for path in cohort.paths])

    def openvino_loop(self, frames: Frames) -> float:
        """OpenVINO's own way to be fast: requests in flight, as its benchmark_app has them, in the best size for it."""
        import openvino

        core = openvino.Core()
        hint = HINTS.get(self._choice.precision, "f32")
        best, most = float("inf"), self._choice.batch_sizes[-1]
        sizes = {most, self._choice.part_size or most}
        for size, way in itertools.product(sizes, ("THROUGHPUT", "LATENCY")):
            graph = core.read_model(self._graph)
            graph.reshape([size, *frames.shape[1:]])
            compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": way})
            queue = openvino.AsyncInferQueue(compiled)
            whole = frames[: len(frames) // size * size]
            began = time.perf_counter()
            for start in range(0, len(whole), size):
                queue.start_async({0: whole[start : start + size]}, share_inputs=True)
            queue.wait_all()
            best = min(best, (time.perf_counter() - began) * len(frames) / len(whole))
        return best

    def engine(self, frames: Frames) -> float:
        """Our engine on ready arrays."""
        began = time.perf_counter()
        self._engine.predict(frames)
        return time.perf_counter() - began

    def script(self, cohort: Cohort) -> float:
        """Read, preprocess and predict, 32 at a time; keeps nothing but the probabilities."""
        began = time.perf_counter()
        answers = []
        for start in range(0, len(cohort.paths), SCRIPT_BATCH):
            batch = np.stack([read_as_script(path, self._shape) for path in cohort.paths[start : start + SCRIPT_BATCH]])
            answers.append(self._network.predict(batch, batch_size=SCRIPT_BATCH, verbose=0))
        seconds = time.perf_counter() - began
        logits = np.concatenate(answers).astype(np.float64)
        self.answers = 1 / (1 + np.exp(logits[:, :1] - logits[:, 1:]))
        return seconds


def read_as_script(path: str | Path, shape: InputShape) -> Frames:
    """As a good engineer would, for just these files: window, resize, normalise; float32 (rows, columns, channels)."""
    import pydicom

    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array.astype(np.float32)
    center, width = float(dataset.WindowCenter) - 0.5, float(dataset.WindowWidth) - 1
    values = np.clip((values - (center - width / 2)) / width, 0, 1)
    image = Image.fromarray(values).resize((shape.columns, shape.rows), Image.Resampling.BILINEAR)
    return np.repeat(((np.asarray(image) - 0.5) / 0.25)[:, :, np.newaxis], shape.channels, axis=2)
