"""A stand-in for NVIDIA's `nvidia-smi`, for tests on machines without a GPU."""

from pathlib import Path

import pytest

H200 = "GPU-0aaa, NVIDIA H200, 143771, 5, 570.124.06"
A10 = "GPU-1bbb, NVIDIA A10, 23028, 0, 570.124.06"
MIB = 1024 * 1024


def install_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str, code: int = 0) -> None:
    """Put a program on the path that prints these lines and ends so; no GPU is hidden."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    text = "\n".join(lines)
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}\nEOF\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
