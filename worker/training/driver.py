"""The process of one training run: `python -m worker.training.driver ORDER`, started and watched by a worker.

It says how it goes in JSON lines on its standard output, and ends when its standard input does.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.datasets.document import read
from shared.errors import PermanentError
from shared.model_contract import ModelContract
from shared.model_package import load_contract
from shared.states import Split
from worker.engines.keras import import_keras, load_network
from worker.training.data import Examples
from worker.training.loop import Moment, Training
from worker.training.order import (
    CHECKPOINT,
    CHECKPOINT_FILE,
    DONE,
    EPOCH,
    PAUSE,
    REFUSED,
    RESUME,
    STEP,
    TrainingOrder,
)
from worker.training.package import write_package
from worker.training.samples import LEARNT_FROM, Sample, date_of
from worker.training.scratch import with_new_weights

SAY_EVERY_S = 0.5


class Reins:
    """The worker's end of the standard input: it pauses and resumes, and when it is gone this process ends."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        threading.Thread(target=self._listen, name="reins", daemon=True).start()

    def wait(self) -> None:
        """Return at once, or when it is no longer paused."""
        self._running.wait()

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == PAUSE:
                self._running.clear()
            elif line.strip() == RESUME:
                self._running.set()
        # Whoever started this is dead: nobody would take what it makes.
        os._exit(1)


def train(order: TrainingOrder, reins: Reins) -> None:
    """Learn, leaving checkpoints in `order.out`, and write the package there."""
    contract, options = load_contract(order.contract), order.options
    samples, examples = _read(order, contract)
    keras = import_keras()
    keras.utils.set_random_seed(options.seed)
    network = load_network(contract, order.weights, batch_size=options.batch_size)
    if options.start == "scratch":
        network = with_new_weights(network, options.seed)
    training = Training(network, contract, examples[Split.TRAIN], examples[Split.VAL], options)
    if order.checkpoint is not None:
        with np.load(order.checkpoint) as state:
            training.restore(state)
    said_at = saved_at = time.monotonic()
    reins.wait()
    for moment in training.moments():
        now = time.monotonic()
        if moment.ended or now - said_at >= SAY_EVERY_S:
            said_at = now
            _say_moment(moment, options.epochs)
        if now - saved_at >= order.checkpoint_every_s:
            saved_at = now
            _save(training, order.out)
        reins.wait()
    training.finish()
    write_package(network, contract, samples, order.out / "package", data_digest=order.dataset_sha256)
    _say(DONE, step=training.place.step, epoch=training.place.epoch, best_epoch=training.place.best_epoch)


def _read(order: TrainingOrder, contract: ModelContract) -> tuple[list[Sample], dict[Split, Examples]]:
    """The samples of train and val, and every frame of theirs as an example; the frames stay on the disk.

    Of the holdout this process has no frames.
    """
    _, listed = read(order.dataset)
    shape = (sum(order.frame_counts), contract.input.rows, contract.input.columns, contract.input.channels)
    frames = np.memmap(order.frames, np.float32, "r", shape=shape)
    samples, places, classes = [], defaultdict[Split, list[int]](list), defaultdict[Split, list[int]](list)
    start = 0
    for one, count in zip(listed, order.frame_counts, strict=True):
        if one.split not in LEARNT_FROM:
            continue
        whose = (one.patient, one.study, one.series, date_of(one.study_date))
        samples.append(Sample(*whose, one.sha256, one.split, one.label, frames[start : start + count]))
        places[one.split] += range(start, start + count)
        classes[one.split] += [one.label] * count
        start += count
    examples = {
        split: Examples(frames, np.array(places[split], np.int64), np.array(classes[split], np.int64))
        for split in LEARNT_FROM
    }
    return samples, examples


def _say_moment(moment: Moment, epochs: int) -> None:
    kind = EPOCH if moment.ended else STEP
    place = {"epoch": moment.epoch, "epochs": epochs, "step": moment.step, "steps": moment.steps}
    _say(kind, **place, loss=moment.loss, metrics=moment.ended)


def _save(training: Training, out: Path) -> None:
    """Written whole before it has its name."""
    unfinished = out / f"{CHECKPOINT_FILE}.new"
    with unfinished.open("wb") as file:
        arrays: dict[str, Any] = training.state()
        np.savez(file, **arrays)
    unfinished.replace(out / CHECKPOINT_FILE)
    _say(CHECKPOINT, step=training.place.step)


def _say(kind: str, **words: object) -> None:
    sys.stdout.write(json.dumps({"event": kind, **words}) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """The command; 0 also where what it was given is at fault, which it says."""
    (path,) = arguments
    order = TrainingOrder.model_validate_json(Path(path).read_bytes())
    order.out.mkdir(parents=True, exist_ok=True)
    try:
        train(order, Reins())
    except PermanentError as error:
        _say(REFUSED, reason=error.recorded_reason, message=error.message)
    return 0


if __name__ == "__main__":
    # The same order gives the same weights; here, because it holds for the whole process.
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    sys.exit(main(sys.argv[1:]))
