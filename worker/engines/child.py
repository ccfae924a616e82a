"""The engine's process: loads model packages and predicts, one request after another.

Run as `python -m worker.engines.child TARGET PARENT_PID FRAMES_DESCRIPTOR...` by `worker.engines.process`.
"""

import contextlib
import ctypes
import gc
import importlib
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.model_contract import ModelContract
from shared.sandbox.inside import end_with_parent, next_request, send, take_pipes, tell_where_it_died
from shared.states import Explain
from worker.engines.backends import probe
from worker.engines.base import Engine, EngineChoice, Explainer, is_memory_exhausted
from worker.engines.frames import SharedFrames
from worker.engines.maps import pack, wanted_maps
from worker.engines.wire import BEGUN, DONE, FAILED, MEMORY, MISSING, READY, REFUSED

PR_SET_PDEATHSIG = 1  # linux/prctl.h

Answer = tuple[dict[str, Any], bytes]
Loader = Callable[[ModelContract, Path, EngineChoice, Path], Engine | Explainer]


def main(target: str, parent_pid: int, descriptors: list[int]) -> None:
    """Answer requests until the parent closes the pipe or dies."""
    requests, answers, crash_log = take_pipes()
    _guard(parent_pid, crash_log)
    try:
        load = _import_loader(target)
    except Exception as error:  # noqa: BLE001 - whatever the import raised, the parent must hear of it
        send(answers, FAILED, {"class": type(error).__name__})
        return
    served = _Served(load, [SharedFrames(descriptor, writable=False) for descriptor in descriptors])
    send(answers, READY, {})
    while (request := next_request(requests)) is not None:
        send(answers, BEGUN, {})
        _answer(served, request, answers)


class _Served:
    """The engines in memory, by the parent's keys; which are kept is the parent's to say."""

    def __init__(self, load: Loader, frames: list[SharedFrames]) -> None:
        self._load = load
        self._frames = frames
        self._engines: dict[str, Any] = {}
        self._contracts: dict[str, ModelContract] = {}

    def load(self, request: dict[str, Any]) -> Answer:
        for key in request["dropped"]:
            self._engines.pop(key, None)
            self._contracts.pop(key, None)
        gc.collect()  # networks are full of cycles, and what they hold is wanted for the next one
        contract = ModelContract.model_validate(request["contract"])
        sizes, part_size = tuple(request["batch_sizes"]), request["part_size"]
        choice = EngineChoice(request["engine"], request["precision"], sizes, part_size)
        engine = self._load(contract, Path(request["weights_path"]), choice, Path(request["cache"]))
        self._engines[request["key"]], self._contracts[request["key"]] = engine, contract
        return {"name": engine.name, "precision": engine.precision, "map_shape": engine.map_shape}, b""

    def predict(self, request: dict[str, Any]) -> Answer:
        """Probabilities, and behind them the heat maps that follow from these."""
        engine: Engine = self._engines[request["key"]]
        rows, maps = engine.predict_with_maps(self._frames_of(request))
        explain = [Explain(how) for how in request["explain"]]
        wanted = wanted_maps(self._contracts[request["key"]], rows, explain)
        return {}, rows.astype(np.float32).tobytes() + pack(maps, wanted)

    def explain(self, request: dict[str, Any]) -> Answer:
        """Heat maps of the findings that the request names for each frame."""
        explainer: Explainer = self._engines[request["key"]]
        frames = self._frames_of(request)
        wanted = np.zeros((len(frames), len(self._contracts[request["key"]].findings)), np.bool_)
        for frame, findings in enumerate(request["findings"]):
            wanted[frame, findings] = True
        return {}, pack(explainer.explain(frames, wanted) if explainer.map_shape else None, wanted)

    def _frames_of(self, request: dict[str, Any]) -> NDArray[np.float32]:
        frames: NDArray[np.float32] = self._frames[request["slot"]].array(tuple(request["shape"]))
        return frames


def _answer(served: _Served, request: dict[str, Any], answers: int) -> None:
    acts = {"load": served.load, "predict": served.predict, "explain": served.explain, "probe": probe}
    act = acts[request["act"]]
    try:
        meta, payload = act(request)
    except InvalidModelPackageError as error:
        send(answers, REFUSED, {"message": error.message})
    except EngineMissingError as error:
        send(answers, MISSING, {"message": error.message})
    except Exception as error:  # noqa: BLE001 - texts of foreign errors can hold patient data: only the class goes
        send(answers, MEMORY if is_memory_exhausted(error) else FAILED, {"class": type(error).__name__})
    else:
        send(answers, DONE, meta, payload)


def _guard(parent_pid: int, crash_log: int) -> None:
    """End with the parent and not before it, and say where when a signal ends us: positions in code, no values."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold patients' pixels
    # Ctrl-C and a service manager's TERM reach the whole group; the parent finishes its batches and then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell_where_it_died(crash_log)
    # The thread that watches the parent cannot run while C code holds the interpreter; the kernel's signal at the death
    # of the parent's engine thread, which lives as long as it needs us, works then too.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    end_with_parent(parent_pid)


def _import_loader(target: str) -> Loader:
    """The function that loads engines; it imports what an engine needs when the first one is loaded."""
    name, _, function = target.partition(":")
    loader: Loader = getattr(importlib.import_module(name), function)
    return loader


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1], int(sys.argv[2]), [int(descriptor) for descriptor in sys.argv[3:]])
