"""One attempt at a training run: what is on record of it, noted under its fence, from its claim to its outcome."""

import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from shared.db import reading
from shared.errors import PermanentError
from shared.model_contract import ModelContract
from shared.models import Blob, Job, TrainingRun
from shared.repositories.claims import finish, hold
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.job_moves import settle_jobs
from shared.repositories.lanes import has_due
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.repositories.tallies import shards_in, totals
from shared.repositories.training import drop_checkpoint, item_of, note_run
from shared.states import ItemState, Lane, ShardState
from shared.training_options import TrainingOptions
from worker.runtime import HeldShards, Runtime

log = structlog.get_logger()

CHECKPOINT_MEDIA_TYPE = "application/vnd.numpy"
LOOK_S = 1.0


class Attempt:
    """The claim, the rows as they were when it began, and how far it is since.

    What is written is written under the claim's fence: FencedOutError where this attempt is over.
    """

    def __init__(self, runtime: Runtime, held: HeldShards) -> None:
        self.runtime, self.held = runtime, held
        (self.claim,) = held.claims
        with reading(runtime.engine) as session:
            self.job = session.get_one(Job, self.claim.job_id)
            self.run = session.get_one(TrainingRun, self.claim.job_id)
            self._item = item_of(session, self.claim.job_id)
        self.version = self.job.model_version
        self.contract = ModelContract.model_validate(self.version.contract)
        self.options = TrainingOptions.model_validate(self.run.options)
        self.progress: dict[str, Any] = dict(self.run.progress)
        self.checkpoint = self.run.checkpoint_sha256
        self._noted_at = 0.0

    def is_time_to_look(self) -> bool:
        """Once in a while: is it to go on, is it to wait, and how far is it."""
        return time.monotonic() - self._noted_at >= LOOK_S

    def note(self, *, phase: str) -> None:
        """Write how far it is."""
        self.progress["phase"] = phase
        self._noted_at = time.monotonic()
        with self.runtime.unit_of_work() as uow:
            hold(uow.session, [self.claim], self.runtime.settings.lease_s)
            note_run(uow.session, self.job.id, progress=self.progress)

    def urgent_work(self) -> bool:
        """Running, or waiting for a worker; what waits in a lane that is paused holds nothing up."""
        with reading(self.runtime.engine) as session:
            is_running = totals(session)[shards_in(Lane.URGENT, ShardState.RUNNING)] > 0
            return is_running or has_due(session, [Lane.URGENT])

    def check_checkpoint(self) -> None:
        """Begin with the first step again where the checkpoint's bytes are gone or damaged."""
        damaged = self.checkpoint
        if damaged is None or self.runtime.store.is_whole(damaged):
            return
        log.warning("checkpoint_damaged", job_id=str(self.job.id), sha256=damaged)
        with self.runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self.claim], self.runtime.settings.lease_s)
            note_run(uow.session, self.job.id, checkpoint_sha256=None)
            drop_checkpoint(uow.session, damaged)
        self.runtime.store.set_aside(damaged)
        self.checkpoint = None

    def keep_checkpoint(self, path: Path) -> None:
        """Store it and let the one before go."""
        runtime, store = self.runtime, self.runtime.store
        blob = store.put_path(path)
        before = self.checkpoint
        with runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self.claim], runtime.settings.lease_s, progressed=[self.claim.shard_id])
            store.require([blob.sha256])
            add_blob(uow.session, blob.sha256, blob.size_bytes, CHECKPOINT_MEDIA_TYPE)
            note_run(uow.session, self.job.id, checkpoint_sha256=blob.sha256, progress=self.progress)
            drop_checkpoint(uow.session, before)
        self.checkpoint = blob.sha256
        self._forget(before)

    def done(self, session: Session, version_id: int) -> None:
        """In a transaction that holds the fence: a model version came of it; `forget_checkpoint` is to follow it."""
        self.progress["phase"] = "done"
        values = {"model_version_id": version_id, "checkpoint_sha256": None, "progress": self.progress}
        note_run(session, self.job.id, **values)
        drop_checkpoint(session, self.checkpoint)
        self._end(session, Outcome(self._item.id, ItemState.DONE))

    def fail(self, error: PermanentError) -> None:
        """The run ends without a model, and why is its item's reason."""
        with self.runtime.unit_of_work() as uow:
            lock_index(uow.session)
            hold(uow.session, [self.claim], self.runtime.settings.lease_s)
            values = {"checkpoint_sha256": None, "progress": self.progress | {"phase": "failed", "why": error.message}}
            note_run(uow.session, self.job.id, **values)
            drop_checkpoint(uow.session, self.checkpoint)
            reason = error.recorded_reason
            self._end(uow.session, Outcome(self._item.id, ItemState.FAILED, reason, error.message))
        self.forget_checkpoint()

    def forget_checkpoint(self) -> None:
        """Remove the last one's bytes, once it is committed that the run is over."""
        self._forget(self.checkpoint)

    def _forget(self, sha256: str | None) -> None:
        """Remove a checkpoint's bytes, once it is committed that no row names them."""
        if sha256 is None:
            return
        with self.runtime.unit_of_work() as uow:
            lock_index(uow.session)
            if uow.session.get(Blob, sha256) is None:
                self.runtime.store.remove(sha256)

    def _end(self, session: Session, outcome: Outcome) -> None:
        record_outcomes(session, {self.claim.fence: [outcome]})
        finish(session, [self.claim])
        settle_jobs(session, [self.job.id], actor=self.runtime.name)
