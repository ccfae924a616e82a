"""The same engine and files in Ray Data, as its documentation advises: decoding tasks, then an actor with the model."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.inference_models import Model
from bench.inference_work import Cohort
from bench.inference_yardsticks import read_as_script
from worker.engines.base import EngineChoice
from worker.engines.load import load_engine

BATCH_SIZE = 32
POLL_S = 0.01


class RayData:
    """`map` decodes file by file, `map_batches` predicts in an actor that keeps the engine."""

    def __init__(self, model: Model, serving: dict[str, Any], cache: str) -> None:
        self._model = model
        self._serving = serving
        self._cache = cache

    @staticmethod
    def is_installed() -> bool:
        """Whether Ray Data can be imported."""
        try:
            import ray.data  # noqa: F401
        except ImportError:
            return False
        return True

    def run(self, cohort: Cohort) -> float:
        """Seconds from when the actor has its engine; nothing is decoded before, as in the product whose job begins."""
        import ray

        shape = self._model.contract.input
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / "ready"
            loading = (self._model, self._serving, self._cache, ready)

            def read(row: dict[str, Any]) -> dict[str, Any]:
                while not ready.exists():
                    time.sleep(POLL_S)
                return {"frame": read_as_script(row["path"], shape)}

            rows = ray.data.from_items([{"path": str(path)} for path in cohort.paths], override_num_blocks=64)
            frames = rows.map(read, num_cpus=0.5)
            answers = frames.map_batches(
                _Predictor, fn_constructor_args=loading, batch_size=BATCH_SIZE, concurrency=1, num_cpus=1
            )
            found = answers.take_all()
            ended = time.time()
            # What it runs in the background would take from the ways that follow.
            ray.shutdown()
        assert len(found) == len(cohort.paths), f"{len(found)} answers for {len(cohort.paths)} files"
        return ended - min(row["began"] for row in found)


class _Predictor:
    def __init__(self, model: Model, serving: dict[str, Any], cache: str, ready: Path) -> None:
        weights = model.folder / model.contract.weights.file
        self._engine = load_engine(model.contract, weights, EngineChoice.of_row(serving), Path(cache))
        self._began = time.time()
        ready.touch()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = self._engine.predict(np.ascontiguousarray(batch["frame"], np.float32))
        return {"probabilities": np.asarray(rows), "began": np.full(len(batch["frame"]), self._began)}
