"""Which GPUs a process may use, by the driver's table and CUDA_VISIBLE_DEVICES; which worker gets which."""

from pathlib import Path

import pytest

from api.cli.places import default_workers, worker_places
from shared.config import Settings, load_settings
from shared.errors import EngineMissingError
from shared.gpus import Gpu, visible_gpus
from tests.fake_driver import A10, H200, MIB, install_driver

FIRST = Gpu("GPU-0aaa", "NVIDIA H200", 143771 * MIB, 5 * MIB, "570.124.06")
SECOND = Gpu("GPU-1bbb", "NVIDIA A10", 23028 * MIB, 0, "570.124.06")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [FIRST, SECOND]),
        ("0,1", [FIRST, SECOND]),
        ("1", [SECOND]),
        ("1, 0", [SECOND, FIRST]),
        ("GPU-1bbb,0", [SECOND, FIRST]),
        ("GPU-0", [FIRST]),
        ("", []),
        ("-1", []),
        ("0,2,1", [FIRST]),
        ("0,0,1", [FIRST]),
        ("GPU-", []),
        ("MIG-GPU-0aaa/1/0", []),
    ],
)
def test_gpus_are_those_that_cuda_would_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[Gpu]
) -> None:
    install_driver(tmp_path, monkeypatch, H200, A10)

    assert visible_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


@pytest.mark.parametrize(
    "line",
    [
        "GPU-2ccc, NVIDIA GB10, [N/A], [N/A], 580.65",
        "no devices were found",
        "",
        "GPU-3ddd, NVIDIA, H200, 1, 2, 3",
        "-3, X, 1, 1, 1",
    ],
)
def test_gpu_is_left_out_when_the_driver_says_less_than_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    install_driver(tmp_path, monkeypatch, line, A10)

    assert visible_gpus({}) == [SECOND]


def test_there_is_no_gpu_when_there_is_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert visible_gpus({}) == []


def test_driver_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, "Failed to initialize NVML: Driver/library version mismatch", code=18)

    with pytest.raises(EngineMissingError, match="nvidia-smi failed"):
        visible_gpus({})
    assert default_workers() == 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", gpu_memory_share=0.4)


def test_each_worker_gets_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    install_driver(tmp_path, monkeypatch, H200, A10)

    assert default_workers() == 2
    assert worker_places(2, settings) == [
        {"CUDA_VISIBLE_DEVICES": "GPU-0aaa", "OVERREAD_GPU_MEMORY_SHARE": "0.4000"},
        {"CUDA_VISIBLE_DEVICES": "GPU-1bbb", "OVERREAD_GPU_MEMORY_SHARE": "0.4000"},
    ]


def test_workers_on_one_gpu_divide_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    install_driver(tmp_path, monkeypatch, H200)

    places = worker_places(3, settings)

    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["GPU-0aaa"] * 3
    assert sum(2 * float(place["OVERREAD_GPU_MEMORY_SHARE"]) for place in places) <= 1.0


def test_workers_get_nothing_when_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert default_workers() == 1
    assert worker_places(2, settings) == [{}, {}]
