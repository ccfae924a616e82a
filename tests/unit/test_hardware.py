"""Proofs hold for equal machines: what changes speed or last bits changes the digest."""

import os

import pytest

from worker.engines import hardware
from worker.engines.device import Device
from worker.engines.hardware import this_hardware


def test_hardware_names_processor_cores_and_libraries() -> None:
    found = this_hardware(Device(16))

    assert f"{len(os.sched_getaffinity(0))} cores" in found.words
    assert "openvino 20" in found.words
    assert found == this_hardware(Device(16))
    assert len(found.digest) == 64


def test_hardware_differs_by_what_changes_speed_or_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {this_hardware(Device(16)).digest, this_hardware(Device(8)).digest}
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    digests.add(this_hardware(Device(16)).digest)
    monkeypatch.setattr(hardware, "_version", lambda name: "0.0" if name == "openvino" else None)
    digests.add(this_hardware(Device(16)).digest)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    digests.add(this_hardware(Device(16)).digest)

    assert len(digests) == 5
