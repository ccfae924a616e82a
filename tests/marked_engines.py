"""The engine thread over `tests.engine_targets`, whose engines answer with a frame's last value and heed its mark."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model_package import load_contract
from tests.model_samples import contract_fields
from worker.engines.base import REFERENCE, EngineChoice
from worker.inference.batch import EngineThread, ServedModel

SIDE = 4
ANSWER_S = 60.0


@contextmanager
def marked_thread(folder: Path, batch_size: int) -> Iterator[EngineThread]:
    made = EngineThread(
        batch_size=batch_size,
        timeout_s=ANSWER_S,
        load_timeout_s=ANSWER_S,
        cache=folder / "cache",
        target="tests.engine_targets:load_marked",
    )
    yield made
    made.close()


def marked_model(folder: Path, kind: str = "well", choice: EngineChoice = REFERENCE, **changes: Any) -> ServedModel:
    """What its weights are called says what the engine does; `changes` are those of the contract."""
    contract = load_contract(json.dumps(contract_fields(side=SIDE, **changes)))
    return ServedModel(kind.encode().hex().ljust(64, "0"), contract, folder / kind, choice)


def frame(value: float, mark: float = 0.0) -> NDArray[np.float32]:
    made = np.zeros((SIDE, SIDE, 1), np.float32)
    made[0, 0, 0], made[-1, -1, -1] = mark, value
    return made
