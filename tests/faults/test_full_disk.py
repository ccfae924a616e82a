"""A disk that is really full: refused, not half-stored; what runs goes on once there is room again."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cohorts import films
from tests.faults.injection import QUICK, assert_nothing_lost, mount_namespace
from tests.support import absent
from tests.system import System, eventually, running_system

MIB = 1024 * 1024
SIZE = "160m"
# A file system of its own, for as long as the mount namespace lasts: as long as what runs in it.
IN_SMALL_DISK = f'mkdir -p "{{data_dir}}" && mount -t tmpfs -o size={SIZE} tmpfs "{{data_dir}}" && exec "$@"'


@pytest.fixture
def small_disk(package: Path, data_dir: Path) -> Iterator[System]:
    """The product with its data folder on a tmpfs of 160 MiB."""
    namespace = mount_namespace()
    if not namespace:
        absent("this kernel gives no mount namespace, so no small disk can be had")
    prefix = (*namespace, "bash", "-c", IN_SMALL_DISK, "bash")
    with running_system(prefix=prefix, min_free_bytes=2 * MIB, **QUICK) as system:
        system.add_model(package)
        yield system


def _fill(folder: Path) -> Path:
    """Leave not one byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(MIB)):
                pass
        except OSError:
            pass
        try:
            while file.write(b"0"):
                pass
        except OSError:
            pass
    return ballast


def test_submissions_get_507_and_work_goes_on_when_there_is_room_again(small_disk: System) -> None:
    system = small_disk
    before = system.submit(films("before", 40, instances=2))["id"]
    eventually(lambda: system.job(before)["counts"]["done"] > 0, 60.0, "it runs", interval_s=0.01)

    ballast = _fill(system.files)
    refused = system.http.post("/api/v1/jobs", content=films("refused", 4), headers={"Content-Type": "application/zip"})
    ready = system.http.get("/readyz")
    ballast.unlink()

    assert refused.status_code == httpx.codes.INSUFFICIENT_STORAGE, refused.text
    assert ready.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert system.finished(before)["counts"]["done"] == 80
    after = eventually(lambda: _accepted(system), 30.0, "submissions are taken again")
    assert system.finished(after)["state"] == "done"
    assert not list((system.files / "store" / "tmp").iterdir())
    assert_nothing_lost(system, [before, after])


def _accepted(system: System) -> str | None:
    answer = system.http.post("/api/v1/jobs", content=films("after", 4), headers={"Content-Type": "application/zip"})
    return str(answer.json()["id"]) if answer.status_code == httpx.codes.ACCEPTED else None
