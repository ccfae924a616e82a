"""What the Keras engine says on the backend of this process: `python -m tests.backend_answers PACKAGE FRAMES`.

One JSON object: its answers to the frames in float32 and in half precision, and whether it knows when memory is
exhausted. A GPU is to be pretended, since half precision is for GPUs only; processors compute in it too, slowly.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from shared.model_package import open_package
from worker.engines.backends import this_backend
from worker.engines.base import MIXED_BFLOAT16, is_memory_exhausted
from worker.engines.keras import import_keras, load_keras_engine

BATCH_SIZES = [1, 4]


def answers(folder: Path, frames_path: Path) -> dict[str, Any]:
    contract = open_package(folder, max_bytes=10**8).contract
    frames = np.load(frames_path)
    engine = load_keras_engine(contract, folder / "weights.keras", BATCH_SIZES)
    half = load_keras_engine(contract, folder / "weights.keras", BATCH_SIZES, MIXED_BFLOAT16)
    return {
        "engine": [engine.name, engine.precision],
        "float32": engine.predict(frames).tolist(),
        "half_engine": [half.name, half.precision],
        "half": half.predict(frames).tolist(),
        "knows_exhausted_memory": knows_exhausted_memory(),
    }


def knows_exhausted_memory() -> bool:
    """Of an array of a petabyte."""
    ops = import_keras().ops
    try:
        ops.convert_to_numpy(ops.zeros((2**20, 2**20, 2**8), "float32"))
    except Exception as error:  # noqa: BLE001 - which class it is, is what is asked
        return is_memory_exhausted(error)
    return False


if __name__ == "__main__":
    type(this_backend()).has_gpu = lambda self: True  # type: ignore[method-assign]
    sys.stdout.write(json.dumps(answers(Path(sys.argv[1]), Path(sys.argv[2]))))
