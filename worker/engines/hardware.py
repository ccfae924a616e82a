"""What this machine computes with: proofs of engines hold for it and for its equals."""

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shared.models.registry import MAX_HARDWARE
from shared.repositories.proofs import Hardware
from worker.engines.backends import backend_name
from worker.engines.device import Device

CPU_INFO = Path("/proc/cpuinfo")
LIBRARIES = (
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "onnx",
    "onnxruntime",
    "openvino",
)
# What turns files into the numbers that networks get, and Overread itself.
READERS = (
    "overread",
    "numpy",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "python-gdcm",
    "pyjpegls",
    "imagecodecs",
)
# The instructions by which a processor is fast at networks.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def this_hardware(device: Device) -> Hardware:
    """The processor, the cores we may use, the GPU, the libraries, and the largest batch that the settings allow."""
    said = dict(_cpu_facts())
    flags = set(said.get("flags", "").split())
    words = [
        f"{said.get('model name') or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        " ".join(name for name in INSTRUCTIONS if name in flags),
        device.words,
        f"keras on {backend_name()}",
        " ".join(f"{name} {found}" for name in LIBRARIES if (found := _version(name))),
        f"batches up to {device.batch_size}",
    ]
    text = "; ".join(part for part in words if part)
    return Hardware(hashlib.sha256(text.encode()).hexdigest(), text[:MAX_HARDWARE])


def this_environment(hardware: Hardware) -> dict[str, Any]:
    """What predictions are computed in: the versions of all that a frame goes through, and the machine."""
    found = {name: _version(name) for name in (*READERS, *LIBRARIES)}
    return {
        "python": platform.python_version(),
        "packages": {name: version for name, version in found.items() if version},
        "hardware": hardware.words,
    }


def _cpu_facts() -> list[tuple[str, str]]:
    """What the kernel says of the first core; nothing where it has no such file."""
    try:
        first, _, _ = CPU_INFO.read_text().partition("\n\n")
    except OSError:
        return []
    pairs = (line.partition(":") for line in first.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
