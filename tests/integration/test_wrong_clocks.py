"""A host whose clock is hours wrong dates its moves and outcomes right, and forgets no key before its time."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from scheduler.sweep import sweep
from shared.clock import be_wrong_by, utc_now
from shared.db import db_now, reading
from shared.identifiers import new_id
from shared.models import History, IdempotencyKey, Item, Job, Prediction
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.factories import add_principal, submit_job
from tests.fake_worker import FakeRuntime
from worker.tasks import infer_next

HOURS_S = 3 * 3600.0
A_TEST_TAKES = timedelta(minutes=10)


@pytest.fixture(params=[HOURS_S, -HOURS_S], ids=["ahead", "behind"])
def error_s(request: pytest.FixtureRequest) -> Iterator[float]:
    """By how much the clock is wrong: from a test's call of `be_wrong_by` to its end."""
    yield request.param
    be_wrong_by(0.0)


def _dated(prepared: Prepared, job_id: object) -> list[datetime | None]:
    """Every time that a worker gave to what it did."""
    with reading(prepared.engine) as session:
        job = session.get_one(Job, job_id)
        moves = session.scalars(select(History.at)).all()
        outcomes = session.scalars(select(Item.finished_at)).all()
        predictions = session.scalars(select(Prediction.created_at)).all()
    assert len(moves) >= 6
    assert len(outcomes) == len(predictions) == 4
    return [job.started_at, job.finished_at, *moves, *outcomes, *predictions]


def test_what_a_worker_does_is_dated_by_the_database(any_prepared: Prepared, error_s: float) -> None:
    job_id = submit_job(any_prepared.engine, 4)

    be_wrong_by(error_s)
    infer_next(FakeRuntime(any_prepared.settings, any_prepared.engine))

    with reading(any_prepared.engine) as session:
        now = session.execute(select(db_now())).scalar_one()
    assert all(moment and abs(moment - now) < A_TEST_TAKES for moment in _dated(any_prepared, job_id))


def test_sweep_forgets_only_keys_whose_time_is_over(any_prepared: Prepared, error_s: float) -> None:
    with UnitOfWork(any_prepared.engine) as uow:
        sender = add_principal(uow.session, "sender")
        for key, left in (("over", timedelta(hours=-1)), ("good", timedelta(hours=1))):
            uow.session.add(
                IdempotencyKey(
                    principal_id=sender, key=key, fingerprint="f", reservation=new_id(), expires_at=utc_now() + left
                )
            )

    be_wrong_by(error_s)
    sweep(any_prepared.engine, ContentStore(any_prepared.settings.store_dir))

    with reading(any_prepared.engine) as session:
        assert session.scalars(select(IdempotencyKey.key)).one() == "good"
