"""Processes that Ray starts learn one network together: what they compute, and what befalls them."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import Api
from tests.factories import let_backoffs_run_out
from tests.invariants import check_invariants
from tests.model_samples import contract_fields, write_contract, zip_package
from tests.system import eventually
from tests.trainings import (
    JOBS,
    LONG,
    LONG_S,
    MODELS,
    PATIENTS,
    QUICK,
    WINDOW,
    ZIP,
    at_work,
    checkpoint,
    command_of,
    drivers,
    job,
    label,
    noticed_s,
    order_given,
    postgresql_is_slow,
    store,
    submit,
    train,
    under_way,
    weights_of,
)
from worker.engines.keras import import_keras
from worker.heartbeat import BEATS_PER_LEASE
from worker.networks import mission_cnn
from worker.runtime import Runtime

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
TOGETHER = LONG | {"workers": 2, "epochs": 100}
# Much longer than a step.
STEP_S = 0.5
PARTS_OF_RAY = ("gcs_server", "raylet", "_Learner.lead", "_Learner.follow")


def processes_of_ray() -> dict[str, psutil.Process]:
    """Of the training that runs: by the word that tells what it is."""
    found = {}
    for driver in drivers():
        for one in driver.children(recursive=True):
            words = command_of(one)
            found |= {kind: one for kind in PARTS_OF_RAY if kind in words}
    return found


def listens_on(process: psutil.Process) -> list[str]:
    """The addresses; none of one that ended meanwhile, as idle ones of Ray's do."""
    with suppress(psutil.NoSuchProcess):
        return [one.laddr.ip for one in process.net_connections("inet") if not one.raddr]
    return []


def register_double(api: Api, folder: Path) -> None:
    """The mission's CNN in float64, in which sums in another order agree to twelve places."""
    keras = import_keras()
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy("float64")
    try:
        network = mission_cnn.build(32, 32, 1, 2)
    finally:
        keras.config.set_dtype_policy("float32")
    folder.mkdir()
    network.save(folder / "weights.keras")
    write_contract(folder, contract_fields(side=32, preprocess=WINDOW))
    answer = api.post(MODELS, data=zip_package(folder, folder.with_suffix(".zip")).read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


@postgresql_is_slow
def test_several_processes_compute_what_one_computes(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    register_double(any_api, tmp_path / "model")
    store(any_api, PATIENTS)
    label(any_api, PATIENTS)
    # Of three the last has fewer examples of every step, and in an epoch's last one none.
    options = {"epochs": 4, "batch_size": 10, "augment": {"shift": 0.2, "mirror": True}, "patience_epochs": 0}

    alone, together = (train(any_api, runtime, options | {"workers": workers}) for workers in (1, 3))

    wanted = weights_of(runtime, alone["training"]["model"])
    start = weights_of(runtime, "sample-binary:1")
    assert all(weight.dtype == np.float64 for weight in wanted)
    assert max(np.abs(one - two).max() for one, two in zip(start, wanted, strict=True)) > 1e-3
    for one, two in zip(wanted, weights_of(runtime, together["training"]["model"]), strict=True):
        assert np.allclose(one, two, rtol=1e-10, atol=1e-10)
    for one, two in zip(alone["training"]["history"], together["training"]["history"], strict=True):
        assert one == pytest.approx(two, rel=1e-10)


@pytest.mark.parametrize("any_prepared", ["prepared"], indirect=True)
@pytest.mark.usefixtures("cohort")
def test_several_processes_in_half_precision_learn_as_one_does(any_api: Api, runtime: Runtime) -> None:
    options = QUICK | {"network": "mission_cnn", "precision": "mixed_float16", "learning_rate": 0.001, "epochs": 20}

    alone, together = (train(any_api, runtime, options | {"workers": workers}) for workers in (1, 2))

    histories = [one["training"]["history"] for one in (alone, together)]
    # Which steps overflow hangs on how many frames a process adds up, so they part later.
    assert histories[0][0]["val_loss"] == pytest.approx(histories[1][0]["val_loss"], abs=0.02)
    for first, *_, last in histories:
        assert last["val_loss"] < 0.8 * first["val_loss"]
    assert {weight.dtype for weight in weights_of(runtime, together["training"]["model"])} == {np.dtype(np.float32)}


@postgresql_is_slow
@pytest.mark.parametrize(
    "killed",
    [
        "_Learner.follow",
        pytest.param("_Learner.lead", marks=pytest.mark.slow_fault),
        pytest.param("raylet", marks=pytest.mark.slow_fault),
        pytest.param("gcs_server", marks=pytest.mark.slow_fault),
        pytest.param("driver", marks=pytest.mark.slow_fault),
    ],
)
@pytest.mark.usefixtures("cohort")
def test_run_of_which_a_process_is_killed_ends_with_the_weights_of_the_undisturbed_one(
    any_api: Api, runtime: Runtime, killed: str
) -> None:
    """In the midst of a step: one of those who learn is stopped, so that the others wait for its part of the sum."""
    runtime.settings = runtime.settings.model_copy(update={"checkpoint_every_s": 0.2})
    undisturbed = train(any_api, runtime, TOGETHER)
    job_id = submit(any_api, TOGETHER)

    with at_work(runtime):
        under_way(any_api, runtime, job_id)
        processes = processes_of_ray() | {"driver": drivers()[0]}
        processes[killed if killed == "_Learner.lead" else "_Learner.follow"].suspend()
        time.sleep(STEP_S)
        processes[killed].kill()
        killed_at = time.time()
    assert noticed_s(any_api, job_id, killed_at) <= 2 * runtime.settings.lease_s / BEATS_PER_LEASE
    kept = checkpoint(runtime)
    assert kept is not None
    assert runtime.store.is_whole(kept)
    let_backoffs_run_out(runtime.engine)
    with at_work(runtime):
        assert order_given().checkpoint == runtime.store.path(kept)

    resumed = job(any_api, job_id)
    assert resumed["state"] == "done"
    assert resumed["training"]["history"] == undisturbed["training"]["history"]
    versions = [one["training"]["model"] for one in (undisturbed, resumed)]
    for one, other in zip(*(weights_of(runtime, version) for version in versions), strict=True):
        assert np.array_equal(one, other)
    check_invariants(runtime.engine)


@pytest.mark.usefixtures("cohort")
def test_processes_listen_on_loopback_alone_and_nothing_is_left_of_them(any_api: Api, runtime: Runtime) -> None:
    job_id = submit(any_api, TOGETHER | {"epochs": 10_000})

    with at_work(runtime):
        eventually(lambda: job(any_api, job_id)["training"]["step"] > 0, LONG_S, "the training is so far")
        (driver,) = drivers()
        family = [driver, *driver.children(recursive=True)]
        listening = [ip for process in family for ip in listens_on(process)]
        ray_folder = order_given().ray_folder
        doors = ray_folder.parent.stat().st_mode & 0o077
        any_api.post(f"{JOBS}/{job_id}/cancel")

    assert doors == 0, "Ray opens its own folder to everybody on the machine"
    assert not ray_folder.parent.exists()
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    psutil.wait_procs(family, timeout=10)
    assert [process for process in family if process.is_running()] == []
    assert job(any_api, job_id)["state"] == "cancelled"


@pytest.mark.usefixtures("cohort")
def test_more_workers_than_frames_in_a_step_are_refused(any_api: Api) -> None:
    answer = any_api.post(
        JOBS, json={"kind": "training", "model": "sample-binary", "options": {"workers": 5, "batch_size": 4}}
    )

    assert answer.status_code == 422
    assert "workers is 5, more than the batch_size of 4" in answer.text


@pytest.mark.usefixtures("cohort")
def test_more_workers_than_there_are_cpus_for_are_a_reason_not_a_crash(any_api: Api, runtime: Runtime) -> None:
    found = train(any_api, runtime, QUICK | {"workers": 256, "batch_size": 256})

    assert found["state"] == "failed"
    assert "256 workers are asked for, and there are CPUs for" in found["training"]["why"]
