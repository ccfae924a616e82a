"""A claimed training run: freeze the data, train in a process of its own, judge and register what came of it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.datasets.document import Sample as Listed
from shared.db import reading
from shared.errors import EngineLostError, NotTrainableError, PermanentError, StorageFullError
from shared.model_package import WEIGHTS_FILE
from shared.models import Dataset
from shared.reasons import Reason
from worker.engines.death import TIMEOUT
from worker.engines.scratch import scratch_folder
from worker.runtime import HeldShards, Runtime
from worker.training.attempt import LOOK_S, Attempt
from worker.training.candidate import judge_and_register
from worker.training.order import CHECKPOINT, CHECKPOINT_FILE, DONE, EPOCH, FULL, REFUSED, STEP, TrainingOrder
from worker.training.prepare import OnRead, freeze, read_snapshot, write_frames
from worker.training.process import TrainingProcess
from worker.training.samples import LEARNT_FROM

# Of so many epochs every second one is let go: a curve needs no more.
MOST_HISTORY = 1000
RAY_FOLDER = "r"


def run_training(runtime: Runtime, held: HeldShards) -> None:
    """Train, and finish the shard with its only item (running -> done).

    Raises FencedOutError when the run is not ours any more or was cancelled, StoppingError when the worker stops,
    EngineLostError when the training process died, TransientError when storage or database fail; the next attempt goes
    on from the last checkpoint, with the same data.
    """
    attempt = Attempt(runtime, held)
    root = runtime.settings.data_dir / "training"
    root.mkdir(mode=0o700, exist_ok=True)
    with scratch_folder(root) as folder, scratch_folder() as ray_folder:
        try:
            _train(attempt, Path(folder), Path(ray_folder))
        except PermanentError as error:
            attempt.fail(error)


def _train(attempt: Attempt, folder: Path, ray_folder: Path) -> None:
    contract = attempt.contract
    if attempt.version.contract["weights"]["file"] != WEIGHTS_FILE or contract.task == "multilabel":
        raise NotTrainableError(
            f"binary and multiclass models with {WEIGHTS_FILE} can be trained; this one is {contract.task} "
            f"with {contract.weights.file}"
        )
    attempt.note(phase="data")
    attempt.check_checkpoint()
    dataset = _dataset(attempt)
    samples = read_snapshot(attempt.runtime, dataset)
    order = _order(attempt, dataset, samples, folder, ray_folder)
    _Course(attempt).follow(order, folder)
    judge_and_register(attempt, order.out / "package", folder, dataset, samples)


def _dataset(attempt: Attempt) -> Dataset:
    """The one that an earlier attempt froze, or one of what is labelled now."""
    if attempt.run.dataset_id is None:
        version, contract, options = attempt.version, attempt.contract, attempt.options
        return freeze(attempt.runtime, attempt.claim, version, contract, options, _on_read(attempt))
    with reading(attempt.runtime.engine) as session:
        return session.get_one(Dataset, attempt.run.dataset_id)


def _order(
    attempt: Attempt, dataset: Dataset, samples: Sequence[Listed], folder: Path, ray_folder: Path
) -> TrainingOrder:
    """What the process is to do; the frames that it learns from are written for it."""
    runtime = attempt.runtime
    learnt = [one for one in samples if one.split in LEARNT_FROM]
    frames = folder / "frames"
    counts = iter(write_frames(runtime, attempt.contract, learnt, frames, _on_read(attempt)))
    return TrainingOrder(
        contract=attempt.contract.text,
        weights=runtime.store.path(attempt.version.weights_sha256),
        dataset=runtime.store.path(dataset.blob_sha256),
        dataset_sha256=dataset.blob_sha256,
        frames=frames,
        frame_counts=tuple(next(counts) if one.split in LEARNT_FROM else 0 for one in samples),
        options=attempt.options,
        checkpoint=None if attempt.checkpoint is None else runtime.store.path(attempt.checkpoint),
        checkpoint_every_s=runtime.settings.checkpoint_every_s,
        out=folder / "out",
        # Ray opens the folder that it is given to everybody: one inside, which only we can reach.
        ray_folder=ray_folder / RAY_FOLDER,
        pause=folder / "pause",
    )


def _on_read(attempt: Attempt) -> OnRead:
    def read(done: int, total: int) -> None:
        attempt.held.moved()
        attempt.runtime.go_on()
        attempt.progress |= {"read": done, "to_read": total}
        if attempt.is_time_to_look():
            attempt.note(phase="data")

    return read


class _Course:
    """The training process, followed until it is done."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._began: tuple[float, int] | None = None

    def follow(self, order: TrainingOrder, folder: Path) -> None:
        """Keep what the process says; pause it while urgent work waits."""
        attempt = self._attempt
        with TrainingProcess(order, folder) as process:
            while True:
                if attempt.is_time_to_look():
                    self._look_up(process)
                for line in process.hear(LOOK_S):
                    attempt.held.moved()
                    if line["event"] == REFUSED:
                        raise _RefusedError(line["message"], reason=line["reason"])
                    if line["event"] == FULL:
                        raise StorageFullError(
                            "the disk of the data folder has no room for what the training writes; free some"
                        )
                    if line["event"] == CHECKPOINT:
                        attempt.keep_checkpoint(order.out / CHECKPOINT_FILE)
                    if line["event"] in (STEP, EPOCH):
                        self._hear_step(line)
                    if line["event"] == DONE:
                        return

    def _look_up(self, process: TrainingProcess) -> None:
        """Is this attempt to go on, and is the process to wait."""
        attempt = self._attempt
        attempt.runtime.go_on()
        is_paused = attempt.urgent_work()
        process.pause(paused=is_paused)
        if is_paused:
            attempt.held.moved()
        self._check_moves()
        attempt.note(phase="paused" if is_paused else "training")

    def _check_moves(self) -> None:
        """Raise EngineLostError where the process says nothing any more: this thread alone keeps the lease alive."""
        silent_s = time.monotonic() - self._attempt.held.progress_at
        if silent_s > self._attempt.runtime.settings.hang_s:
            raise EngineLostError(
                f"the training process said nothing for {silent_s:.0f} s", evidence={"signal": TIMEOUT}
            )

    def _hear_step(self, line: Mapping[str, Any]) -> None:
        progress = self._attempt.progress
        progress |= {name: line[name] for name in ("epoch", "epochs", "step", "steps", "loss")}
        now, step = time.monotonic(), line["step"]
        if self._began is None:
            self._began = (now, step)
        elif step > self._began[1]:
            step_s = (now - self._began[0]) / (step - self._began[1])
            progress["eta_s"] = round(step_s * (line["steps"] - step), 1)
        if line["metrics"]:
            # After a resume an epoch may be told again.
            known = [one for one in progress.get("history", []) if one["epoch"] < line["metrics"]["epoch"]]
            progress["history"] = [*(known if len(known) < MOST_HISTORY else known[::2]), line["metrics"]]


class _RefusedError(PermanentError):
    """What the training process was given is at fault."""

    reason = Reason.TRAINING_FAILED
