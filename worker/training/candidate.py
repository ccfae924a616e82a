"""What a training made is compared with the champion, and registered with what the gate says of it."""

import time
from collections.abc import Sequence
from pathlib import Path

from shared.datasets.document import Sample as Listed
from shared.keras_archive import check_keras_archive
from shared.model_package import WEIGHTS_FILE, PackageFiles, open_package
from shared.models import Dataset
from shared.registration import CONTRACT_MEDIA_TYPE, WEIGHTS_MEDIA_TYPES, register
from shared.repositories.claims import hold
from shared.repositories.gates import decide, holdout_use
from shared.repositories.imaging import lock_index
from shared.repositories.registry import champion, lock_name
from worker.engines.requests import ServedModel
from worker.training.attempt import LOOK_S, Attempt
from worker.training.comparison import Compared, compare


def judge_and_register(
    attempt: Attempt, package_folder: Path, folder: Path, dataset: Dataset, samples: Sequence[Listed]
) -> None:
    """Compare it with the champion, and again where that is no longer how things stand; the run is done then.

    `folder` is a scratch of the attempt's. Raises what `compare` raises, and PermanentError where the package is
    refused.
    """
    package = open_package(package_folder, max_bytes=attempt.runtime.settings.max_model_bytes)
    check_keras_archive(package_folder / WEIGHTS_FILE)
    candidate = ServedModel(package.digest, package.contract, package_folder / WEIGHTS_FILE)

    def lives(*_place: int) -> None:
        _go_on(attempt)

    compared = None
    while compared is None or not _register(attempt, package_folder, package, dataset, compared):
        attempt.note(phase="gate")
        compared = compare(attempt.runtime, dataset, samples, candidate, folder, lives, lives)


def _go_on(attempt: Attempt) -> None:
    """Between two pieces of work: wait while urgent work is there, and keep the lease meanwhile."""
    while True:
        attempt.held.moved()
        attempt.runtime.go_on()
        if not attempt.is_time_to_look():
            return
        is_paused = attempt.urgent_work()
        attempt.note(phase="paused" if is_paused else "gate")
        if not is_paused:
            return
        time.sleep(LOOK_S)


def _register(attempt: Attempt, folder: Path, package: PackageFiles, dataset: Dataset, compared: Compared) -> bool:
    """One transaction: the new version, what the gate says, the run's outcome, the end of shard and job.

    False, with nothing done, where another champion serves than it was compared with, or another gate has used the
    holdout meanwhile.
    """
    runtime, store = attempt.runtime, attempt.runtime.store
    parts = {
        store.put_path(folder / WEIGHTS_FILE): WEIGHTS_MEDIA_TYPES[WEIGHTS_FILE],
        store.put(package.contract_bytes): CONTRACT_MEDIA_TYPE,
    }
    with runtime.unit_of_work() as uow:
        lock_index(uow.session)
        hold(uow.session, [attempt.claim], runtime.settings.lease_s)
        lock_name(uow.session, package.contract.name)
        serving = champion(uow.session, package.contract.name)
        if serving is None or serving.id != compared.champion_id or holdout_use(uow.session, dataset) != compared.use:
            return False
        version, _ = register(uow.session, store, package, parts, attempt.job.principal_id)
        decide(uow.session, attempt.job, version, serving, dataset, compared.reasons, compared.record)
        attempt.done(uow.session, version.id)
    attempt.forget_checkpoint()
    return True
