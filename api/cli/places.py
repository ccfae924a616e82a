"""How many processes of the embedded system run, and which GPU each worker gets.

One process, one GPU; workers on the same one share its memory.
"""

import math
import os

from shared.config import Settings
from shared.errors import EngineMissingError
from shared.gpus import VISIBLE, Gpu, visible_gpus


def default_workers() -> int:
    """One for each GPU; one where there is none, because a worker uses all cores."""
    return max(1, len(_gpus()))


def default_schedulers(settings: Settings) -> int:
    """Two on PostgreSQL, which make reports side by side where there are cores for both; SQLite has one writer."""
    has_one_writer = settings.database_url.startswith("sqlite")
    return 1 if has_one_writer else min(2, os.cpu_count() or 1)


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
