"""The limit: processor time per instance of each stage by itself, and how far a second core helps to decode."""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.inference_work import Cohort
from shared.config import load_settings
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import Frame, iter_frames
from shared.model_contract import ModelContract
from worker.inference.decode import Decoder
from worker.inference.preprocess import to_input

Thing = TypeVar("Thing")

# Enough to measure, few enough to stay within a round.
MOST_FILES = 200


@dataclass(frozen=True)
class Stages:
    """Core-seconds per instance; `rows` are what worker, scheduler and database took in the product's own run."""

    verify: float
    decode: float
    preprocess: float
    engine: float
    rows: float

    def limit(self, cores: int) -> float:
        """Instances per second if every core did nothing but this, all the time."""
        return cores / sum(vars(self).values())


def decode_and_preprocess(cohort: Cohort, contract: ModelContract) -> tuple[float, float, float]:
    """Core-seconds per instance to verify the bytes' digest, to decode and to preprocess, in this process."""
    paths = cohort.paths[:MOST_FILES]
    limits = ReadLimits.of_settings(load_settings())
    for path in paths[:8]:
        [to_input(frame, contract) for frame in iter_frames(path, limits)]
    verified = _cpu_s(_digest, paths)
    frames: list[Frame] = []
    decoded = _cpu_s(lambda path: frames.extend(iter_frames(path, limits)), paths)
    preprocessed = _cpu_s(lambda frame: to_input(frame, contract), frames)
    return verified, decoded, preprocessed


def second_core(cohort: Cohort, contract: ModelContract, folder: Path) -> float:
    """Frames per second of two decoding children over those of one."""
    rates = []
    for processes in (1, 2):
        settings = load_settings(data_dir=folder, decode_processes=processes)
        with Decoder(settings) as decoder, ThreadPoolExecutor(processes) as pool:

            def decode(path: Path, decoder: Decoder = decoder) -> None:
                list(decoder.frames(path, contract))

            list(pool.map(decode, cohort.paths[:8]))
            began = time.perf_counter()
            list(pool.map(decode, cohort.paths[:MOST_FILES]))
            rates.append(1 / (time.perf_counter() - began))
    return rates[1] / rates[0]


def _cpu_s(work: Callable[[Thing], object], things: Sequence[Thing]) -> float:
    began = time.process_time()
    for thing in things:
        work(thing)
    return (time.process_time() - began) / len(things)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
