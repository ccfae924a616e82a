"""Tonight as a page: its verdict, and the figures that the verdict is made of."""

from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import delete, update

from scheduler.tallies import note_depths
from shared import storage
from shared.clock import utc_now
from shared.db import db_now
from shared.errors import StorageUnavailableError
from shared.models import Depth, WorkerProcess
from shared.states import ItemState, Lane
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.browsing import browser_of
from tests.conftest import Api
from tests.factories import MODEL, claim, submit_job
from tests.reviews import fail, model
from tests.waiting import add_pace, add_worker
from tests.web_models import REASON, judged

GIB = 2**30


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def broker(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, and there is room on the disk."""
    monkeypatch.setattr("api.broker._answers", lambda url: True)
    free(monkeypatch, 512 * GIB)


def free(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: Usage(1024 * GIB, 0, int(num_bytes)))


def well(api: Api) -> None:
    """A worker and a scheduler are at work."""
    add_worker(api.prepared.engine, "host-1")
    note_depths(api.prepared.engine)


def tonight(api: Api) -> str:
    page: str = browser_of(api, "read").get("/").text
    return page


def test_all_is_well_when_everybody_is_at_work(any_api: Api) -> None:
    well(any_api)

    page = tonight(any_api)

    assert "All is well" in page
    assert "<b>512 GiB</b> free of 1.0 TiB disk" in page
    for nothing in ("No image failed in the last 24 hours.", "The gate has judged nothing yet"):
        assert nothing in page


@pytest.mark.parametrize(
    ("times_least", "said"),
    [
        (0.5, "Disk: 128 MiB are free, less than the 256 MiB that must stay free. Uploads are refused."),
        (9.0, "Disk: only 2.2 GiB are free. With less than 256 MiB, uploads are refused."),
        (10.0, "All is well"),
    ],
)
def test_disk_is_told_of_before_uploads_are_refused(
    any_api: Api, monkeypatch: pytest.MonkeyPatch, times_least: float, said: str
) -> None:
    well(any_api)
    free(monkeypatch, times_least * any_api.prepared.settings.min_free_bytes)

    assert said in tonight(any_api)


def test_tonight_is_shown_when_the_disk_cannot_be_looked_at(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    well(any_api)

    def fall_off(self: ContentStore) -> tuple[int, int]:
        raise StorageUnavailableError("the content store failed: it fell off")

    monkeypatch.setattr(ContentStore, "room", fall_off)

    assert "Disk: the content store failed: it fell off" in tonight(any_api)


def test_silent_worker_is_missed_by_name(any_api: Api) -> None:
    well(any_api)
    add_worker(any_api.prepared.engine, "far-1")
    with UnitOfWork(any_api.prepared.engine) as uow:
        gone = update(WorkerProcess).where(WorkerProcess.name == "far-1")
        uow.session.execute(gone.values(heartbeat_at=db_now(-300.0)))

    page = tonight(any_api)

    assert "Worker far-1 has been silent for 5 min." in page
    assert 'state failed">silent' in page


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(None, "No scheduler has looked in the last 24 hours"), (7, "No scheduler has looked for 7 min"), (2, "All is")],
)
def test_scheduler_is_missed_when_it_does_not_look(any_api: Api, minutes: int | None, said: str) -> None:
    well(any_api)
    with UnitOfWork(any_api.prepared.engine) as uow:
        uow.session.execute(delete(Depth))
        if minutes is not None:
            uow.session.add(Depth(at=utc_now() - timedelta(minutes=minutes), queued={"urgent": 0}))

    assert said in tonight(any_api)


@pytest.mark.parametrize(("done", "is_worry"), [(44, True), (45, False)])
def test_failures_are_a_worry_when_one_in_four_failed(any_api: Api, done: int, is_worry: bool) -> None:
    well(any_api)
    version = model(any_api.prepared)
    for number in range(11):
        fail(any_api.prepared, version, f"1.2.{number}")
    add_pace(any_api.prepared.engine, [done])

    said = f"11 images failed in the last 24 hours, {done} got an outcome. Most often: The pixel data cannot be"

    assert (said in tonight(any_api)) is is_worry


def test_few_failures_are_no_worry_and_lead_to_the_images(any_api: Api) -> None:
    well(any_api)
    for number in range(9):
        fail(any_api.prepared, model(any_api.prepared), f"1.2.{number}")
    last = any_api.get("/api/v1/failures").json["items"][0]["last_job"]

    page = tonight(any_api)

    assert "All is well" in page
    assert "<b>9</b> The pixel data cannot be decoded." in page
    path = f"/jobs/{last}?state={ItemState.FAILED}&amp;reason=decode_failed"
    assert f'href="{path}"' in page
    assert 'state failed">failed' in browser_of(any_api, "read").get(path.replace("&amp;", "&")).text
    chinese = browser_of(any_api, "read").get("/", headers={"Accept-Language": "zh"}).text
    assert "<b>9</b> 像素数据无法解码。" in chinese


def test_depth_is_drawn_with_gaps_where_nobody_looked(any_api: Api) -> None:
    submit_job(any_api.prepared.engine, 5)
    submit_job(any_api.prepared.engine, 2, lane=Lane.URGENT)
    well(any_api)

    page = tonight(any_api)

    assert "At most 7 images waited in the last 24 hours; in 95 of 96 quarters of an hour no scheduler" in page
    assert page.count('class="gap"') == 95
    assert "UTC: 7 (urgent 2, routine 5)</title>" in page
    assert page.count("UTC: no scheduler looked</title>") == 95


def test_worker_shows_what_it_has_in_hand(any_api: Api) -> None:
    engine = any_api.prepared.engine
    said = {"engines": ["openvino/abc"], "loading": ["def"], "rss_bytes": 3 * GIB // 2, "concurrency": 4}
    add_worker(engine, "host-1", **said)
    job = submit_job(engine, 24, shard_items=2)
    for _ in range(12):
        claim(engine, "host-1")

    page = tonight(any_api)

    for told in ("12 shards in hand, 4 threads", "1.5 GiB of memory", "openvino/abc", "Being loaded:", "and 2 more"):
        assert told in page
    assert page.count(f'href="/jobs/{job}"') == 10


def test_gate_decisions_are_told_with_their_reasons(any_api: Api) -> None:
    judged(any_api.prepared, REASON)
    judged(any_api.prepared)

    page = tonight(any_api)

    decisions = page[page.index('id="decisions"') :]
    assert decisions.index(f'href="/models/{MODEL}/4"') < decisions.index(f'href="/models/{MODEL}/2"'), "the last first"
    assert 'state held">held' in decisions
    assert REASON.replace("'", "&#39;") in decisions
    assert "against version 1," in decisions
