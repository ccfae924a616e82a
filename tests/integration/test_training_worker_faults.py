"""The worker of a training is killed, a real one beside a real scheduler: the next one goes on from the checkpoint."""

import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import func, select

from shared.config import Settings
from shared.db import reading
from shared.models import AuditEvent, GateDecision, ModelVersion
from tests.conftest import Api
from tests.faults.injection import injecting
from tests.invariants import check_invariants
from tests.services import serving
from tests.system import eventually
from tests.trainings import (
    LONG,
    LONG_S,
    PATIENTS,
    checkpoint,
    give_backs,
    job,
    label,
    noticed_s,
    order_given,
    register,
    store,
    submit,
    train,
    weights_of,
)
from tests.waiting import running_valkey
from worker.runtime import Runtime

pytestmark = pytest.mark.slow_fault
# Short leases and beats: the same code, sooner.
SOON: dict[str, Any] = {
    "lease_s": 6.0,
    "duty_interval_s": 0.2,
    "hint_interval_s": 0.5,
    "retry_backoff_s": 0.2,
    "checkpoint_every_s": 0.2,
    "worker_lanes": "training",
    "decode_processes": 1,
}
# Between the end of a lease and its being on record: a scheduler's look, on a machine that has much to do.
LOOK_S = 4.0
HOLDOUT = 12


@pytest.fixture
def settings(runtime: Runtime) -> Iterator[Settings]:
    """Of the worker processes; a scheduler and a broker run beside them."""
    soon = runtime.settings.model_copy(update=SOON)
    with running_valkey(soon.data_dir), serving("scheduler", soon):
        yield soon


def _go_on(api: Api, runtime: Runtime, settings: Settings, job_id: str, killed_at: float) -> dict[str, Any]:
    """The next worker, from when the last was killed until the job is over: it begins where the checkpoint is."""
    kept = checkpoint(runtime)
    assert kept is not None
    assert runtime.store.is_whole(kept)
    eventually(lambda: give_backs(api, job_id), LONG_S, "the attempt is given back")
    assert noticed_s(api, job_id, killed_at) <= settings.lease_s + LOOK_S
    with serving("worker", settings):
        assert order_given().checkpoint == runtime.store.path(kept)
        return dict(eventually(lambda: (found := job(api, job_id))["state"] == "done" and found, LONG_S, "it is done"))


def _count(runtime: Runtime, table: Any, *where: Any) -> int:
    with reading(runtime.engine) as session:
        return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def test_worker_killed_while_it_compares_registers_nothing_and_the_next_one_once(
    any_api: Api, runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    register(any_api, tmp_path, gate={"least_of_each": HOLDOUT // 2})
    store(any_api, PATIENTS)
    label(any_api, HOLDOUT, split="holdout")
    label(any_api, PATIENTS, start=HOLDOUT)
    job_id = submit(any_api, LONG | {"epochs": 100})

    with serving("worker", settings) as worker:
        eventually(lambda: job(any_api, job_id)["training"]["phase"] == "gate", LONG_S, "it compares")
        worker.kill()
        killed_at = time.time()
        worker.wait()
    assert (_count(runtime, ModelVersion), _count(runtime, GateDecision)) == (1, 0)
    assert job(any_api, job_id)["training"]["phase"] == "gate"
    done = _go_on(any_api, runtime, settings, job_id, killed_at)

    assert done["training"]["model"] == "sample-binary:2"
    assert (_count(runtime, ModelVersion), _count(runtime, GateDecision)) == (2, 1)
    assert _count(runtime, GateDecision, GateDecision.job_id == UUID(job_id), GateDecision.is_measured) == 1
    assert _count(runtime, AuditEvent, AuditEvent.action == "model.judge") == 1
    check_invariants(runtime.engine)


@pytest.mark.usefixtures("cohort")
def test_half_a_checkpoint_in_the_store_is_nobodys_when_its_worker_is_killed(
    any_api: Api, runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    """Killed between the bytes' being written and their getting their name: the one before is gone on from."""
    undisturbed = train(any_api, runtime, LONG)
    job_id = submit(any_api, LONG)

    with serving("worker", settings, injecting(tmp_path / "inject", dies_before_keep=3)) as worker:
        worker.wait(LONG_S)
    assert worker.returncode == -signal.SIGKILL
    (torn,) = (runtime.store.root / "tmp").iterdir()
    assert not zipfile.is_zipfile(torn), "its end is lost"
    killed_at = (tmp_path / "inject" / "dies_before_keep.done").stat().st_mtime
    resumed = _go_on(any_api, runtime, settings, job_id, killed_at)

    versions = [one["training"]["model"] for one in (undisturbed, resumed)]
    for one, other in zip(*(weights_of(runtime, version) for version in versions), strict=True):
        assert np.array_equal(one, other)
    assert resumed["training"]["history"] == undisturbed["training"]["history"]
    check_invariants(runtime.engine)
