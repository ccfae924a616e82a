"""What a worker's engines run on: the CPU, or one GPU of whose memory each process takes its share and no more."""

import os
from dataclasses import dataclass

import structlog

from shared.config import Settings
from shared.errors import EngineMissingError
from shared.gpus import MIB, VISIBLE, Gpu, visible_gpus
from worker.engines.backends import GPU_MEMORY_VARIABLE, backend_name
from worker.engines.death import EngineDeathError
from worker.engines.process import EngineProcess
from worker.engines.wire import ENGINES_TARGET

log = structlog.get_logger()

# An interpreter and the backend; importing CUDA's libraries from a cold disk takes long.
PROBE_TIMEOUT_S = 300.0
# One serves, and one proves new models.
PROCESSES = 2


@dataclass(frozen=True)
class Device:
    """Where networks run, and in batches of how many frames at most.

    `memory_share` is what an engine's process takes of the GPU's memory at most, from 0 to 1.
    """

    batch_size: int
    gpu: Gpu | None = None
    memory_share: float = 0.0

    @property
    def memory_bytes(self) -> int:
        """The same in bytes."""
        return int(self.gpu.memory_bytes * self.memory_share) if self.gpu else 0

    @property
    def words(self) -> str:
        """What tells it from others, where it is a GPU: its kind and its driver, and the memory that may be used."""
        if self.gpu is None:
            return ""
        return f"{self.gpu.name} (driver {self.gpu.driver}), {self.memory_bytes // MIB} MiB of it"

    def environment(self) -> dict[str, str]:
        """Variables for an engine's process, to be there before it imports anything: it sees this GPU or none."""
        if self.gpu is None:
            return {VISIBLE: ""}
        return {
            VISIBLE: self.gpu.uuid,
            GPU_MEMORY_VARIABLE: str(self.memory_bytes),
            # Memory is taken as it is needed, so that the second process finds some.
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{self.memory_share:.4f}",
        }


def find_device(settings: Settings) -> Device:
    """The first GPU that this worker may see, if Keras computes on it; else the CPU, and the log says why.

    One process, one GPU: for the others start more workers, each with its own CUDA_VISIBLE_DEVICES.
    """
    cpu = Device(settings.batch_size)
    try:
        gpus = visible_gpus(os.environ)
    except EngineMissingError as error:
        log.warning("gpus_unknown", why=error.message)
        return cpu
    if not gpus:
        return cpu
    gpu = gpus[0]
    device = Device(settings.gpu_batch_size, gpu, settings.gpu_memory_share)
    why = _unusable(device)
    if why:
        log.warning("gpu_unused", gpu=gpu.name, why=why)
        return cpu
    log.info("gpu_found", gpu=gpu.name, memory_bytes=device.memory_bytes, others_left=len(gpus) - 1)
    if gpu.used_bytes + PROCESSES * device.memory_bytes > gpu.memory_bytes:
        remedy = "end what else uses it, or lower OVERREAD_GPU_MEMORY_SHARE of every worker on it"
        log.warning("gpu_memory_short", used_bytes=gpu.used_bytes, memory_bytes=gpu.memory_bytes, remedy=remedy)
    return device


def _unusable(device: Device) -> str:
    """Why Keras cannot compute on it, asked of a process like an engine's; empty if it can."""
    try:
        process = EngineProcess(ENGINES_TARGET, environment=device.environment())
    except OSError as error:
        return f"no process to try it in ({error.strerror})"
    try:
        process.wait_until_ready(PROBE_TIMEOUT_S)
        process.ask({"act": "probe"}, PROBE_TIMEOUT_S)
        said, _ = process.answer()
    except (EngineDeathError, EngineMissingError) as error:
        return error.message
    finally:
        process.end()
    if said.get("gpu") is True:
        return ""
    return f"Keras on {backend_name()} sees no GPU; for TensorFlow: pip install 'overread[gpu]' in place of [worker]"
