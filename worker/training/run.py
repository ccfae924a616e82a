"""A claimed training run: freeze the data, train in a process of its own, register what came of it, under its fence."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from shared.datasets.document import Sample as Listed
from shared.db import reading
from shared.errors import EngineLostError, NotTrainableError, PermanentError
from shared.keras_archive import check_keras_archive
from shared.model_contract import ModelContract
from shared.model_package import WEIGHTS_FILE, PackageFiles, open_package
from shared.models import Blob, Dataset, Item, Job, ModelVersion, TrainingRun
from shared.reasons import Reason
from shared.registration import CONTRACT_MEDIA_TYPE, WEIGHTS_MEDIA_TYPES, register
from shared.repositories.claims import finish, hold
from shared.repositories.gates import decide, holdout_use
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.job_moves import settle_jobs
from shared.repositories.lanes import has_due
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.repositories.registry import champion, lock_name
from shared.repositories.tallies import shards_in, totals
from shared.repositories.training import drop_checkpoint, item_of, note_run
from shared.states import ItemState, Lane, ShardState
from shared.training_options import TrainingOptions
from worker.engines.death import TIMEOUT
from worker.engines.requests import ServedModel
from worker.engines.scratch import scratch_folder
from worker.runtime import HeldShards, Runtime
from worker.training.comparison import Compared, compare
from worker.training.order import CHECKPOINT, CHECKPOINT_FILE, DONE, EPOCH, REFUSED, STEP, TrainingOrder
from worker.training.prepare import freeze, read_snapshot, write_frames
from worker.training.process import TrainingProcess
from worker.training.samples import LEARNT_FROM

log = structlog.get_logger()

CHECKPOINT_MEDIA_TYPE = "application/vnd.numpy"
LOOK_S = 1.0
# Of so many epochs every second one is let go: a curve needs no more.
MOST_HISTORY = 1000


def run_training(runtime: Runtime, held: HeldShards) -> None:
    """Train, and finish the shard with its only item (running -> done).

    Raises FencedOutError when the run is not ours any more or was cancelled, StoppingError when the worker stops,
    EngineLostError when the training process died, TransientError when storage or database fail; the next attempt goes
    on from the last checkpoint, with the same data.
    """
    (claim,) = held.claims
    with reading(runtime.engine) as session:
        job = session.get_one(Job, claim.job_id)
        run = session.get_one(TrainingRun, claim.job_id)
        item = item_of(session, claim.job_id)
    attempt = _Attempt(runtime, held, job, run, item)
    root = runtime.settings.data_dir / "training"
    root.mkdir(mode=0o700, exist_ok=True)
    with scratch_folder(root) as folder, scratch_folder() as ray_folder:
        try:
            attempt.train(Path(folder), Path(ray_folder))
        except PermanentError as error:
            attempt.fail(error)


class _Attempt:
    def __init__(self, runtime: Runtime, held: HeldShards, job: Job, run: TrainingRun, item: Item) -> None:
        self._runtime, self._held = runtime, held
        self._job, self._run, self._item = job, run, item
        self._claim = held.claims[0]
        self._version: ModelVersion = job.model_version
        self._contract = ModelContract.model_validate(self._version.contract)
        self._options = TrainingOptions.model_validate(run.options)
        self._progress: dict[str, Any] = dict(run.progress)
        self._checkpoint: str | None = run.checkpoint_sha256
        self._noted_at = 0.0
        self._began: tuple[float, int] | None = None

    def train(self, folder: Path, ray_folder: Path) -> None:
        runtime = self._runtime
        if self._version.contract["weights"]["file"] != WEIGHTS_FILE or self._contract.task == "multilabel":
            raise NotTrainableError(
                f"binary and multiclass models with {WEIGHTS_FILE} can be trained; this one is {self._contract.task} "
                f"with {self._contract.weights.file}"
            )
        self._note(phase="data")
        self._check_checkpoint()
        dataset = self._dataset()
        samples = read_snapshot(runtime, dataset)
        learnt = [one for one in samples if one.split in LEARNT_FROM]
        frames = folder / "frames"
        counts = iter(write_frames(runtime, self._contract, learnt, frames, self._read))
        order = TrainingOrder(
            contract=self._contract.text,
            weights=runtime.store.path(self._version.weights_sha256),
            dataset=runtime.store.path(dataset.blob_sha256),
            dataset_sha256=dataset.blob_sha256,
            frames=frames,
            frame_counts=tuple(next(counts) if one.split in LEARNT_FROM else 0 for one in samples),
            options=self._options,
            checkpoint=None if self._checkpoint is None else runtime.store.path(self._checkpoint),
            checkpoint_every_s=runtime.settings.checkpoint_every_s,
            out=folder / "out",
            ray_folder=ray_folder,
            pause=folder / "pause",
        )
        self._follow(order, folder)
        self._judge_and_register(order.out / "package", folder, dataset, samples)

    def _check_checkpoint(self) -> None:
        """Begin with the first step again where the checkpoint's bytes are gone or damaged."""
        damaged = self._checkpoint
        if damaged is None or self._runtime.store.is_whole(damaged):
            return
        log.warning("checkpoint_damaged", job_id=str(self._job.id), sha256=damaged)
        with self._runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self._claim], self._runtime.settings.lease_s)
            note_run(uow.session, self._job.id, checkpoint_sha256=None)
            drop_checkpoint(uow.session, damaged)
        self._runtime.store.set_aside(damaged)
        self._checkpoint = None

    def _dataset(self) -> Dataset:
        """The one that an earlier attempt froze, or one of what is labelled now."""
        if self._run.dataset_id is None:
            return freeze(self._runtime, self._claim, self._version, self._contract, self._options, self._read)
        with reading(self._runtime.engine) as session:
            return session.get_one(Dataset, self._run.dataset_id)

    def _read(self, done: int, total: int) -> None:
        self._held.moved()
        self._runtime.go_on()
        self._progress |= {"read": done, "to_read": total}
        if time.monotonic() - self._noted_at >= LOOK_S:
            self._note(phase="data")

    def _follow(self, order: TrainingOrder, folder: Path) -> None:
        """Keep what the process says until it is done; pause it while urgent work waits."""
        with TrainingProcess(order, folder) as process:
            while True:
                if time.monotonic() - self._noted_at >= LOOK_S:
                    self._look_up(process)
                for line in process.hear(LOOK_S):
                    self._held.moved()
                    if line["event"] == REFUSED:
                        raise _RefusedError(line["message"], reason=line["reason"])
                    if line["event"] == CHECKPOINT:
                        self._keep_checkpoint(order.out / CHECKPOINT_FILE)
                    if line["event"] in (STEP, EPOCH):
                        self._hear_step(line)
                    if line["event"] == DONE:
                        return

    def _look_up(self, process: TrainingProcess) -> None:
        """Once in a while: is this attempt to go on, and is the process to wait."""
        self._runtime.go_on()
        is_paused = self._urgent_work()
        process.pause(paused=is_paused)
        if is_paused:
            self._held.moved()
        self._check_moves()
        self._note(phase="paused" if is_paused else "training")

    def _check_moves(self) -> None:
        """Raise EngineLostError where the process says nothing any more: this thread alone keeps the lease alive."""
        silent_s = time.monotonic() - self._held.progress_at
        if silent_s > self._runtime.settings.hang_s:
            raise EngineLostError(
                f"the training process said nothing for {silent_s:.0f} s", evidence={"signal": TIMEOUT}
            )

    def _urgent_work(self) -> bool:
        """Running, or waiting for a worker; what waits in a lane that is paused holds nothing up."""
        with reading(self._runtime.engine) as session:
            is_running = totals(session)[shards_in(Lane.URGENT, ShardState.RUNNING)] > 0
            return is_running or has_due(session, [Lane.URGENT])

    def _hear_step(self, line: Mapping[str, Any]) -> None:
        self._progress |= {name: line[name] for name in ("epoch", "epochs", "step", "steps", "loss")}
        now, step = time.monotonic(), line["step"]
        if self._began is None:
            self._began = (now, step)
        elif step > self._began[1]:
            step_s = (now - self._began[0]) / (step - self._began[1])
            self._progress["eta_s"] = round(step_s * (line["steps"] - step), 1)
        if line["metrics"]:
            # After a resume an epoch may be told again.
            known = [one for one in self._progress.get("history", []) if one["epoch"] < line["metrics"]["epoch"]]
            self._progress["history"] = [*(known if len(known) < MOST_HISTORY else known[::2]), line["metrics"]]

    def _note(self, *, phase: str) -> None:
        """Write how far it is; raises FencedOutError where this attempt is over."""
        self._progress["phase"] = phase
        self._noted_at = time.monotonic()
        with self._runtime.unit_of_work() as uow:
            hold(uow.session, [self._claim], self._runtime.settings.lease_s)
            note_run(uow.session, self._job.id, progress=self._progress)

    def _keep_checkpoint(self, path: Path) -> None:
        """Store it and let the one before go."""
        runtime, store = self._runtime, self._runtime.store
        blob = store.put_path(path)
        before = self._checkpoint
        with runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self._claim], runtime.settings.lease_s, progressed=[self._claim.shard_id])
            store.require([blob.sha256])
            add_blob(uow.session, blob.sha256, blob.size_bytes, CHECKPOINT_MEDIA_TYPE)
            note_run(uow.session, self._job.id, checkpoint_sha256=blob.sha256, progress=self._progress)
            drop_checkpoint(uow.session, before)
        self._checkpoint = blob.sha256
        self._forget(before)

    def _forget(self, sha256: str | None) -> None:
        """Remove a checkpoint's bytes, once it is committed that no row names them."""
        if sha256 is None:
            return
        with self._runtime.unit_of_work() as uow:
            lock_index(uow.session)
            if uow.session.get(Blob, sha256) is None:
                self._runtime.store.remove(sha256)

    def _judge_and_register(
        self, package_folder: Path, folder: Path, dataset: Dataset, samples: Sequence[Listed]
    ) -> None:
        """Compare it with the champion, and again where that is no longer how things stand."""
        package = open_package(package_folder, max_bytes=self._runtime.settings.max_model_bytes)
        check_keras_archive(package_folder / WEIGHTS_FILE)
        candidate = ServedModel(package.digest, package.contract, package_folder / WEIGHTS_FILE)
        compared = None
        while compared is None or not self._register(package_folder, package, dataset, compared):
            self._note(phase="gate")
            compared = compare(
                self._runtime, dataset, samples, candidate, folder, self._between_reads, self._between_batches
            )

    def _between_reads(self, _done: int, _total: int) -> None:
        self._between_batches()

    def _between_batches(self) -> None:
        """Wait while urgent work is there, and keep the lease meanwhile."""
        while True:
            self._held.moved()
            self._runtime.go_on()
            if time.monotonic() - self._noted_at < LOOK_S:
                return
            is_paused = self._urgent_work()
            self._note(phase="paused" if is_paused else "gate")
            if not is_paused:
                return
            time.sleep(LOOK_S)

    def _register(self, folder: Path, package: PackageFiles, dataset: Dataset, compared: Compared) -> bool:
        """One transaction: the new version, what the gate says, the run's outcome, the end of shard and job.

        False, with nothing done, where another champion serves than it was compared with, or another gate has used the
        holdout meanwhile.
        """
        runtime, store = self._runtime, self._runtime.store
        parts = {
            store.put_path(folder / WEIGHTS_FILE): WEIGHTS_MEDIA_TYPES[WEIGHTS_FILE],
            store.put(package.contract_bytes): CONTRACT_MEDIA_TYPE,
        }
        with runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self._claim], runtime.settings.lease_s)
            lock_name(uow.session, package.contract.name)
            serving = champion(uow.session, package.contract.name)
            if (
                serving is None
                or serving.id != compared.champion_id
                or holdout_use(uow.session, dataset) != compared.use
            ):
                return False
            version, _ = register(uow.session, store, package, parts, self._job.principal_id)
            self._progress["phase"] = "done"
            values = {"model_version_id": version.id, "checkpoint_sha256": None, "progress": self._progress}
            note_run(uow.session, self._job.id, **values)
            decide(uow.session, self._job, version, serving, dataset, compared.reasons, compared.record)
            drop_checkpoint(uow.session, self._checkpoint)
            self._end(uow.session, Outcome(self._item.id, ItemState.DONE))
        self._forget(self._checkpoint)
        return True

    def fail(self, error: PermanentError) -> None:
        """The run ends without a model, and why is its item's reason."""
        with self._runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self._claim], self._runtime.settings.lease_s)
            values = {"checkpoint_sha256": None, "progress": self._progress | {"phase": "failed", "why": error.message}}
            note_run(uow.session, self._job.id, **values)
            drop_checkpoint(uow.session, self._checkpoint)
            reason = error.recorded_reason
            self._end(uow.session, Outcome(self._item.id, ItemState.FAILED, reason, error.message))
        self._forget(self._checkpoint)

    def _end(self, session: Any, outcome: Outcome) -> None:
        record_outcomes(session, {self._claim.fence: [outcome]})
        finish(session, [self._claim])
        settle_jobs(session, [self._job.id], actor=self._runtime.name)


class _RefusedError(PermanentError):
    """What the training process was given is at fault."""

    reason = Reason.TRAINING_FAILED
