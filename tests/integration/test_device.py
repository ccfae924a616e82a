"""What a worker computes on: a GPU only where Keras can, within its share of the memory; its engine sees no other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from shared.config import Settings, load_settings
from shared.gpus import Gpu
from shared.model_package import load_contract
from tests.engine_targets import notes
from tests.fake_driver import A10, H200, MIB, install_driver
from tests.model_samples import contract_fields
from worker.engines import device
from worker.engines.base import MIXED_BFLOAT16, MIXED_FLOAT16, OPENVINO
from worker.engines.device import Device, find_device
from worker.engines.hardware import this_hardware
from worker.engines.proof import challengers
from worker.inference.batch import EngineThread, ServedModel

GPU = Gpu("GPU-0aaa", "NVIDIA H200", 1000 * MIB, 0, "570")


class WillingProcess:
    """Stands for an engine's process whose backend computes on the GPU that it was given."""

    given: dict[str, str]

    def __init__(self, target: str, environment: dict[str, str]) -> None:
        type(self).given = environment

    def wait_until_ready(self, limit_s: float) -> None: ...

    def ask(self, request: dict[str, Any], limit_s: float) -> None:
        assert request == {"act": "probe"}

    def answer(self) -> tuple[dict[str, Any], bytes]:
        return {"gpu": True}, b""

    def end(self) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", batch_size=8, gpu_batch_size=64, gpu_memory_share=0.25)


def test_worker_is_on_the_cpu_when_its_keras_sees_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    install_driver(tmp_path / "driver", monkeypatch, "GPU-none, NVIDIA Imaginary, 1000, 0, 1")

    with capture_logs() as logs:
        found = find_device(settings)

    assert found == Device(8)
    (said,) = [entry for entry in logs if entry["event"] == "gpu_unused"]
    assert "Keras on tensorflow sees no GPU" in said["why"]
    assert "overread[gpu]" in said["why"]


def test_worker_says_so_when_the_driver_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    install_driver(tmp_path / "driver", monkeypatch, code=9)

    with capture_logs() as logs:
        found = find_device(settings)

    assert found == Device(8)
    assert [entry["event"] for entry in logs] == ["gpus_unknown"]


def test_worker_takes_its_share_of_the_first_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    install_driver(tmp_path / "driver", monkeypatch, A10, H200)
    monkeypatch.setattr(device, "EngineProcess", WillingProcess)

    found = find_device(settings)

    assert (found.gpu and found.gpu.name, found.batch_size) == ("NVIDIA A10", 64)
    assert found.memory_bytes == 23028 * MIB // 4
    assert WillingProcess.given == found.environment()


def test_worker_warns_when_others_have_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    install_driver(tmp_path / "driver", monkeypatch, "GPU-0aaa, NVIDIA H200, 1000, 600, 570")
    monkeypatch.setattr(device, "EngineProcess", WillingProcess)

    with capture_logs() as logs:
        find_device(settings)

    assert [entry["event"] for entry in logs] == ["gpu_found", "gpu_memory_short"]


def test_engine_process_gets_the_gpu_and_its_bounds(tmp_path: Path) -> None:
    environment = Device(8, GPU, 0.25).environment()
    limits = {"batch_size": 8, "timeout_s": 60.0, "load_timeout_s": 60.0, "cache": tmp_path / "cache"}
    contract = load_contract(json.dumps(contract_fields(side=4)))
    model = ServedModel("0" * 64, contract, tmp_path / "well")
    thread = EngineThread(**limits, target="tests.engine_targets:load_marked", environment=environment)
    try:
        thread.predict(model, np.zeros((4, 4, 1), np.float32)).result(60)
    finally:
        thread.close()

    (loaded,) = notes(tmp_path, "load")
    assert set(environment) <= set(loaded["environment"])
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-0aaa"
    assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.2500"
    assert environment["OVERREAD_ENGINE_GPU_BYTES"] == str(250 * MIB)


def test_engine_sees_no_gpu_when_the_worker_is_on_the_cpu() -> None:
    assert Device(8).environment() == {"CUDA_VISIBLE_DEVICES": ""}


def test_half_precision_is_tried_on_gpus_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    assert {choice.engine for choice in challengers(Device(8))} == {OPENVINO}
    on_gpu = {(choice.engine, choice.precision) for choice in challengers(Device(8, GPU, 0.25))}
    assert on_gpu > {("keras-jax", MIXED_FLOAT16), ("keras-jax", MIXED_BFLOAT16)}


def test_proofs_of_one_gpu_do_not_hold_for_another() -> None:
    other = Gpu("GPU-1", "NVIDIA A10", 1000 * MIB, 0, "570")
    on = [Device(8), Device(8, GPU, 0.25), Device(8, GPU, 0.5), Device(8, other, 0.25)]

    found = [this_hardware(one) for one in on]

    assert len({one.digest for one in found}) == len(on)
    assert "NVIDIA H200 (driver 570), 250 MiB of it" in found[1].words
    assert found[1].digest == this_hardware(Device(8, Gpu("GPU-2", "NVIDIA H200", 1000 * MIB, 7, "570"), 0.25)).digest
