"""On a real GPU, with each backend that sees one: the same answers, bounded memory, half precision proved.

`make test-gpu` runs these; they were written without a GPU at hand.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shared.config import load_settings
from shared.gpus import MIB
from shared.model_package import open_package
from tests.model_samples import accept_everything_package, contract_fields, write_contract
from worker.engines.backends import JAX, TENSORFLOW, TORCH, keras_engine_name
from worker.engines.base import FLOAT32
from worker.engines.device import Device, find_device
from worker.engines.host import EngineHost
from worker.engines.mixed import MIXED
from worker.engines.proof import MIN_INPUTS, Inputs, Proof, Standing
from worker.engines.requests import FrameRequest, ServedModel
from worker.engines.wire import ENGINES_TARGET

pytestmark = pytest.mark.gpu

LIMIT_S = 300.0
SIDE = 256
# CUDA's own, beside what the backend takes for tensors.
CONTEXT_BYTES = 1500 * MIB
BOUND_BYTES = 2048 * MIB


@pytest.fixture(params=[TENSORFLOW, JAX, TORCH])
def device(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """The GPU, as a worker with this backend finds it."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    monkeypatch.setenv("KERAS_BACKEND", request.param)
    found = find_device(load_settings(data_dir=tmp_path / "data"))
    if found.gpu is None:
        pytest.skip(f"Keras on {request.param} sees no GPU; a worker's log would say why")
    return found


@pytest.fixture
def small(device: Device) -> Device:
    """The same with so little memory that a large batch does not fit."""
    assert device.gpu is not None
    return replace(device, batch_size=64, memory_share=BOUND_BYTES / device.gpu.memory_bytes)


WIDE = """
import sys, keras
keras.utils.set_random_seed(1)
wide = [keras.layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(4)]
end = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
side = int(sys.argv[2])
keras.Sequential([keras.Input((side, side, 1)), *wide, *end]).save(sys.argv[1])
"""


@pytest.fixture
def model(device: Device, tmp_path: Path) -> ServedModel:
    """A network of wide layers: each gives a GiB in a batch of 64."""
    folder = accept_everything_package(tmp_path / "package", side=SIDE)
    command = [sys.executable, "-W", "ignore", "-c", WIDE, str(folder / "weights.keras"), str(SIDE)]
    # Not in this process, which would take the GPU's memory and keep it.
    subprocess.run(command, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, check=True, timeout=LIMIT_S)
    write_contract(folder, contract_fields(side=SIDE))
    opened = open_package(folder, max_bytes=10**9)
    return ServedModel(opened.digest, opened.contract, folder / "weights.keras")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[EngineHost]]:
    made: list[EngineHost] = []
    yield made
    for host in made:
        host.discard()


def host_on(device: Device, tmp_path: Path, hosts: list[EngineHost]) -> EngineHost:
    made = EngineHost(
        target=ENGINES_TARGET,
        batch_size=device.batch_size,
        timeout_s=LIMIT_S,
        load_timeout_s=LIMIT_S,
        cache=tmp_path / "cache",
        environment=device.environment(),
    )
    hosts.append(made)
    return made


def frames(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).random((count, SIDE, SIDE, 1), np.float32)


def predict(host: EngineHost, model: ServedModel, given: NDArray[np.float32]) -> NDArray[np.float32]:
    host.load(model)
    host.place(0, model, 0, [FrameRequest(model, frame) for frame in given])
    host.begin(0, model, len(given))
    return host.finish(model, len(given))


def test_gpu_gives_the_references_probabilities(
    device: Device, model: ServedModel, tmp_path: Path, hosts: list[EngineHost]
) -> None:
    on_gpu, on_cpu = host_on(device, tmp_path, hosts), host_on(Device(8), tmp_path, hosts)

    given, wanted = (predict(host, model, frames(8)) for host in (on_gpu, on_cpu))

    assert (on_gpu.engine(model).name, on_gpu.engine(model).precision) == (keras_engine_name(), FLOAT32)
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_engine_stays_within_its_memory_and_takes_smaller_batches(
    small: Device, model: ServedModel, tmp_path: Path, hosts: list[EngineHost]
) -> None:
    before = {child.pid for child in psutil.Process().children()}
    rows = Proof(host := host_on(small, tmp_path, hosts), model, small, lambda: None).run(
        Inputs(frames(MIN_INPUTS), np.empty((0, 1), np.float32))
    )

    (engine,) = {child.pid for child in psutil.Process().children()} - before
    assert rows[0].standing is Standing.PASSED
    assert host.batch_size(model) < small.batch_size
    # In a container the driver may not name processes: then there is nothing to compare.
    assert memory_of(engine) <= BOUND_BYTES + CONTEXT_BYTES


def memory_of(pid: int) -> int:
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = dict(line.split(", ") for line in lines if ", " in line)
    used = found.get(str(pid), "0")
    return int(used) * MIB if used.isdecimal() else 0


def test_half_precision_is_proved_on_the_gpu(
    device: Device, model: ServedModel, tmp_path: Path, hosts: list[EngineHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engines.proof.ROUND_S", 0.05)
    smaller = replace(device, batch_size=16)

    rows = Proof(host_on(smaller, tmp_path, hosts), model, smaller, lambda: None).run(
        Inputs(frames(MIN_INPUTS), np.empty((0, 1), np.float32))
    )

    half = {row.precision: row for row in rows if row.precision in MIXED}
    assert set(half) == set(MIXED)
    for row in half.values():
        assert row.standing is Standing.PASSED, row.detail
        assert 0.0 < (row.max_difference or 0.0) <= model.contract.proof.tolerance
        assert min(row.images_per_s.values()) > 0
