"""Networks on a GPU, as the product computes them and otherwise: `python -m bench.gpu [--quick]`.

From a checkout it needs numpy, Keras and one of its backends, which KERAS_BACKEND chooses, and nothing else. Each row
is measured in a process of its own, because libraries tell the most memory that they ever had. On a CPU it runs too,
says so, and writes no results. Weights are random: how far half precision is from float32 says nothing of a model.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness import report
from worker.engines.backends import JAX, TENSORFLOW, TORCH, backend_name, this_backend
from worker.engines.mixed import MIXED, in_mixed_precision
from worker.networks import densenet121, mission_cnn, resnet18

Predict = Callable[[NDArray[np.float32]], Any]

BATCH_SIZES = {"gpu": (1, 32, 128), "cpu": (1, 16)}
ROUNDS, ROUND_S = 5, 1.0
TIMEOUT_S = 600.0
MIB = 1024 * 1024
EAGER, COMPILED = "eager", "as the product compiles it"
# What else could compile it: worth its trouble only if it is faster.
OTHER_COMPILER = {TENSORFLOW: "with XLA", TORCH: "torch.compile"}
COLUMNS = ("network", "how", "images/s", "memory, MiB", "ready in, s", "from float32")


NETWORKS: dict[str, tuple[tuple[int, int, int], Callable[..., Any]]] = {
    "mission-cnn": ((32, 32, 3), mission_cnn.build),
    "resnet-18": ((28, 28, 1), resnet18.build),
    "densenet-121": ((224, 224, 3), densenet121.build),
}


def measure(name: str, how: str, rounds: int) -> dict[str, Any]:
    """Images per second by size of batch, the most memory, and how far the answers are from float32's."""
    backend = this_backend()
    import keras

    keras.utils.set_random_seed(1)
    shape, build = NETWORKS[name]
    network = build(*shape, 2)
    kind = "gpu" if backend.has_gpu() else "cpu"
    sizes = BATCH_SIZES[kind]
    began = time.perf_counter()
    computed = in_mixed_precision(network, how) if how in MIXED else network
    ready = {size: _predict(computed, how, (size, *shape)) for size in sizes}
    frames = np.random.default_rng(1).random((max(sizes), *shape), np.float32)
    answers = {size: _numbers(ready[size](frames[:size])) for size in sizes}
    ready_s = time.perf_counter() - began
    rates = {size: _rate(ready[size], frames[:size], rounds) for size in sizes}
    memory = _memory_bytes(kind) / MIB  # before the comparison, which takes some too
    wanted = _numbers(_predict(network, COMPILED, (sizes[0], *shape))(frames[: sizes[0]]))
    distance = float(np.abs(answers[sizes[0]] - wanted).max())
    return {"kind": kind, "rates": rates, "memory_mib": memory, "ready_s": ready_s, "distance": distance}


def _predict(network: Any, how: str, shape: tuple[int, ...]) -> Predict:
    import keras

    def forward(batch: Any) -> tuple[Any]:
        return (keras.ops.cast(network(batch, training=False), "float32"),)

    if how == EAGER:
        return lambda batch: keras.ops.convert_to_numpy(forward(keras.ops.convert_to_tensor(batch))[0])
    if how == OTHER_COMPILER[TENSORFLOW]:
        import tensorflow

        jitted = tensorflow.function(forward, jit_compile=True)
        return lambda batch: jitted(tensorflow.constant(batch))[0].numpy()
    if how == OTHER_COMPILER[TORCH]:
        import torch

        return this_backend().compile(torch.compile(forward), network.variables, shape)
    return this_backend().compile(forward, network.variables, shape)


def _numbers(given: Any) -> NDArray[np.float32]:
    return np.asarray(given[0] if isinstance(given, tuple) else given)


def _rate(predict: Predict, batch: NDArray[np.float32], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < ROUND_S:
            predict(batch)
            count += len(batch)
        found.append(count / (time.perf_counter() - began))
    return statistics.median(found)


def _memory_bytes(kind: str) -> int:
    """The most that the backend had of the GPU's memory; on a CPU, that the process had."""
    if kind == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if backend_name() == TENSORFLOW:
        import tensorflow

        return int(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"])
    if backend_name() == JAX:
        import jax

        return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])
    import torch

    return int(torch.cuda.max_memory_allocated())


def _in_a_process(name: str, how: str, rounds: int) -> dict[str, Any]:
    """What `measure` gives, or why it gives nothing."""
    command = [sys.executable, "-m", "bench.gpu", "--one", name, how, "--rounds", str(rounds)]
    # As in the product: memory as it is needed, or nobody could say how much that is.
    grow = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        run = subprocess.run(
            command, env=os.environ | grow, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"longer than {TIMEOUT_S:g} s"}
    if run.returncode:
        last = (run.stderr.strip() or "no words").splitlines()[-1]
        return {"failed": f"exit code {run.returncode}: {last[:200]}"}
    return dict(json.loads(run.stdout.splitlines()[-1]))


def _row(name: str, how: str, found: dict[str, Any]) -> list[str]:
    if "failed" in found:
        return [name, how, found["failed"], "", "", ""]
    rates = ", ".join(f"{size}: {rate:,.0f}" for size, rate in found["rates"].items())
    return [name, how, rates, f"{found['memory_mib']:,.0f}", f"{found['ready_s']:.1f}", f"{found['distance']:.1g}"]


def _device(kind: str) -> str:
    if kind == "cpu":
        return "a CPU: this says nothing of a GPU"
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "a GPU that nvidia-smi does not name"


def main() -> None:
    """Measure every network in every way, or one, for `_in_a_process`."""
    parser = argparse.ArgumentParser("python -m bench.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no DenseNet-121")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "HOW"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.rounds)))
        return
    names = [name for name in NETWORKS if not (given.quick and name == "densenet-121")]
    ways = [EAGER, COMPILED, *([OTHER_COMPILER[backend_name()]] if backend_name() in OTHER_COMPILER else []), *MIXED]
    rows, ratios, kind = [], {}, "cpu"
    for name in names:
        found = {how: _in_a_process(name, how, 3 if given.quick else given.rounds) for how in ways}
        rows += [_row(name, how, one) for how, one in found.items()]
        best = {how: max(one["rates"].values()) for how, one in found.items() if "rates" in one}
        ratios |= {f"{name}/{how}_vs_eager": best[how] / best[EAGER] for how in best if EAGER in best}
        kind = next((one["kind"] for one in found.values() if "kind" in one), kind)
    device = _device(kind)
    print(f"{backend_name()} on {device}")
    report("gpu", COLUMNS, rows, ratios, keep=kind == "gpu", device=device, backend=backend_name())


if __name__ == "__main__":
    main()
