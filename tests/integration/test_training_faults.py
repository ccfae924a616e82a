"""What befalls a training: kill, damage, silence, cancel, urgent work, the end of its worker."""

import io
import json
import sys
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select

from scheduler.sweep import sweep
from shared.db import reading
from shared.models import Blob, Shard
from shared.repositories.imaging import add_blob
from shared.repositories.training import note_run
from shared.states import Lane
from tests.conftest import Api
from tests.factories import let_backoffs_run_out, submit_job
from tests.faults.injection import injecting
from tests.invariants import check_invariants
from tests.system import eventually
from tests.trainings import (
    JOBS,
    LONG,
    LONG_S,
    QUICK,
    at_work,
    checkpoint,
    drivers,
    give_backs,
    job,
    noticed_s,
    order_given,
    postgresql_is_slow,
    submit,
    train,
    under_way,
    weights_of,
)
from worker.heartbeat import BEATS_PER_LEASE
from worker.runtime import Runtime
from worker.tasks import train_next
from worker.training.attempt import CHECKPOINT_MEDIA_TYPE
from worker.training.loop import PLACE


@postgresql_is_slow
@pytest.mark.parametrize(
    "torn", [False, pytest.param(True, marks=pytest.mark.slow_fault)], ids=["at any instant", "before the rename"]
)
@pytest.mark.usefixtures("cohort")
def test_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(
    any_api: Api, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    """Killed at any instant, or with half a checkpoint written that has not got its name."""
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.2})
    undisturbed = train(any_api, runtime, LONG)
    job_id = submit(any_api, LONG)

    if torn:
        injecting(tmp_path / "inject", dies_before_rename=3)
        monkeypatch.setattr("sys.path", [str(tmp_path / "inject"), *sys.path])
    with at_work(runtime):
        if torn:
            struck = tmp_path / "inject" / "dies_before_rename.done"
            killed_at = eventually(lambda: struck.exists() and struck.stat().st_mtime, LONG_S, "it is killed")
        else:
            under_way(any_api, runtime, job_id)
            (driver,) = drivers()
            driver.kill()
            killed_at = time.time()
    assert noticed_s(any_api, job_id, killed_at) <= 2 * runtime.settings.lease_s / BEATS_PER_LEASE
    let_backoffs_run_out(runtime.engine)
    step = job(any_api, job_id)["training"]["step"]
    kept = checkpoint(runtime)
    assert kept is not None
    assert runtime.store.is_whole(kept)
    with at_work(runtime):
        assert order_given().checkpoint == runtime.store.path(kept)

    resumed = job(any_api, job_id)
    assert 0 < step < resumed["training"]["step"] == undisturbed["training"]["step"]
    assert resumed["state"] == "done"
    assert resumed["training"]["dataset"] == undisturbed["training"]["dataset"]
    assert [one["epoch"] for one in resumed["training"]["history"]] == list(range(1, LONG["epochs"] + 1))
    versions = [one["training"]["model"] for one in (undisturbed, resumed)]
    for one, other in zip(*(weights_of(runtime, version) for version in versions), strict=True):
        assert np.array_equal(one, other)
    moves = [move["reason"] for move in any_api.get(f"{JOBS}/{job_id}/history").json["items"]]
    assert "the training process ended by SIGKILL" in moves
    check_invariants(runtime.engine)


@pytest.mark.usefixtures("cohort")
def test_full_disk_puts_a_training_off_and_counts_as_no_crash(
    any_api: Api, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.01})
    injecting(tmp_path / "inject", full_disk=True)
    monkeypatch.setattr("sys.path", [str(tmp_path / "inject"), *sys.path])
    job_id = submit(any_api, QUICK | {"epochs": 20})

    train_next(runtime)
    (put_off,) = give_backs(any_api, job_id)
    with reading(runtime.engine) as session:
        crashes = session.scalars(select(Shard.crash_count)).all()
    let_backoffs_run_out(runtime.engine)
    train_next(runtime)

    assert (tmp_path / "inject" / "full_disk.done").exists()
    assert put_off["reason"] == "transient: StorageFullError"
    assert crashes == [0]
    assert job(any_api, job_id)["state"] == "done"


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_run_goes_on_from_its_checkpoint_not_from_the_start(any_api: Api, runtime: Runtime) -> None:
    """From one that was changed meanwhile: it says that all epochs are over, and which weights were the best."""
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.2})
    job_id = submit(any_api, LONG)
    with at_work(runtime):
        eventually(lambda: checkpoint(runtime), LONG_S, "the training is so far")
        (driver,) = drivers()
        driver.kill()
    kept = checkpoint(runtime)
    assert kept is not None
    with np.load(runtime.store.path(kept)) as file:
        state = dict(file)
    place = json.loads(bytes(state[PLACE])) | {"epoch": LONG["epochs"]}
    best = {name: array + 1 for name, array in state.items() if name.startswith("best_")}
    changed = io.BytesIO()
    np.savez(changed, **(state | best | {PLACE: np.frombuffer(json.dumps(place).encode(), np.uint8)}))
    blob = runtime.store.put(changed.getvalue())
    with runtime.unit_of_work() as uow:
        add_blob(uow.session, blob.sha256, blob.size_bytes, CHECKPOINT_MEDIA_TYPE)
        note_run(uow.session, UUID(job_id), checkpoint_sha256=blob.sha256)

    let_backoffs_run_out(runtime.engine)
    train_next(runtime)

    found = weights_of(runtime, job(any_api, job_id)["training"]["model"])
    assert len(found) == len(best)
    for at, weight in enumerate(found):
        assert np.array_equal(weight, best[f"best_{at}"])


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_damaged_checkpoint_costs_what_was_learnt_not_the_run(any_api: Api, runtime: Runtime) -> None:
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.2})
    job_id = submit(any_api, LONG | {"epochs": 100})
    with at_work(runtime):
        eventually(lambda: checkpoint(runtime), LONG_S, "the training is so far")
        (driver,) = drivers()
        driver.kill()
    damaged = checkpoint(runtime)
    assert damaged is not None
    runtime.store.path(damaged).write_bytes(b"short")
    let_backoffs_run_out(runtime.engine)
    train_next(runtime)

    assert job(any_api, job_id)["state"] == "done"
    with reading(runtime.engine) as session:
        assert session.get(Blob, damaged) is None


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_process_that_says_nothing_is_lost(any_api: Api, runtime: Runtime) -> None:
    runtime.settings = runtime.settings.model_copy(update={"hang_s": 20.0, "checkpoint_every_s": 0.2})
    job_id = submit(any_api, LONG | {"epochs": 10_000})
    with at_work(runtime):
        eventually(lambda: checkpoint(runtime), LONG_S, "the training is so far")
        (driver,) = drivers()
        driver.suspend()
    assert [move["reason"] for move in any_api.get(f"{JOBS}/{job_id}/history").json["items"]][-1].startswith(
        "the training process said nothing for 2"
    )
    assert drivers() == []
    any_api.post(f"{JOBS}/{job_id}/cancel")
    kept = checkpoint(runtime)
    sweep(runtime.engine, runtime.store)
    assert checkpoint(runtime) is None
    with reading(runtime.engine) as session:
        assert session.get(Blob, kept) is None


@pytest.mark.usefixtures("cohort")
def test_cancel_ends_a_training_and_its_process(any_api: Api, runtime: Runtime) -> None:
    job_id = submit(any_api, LONG | {"epochs": 10_000})

    with at_work(runtime):
        eventually(lambda: job(any_api, job_id)["training"]["step"] > 0, LONG_S, "the training is so far")
        assert any_api.post(f"{JOBS}/{job_id}/cancel").status_code == 202
        began = time.monotonic()
    assert time.monotonic() - began < 10
    ended = job(any_api, job_id)
    assert (ended["state"], ended["training"]["phase"], ended["eta_s"]) == ("cancelled", "cancelled", None)
    assert ended["progress"] < 0.5
    assert drivers() == []
    check_invariants(runtime.engine)


@postgresql_is_slow
@pytest.mark.usefixtures("cohort")
def test_training_waits_while_urgent_work_is_there_and_stops_with_its_worker(any_api: Api, runtime: Runtime) -> None:
    job_id = submit(any_api, LONG | {"epochs": 10_000})

    with at_work(runtime):
        eventually(lambda: job(any_api, job_id)["training"]["phase"] == "training", LONG_S, "the training is so far")
        urgent = submit_job(runtime.engine, 1, lane=Lane.URGENT)
        eventually(lambda: job(any_api, job_id)["training"]["phase"] == "paused", LONG_S, "the training is so far")
        time.sleep(1.5)
        step = job(any_api, job_id)["training"]["step"]
        time.sleep(1.5)
        assert job(any_api, job_id)["training"]["step"] == step
        any_api.post(f"{JOBS}/{urgent}/cancel")
        eventually(lambda: job(any_api, job_id)["training"]["step"] > step, LONG_S, "the training is so far")
        runtime.stopping.set()
    assert job(any_api, job_id)["state"] == "running"
    assert [move["after"] for move in any_api.get(f"{JOBS}/{job_id}/history").json["items"]][-1] == "queued"
    assert drivers() == []


@pytest.mark.usefixtures("cohort")
def test_lost_snapshot_is_told_and_not_taken_for_nothing_learnt(any_api: Api, runtime: Runtime) -> None:
    first = train(any_api, runtime, QUICK)
    runtime.store.path(first["training"]["dataset"]).write_bytes(b"short")

    failed = train(any_api, runtime, QUICK)

    assert failed["state"] == "failed"
    assert "nobody can tell what was learnt from" in failed["training"]["why"]
    (item,) = any_api.get(f"{JOBS}/{failed['id']}/items").json["items"]
    assert item["reason"] == "blob_missing"
