"""Which GPU each worker of the embedded system gets: one process, one GPU; those on the same one share its memory."""

import math
import os

from shared.config import Settings
from shared.errors import EngineMissingError
from shared.gpus import VISIBLE, Gpu, visible_gpus


def default_workers() -> int:
    """One for each GPU; one where there is none, because a worker uses all cores."""
    return max(1, len(_gpus()))


def worker_places(number: int, settings: Settings) -> list[dict[str, str]]:
    """The variables that give each of so many workers its GPU, in turns; none where there is no GPU."""
    gpus = _gpus()
    if not gpus:
        return [{}] * number
    share = settings.gpu_memory_share / math.ceil(number / len(gpus))
    return [
        {VISIBLE: gpus[place % len(gpus)].uuid, "OVERREAD_GPU_MEMORY_SHARE": f"{share:.4f}"} for place in range(number)
    ]


def _gpus() -> list[Gpu]:
    try:
        return visible_gpus(os.environ)
    except EngineMissingError:  # the worker's log says why it runs on the CPU
        return []
