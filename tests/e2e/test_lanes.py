"""An urgent study arrives while a long background job runs: it starts within one window, and says what it waits for."""

from pathlib import Path

from tests.cohorts import film, films, zipped
from tests.model_samples import accept_everything_package, zip_package
from tests.system import eventually, running_system

COMMIT_ITEMS = 8
THREADS = 2
BACKGROUND = 600


def test_urgent_job_is_done_first_when_a_background_job_fills_the_worker(tmp_path: Path) -> None:
    # A shard for each thread: none ends by itself as the urgent job comes, so that one of them must be given back.
    shard_items = BACKGROUND // THREADS
    settings = {"commit_items": COMMIT_ITEMS, "worker_concurrency": THREADS, "hint_interval_s": 0.5}
    with running_system(shard_items=shard_items, **settings) as system:
        system.add_model(zip_package(accept_everything_package(tmp_path / "model"), tmp_path / "model.zip"))
        long = system.submit(films("LONG", BACKGROUND // 2, instances=2), priority="background")["id"]
        eventually(lambda: system.job(long)["counts"]["done"] > 0, 60.0, "the long job runs", interval_s=0.01)

        urgent = system.submit(zipped([("one.dcm", film("URGENT", 1, 1))]), priority="urgent")["id"]
        before = system.job(long)["counts"]["done"]
        system.finished(urgent, 60.0)
        after = system.job(long)["counts"]["done"]

        # Each thread may commit the window in hand, and one more went on while the urgent one was worked on.
        assert after - before <= 4 * THREADS * COMMIT_ITEMS
        assert after < BACKGROUND
        assert any(move["reason"] == "yields to a more urgent lane" for move in system.history(long))
        assert system.finished(long, 180.0)["counts"]["done"] == BACKGROUND
