"""Examples of a dataset snapshot: a few of each split and class, found at the beginning of its list."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

import shared.datasets.examples
from shared.datasets.document import Head, Sample, to_bytes
from shared.db import reading
from shared.models import Instance
from shared.repositories.datasets import add_dataset
from shared.repositories.imaging import add_blob
from shared.states import Split
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.browsing import browser_of
from tests.conftest import Api
from tests.factories import MODEL
from tests.trainings import store

SPLITS = (Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VAL, Split.HOLDOUT)
CLASSES = ("none", "lesion")


@pytest.fixture
def digest(any_api: Api) -> str:
    """Of a snapshot of twelve films: six of each class, in all splits."""
    store(any_api, 2 * len(SPLITS))
    return freeze(any_api, _samples(any_api))


def freeze(api: Api, samples: Sequence[Sample]) -> str:
    sizes = Counter((one.split, CLASSES[one.label]) for one in samples)
    splits = {
        split.value: {"instances": 0, "patients": 0, "sites": {}, "scanners": {}}
        | {"classes": {name: sizes[split, name] for name in CLASSES}}
        for split in Split
    }
    head = Head(model=MODEL, classes=CLASSES, seed=0, val_share=0.2)
    stored = ContentStore(api.prepared.settings.store_dir).put(to_bytes(head, samples))
    with UnitOfWork(api.prepared.engine) as uow:
        add_blob(uow.session, stored.sha256, stored.size_bytes, "text/plain")
        add_dataset(uow.session, stored.sha256, MODEL, {"splits": splits, "left_out": {}}, {})
    return stored.sha256


def _samples(api: Api) -> list[Sample]:
    with reading(api.prepared.engine) as session:
        blobs = session.scalars(select(Instance.blob_sha256).order_by(Instance.id)).all()
    known = {"patient": "p", "study": "s", "series": "s", "study_date": "", "site": "", "scanner": "", "pixels": ""}
    return [
        Sample(sha256=blob, split=SPLITS[at // 2], label=at % 2, frames=None, **known) for at, blob in enumerate(blobs)
    ]


def examples(api: Api, digest: str, **query: int) -> Any:
    answer = api.get(f"/api/v1/datasets/{digest}/examples", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_few_of_each_split_and_class_are_shown(any_api: Api, digest: str) -> None:
    found = examples(any_api, digest, per_class=2)

    shown = Counter((one["split"], one["label"]) for one in found["items"])
    assert shown == {(split, name): 2 if split == "train" else 1 for split in Split for name in CLASSES}
    assert found["looked_at"] <= 12
    picture = any_api.get(found["items"][0]["links"]["thumbnail"])
    assert (picture.status_code, picture.content_type) == (200, "image/jpeg")
    assert "T00" not in any_api.get(f"/api/v1/datasets/{digest}/examples").text, "no patient is named"


def test_only_the_beginning_of_a_long_list_is_looked_at(
    any_api: Api, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.datasets.examples, "MOST_LINES", 3)
    assert examples(any_api, digest)["looked_at"] == 3
    monkeypatch.setattr(shared.datasets.examples, "MOST_EXAMPLES", 1)
    assert len(examples(any_api, digest)["items"]) == 1


def test_what_shares_its_uids_with_another_file_is_no_example(any_api: Api, digest: str) -> None:
    """A picture found by these UIDs may be of the other file."""
    with UnitOfWork(any_api.prepared.engine) as uow:
        for instance in uow.session.scalars(select(Instance).order_by(Instance.id).limit(8)):
            instance.sop_conflict = True

    assert {one["split"] for one in examples(any_api, digest)["items"]} == {"val", "holdout"}


def test_page_shows_them_to_readers_and_says_where_there_are_none(any_api: Api, digest: str) -> None:
    reader = browser_of(any_api, "read")

    page = reader.get(f"/datasets/{digest}").text

    assert page.count('/thumbnail"') == 12
    assert page.count('loading="lazy"') == 12
    assert 'alt="lesion, image 1"' in page
    ContentStore(any_api.prepared.settings.store_dir).path(digest).unlink()
    assert "there are no examples" in reader.get(f"/datasets/{digest}").text
    assert any_api.get(f"/api/v1/datasets/{digest}/examples").status_code == 404
    assert any_api.get(f"/api/v1/datasets/{digest}/examples?per_class=9").status_code in (400, 422)
