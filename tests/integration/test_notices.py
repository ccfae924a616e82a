"""A notice in the database -> its receiver: once in the normal case, again after trouble, and a dead letter at last."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from sqlalchemy import text, update

from shared.db import db_now, make_engine, reading
from shared.events import Event
from shared.models import Notice
from shared.repositories.deliveries import (
    claim_delivery,
    give_back,
    put_off,
    settle_dead,
    settle_sent,
    webhooks_to_serve,
)
from shared.states import NoticeState
from shared.unit_of_work import UnitOfWork
from tests.conftest import Prepared
from tests.receiver import Receiver, quick, receiving
from tests.senders import listen, notices_of, sending, tell
from tests.system import eventually

WAIT_S = 20.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def are(prepared: Prepared, state: NoticeState) -> bool:
    return {one.state for one in notices_of(prepared.engine)} == {state}


def test_notices_arrive_signed_once_and_in_order(any_prepared: Prepared, receiver: Receiver) -> None:
    listen(any_prepared.engine, f"{receiver.url}?from=overread")
    jobs = [f"job-{number:02}" for number in range(25)]
    tell(any_prepared.engine, *jobs)

    with sending(any_prepared.engine, quick(any_prepared.settings, receiver)):
        eventually(lambda: are(any_prepared, NoticeState.SENT), WAIT_S, "all are sent")

    assert [one.json["object"]["id"] for one in receiver.got] == jobs
    first = receiver.got[0]
    assert first.is_signed()
    assert not first.is_signed("another secret, as long as that one")
    assert (first.path, first.headers["Overread-Event"]) == ("/notices?from=overread", "job.ended")
    assert first.json["event"] == "job.ended"
    told = notices_of(any_prepared.engine)
    assert [str(one.id) for one in told] == receiver.deliveries()
    assert {(one.attempt, one.last_status, one.lease_until) for one in told} == {(1, 204, None)}


def test_webhook_hears_only_of_its_events_and_of_each_once(any_prepared: Prepared, receiver: Receiver) -> None:
    listen(any_prepared.engine, receiver.url, events=[Event.REPORT_MADE])

    tell(any_prepared.engine, "a", event=Event.JOB_ENDED)
    tell(any_prepared.engine, "b", event=Event.REPORT_MADE)
    tell(any_prepared.engine, "b", event=Event.REPORT_MADE)

    assert [(one.event, one.object_id) for one in notices_of(any_prepared.engine)] == [("report.made", "b")]


def test_two_senders_deliver_each_notice_once(any_prepared: Prepared, receiver: Receiver) -> None:
    receiver.takes_s = 0.01
    listen(any_prepared.engine, receiver.url)
    tell(any_prepared.engine, *map(str, range(60)))

    with sending(any_prepared.engine, quick(any_prepared.settings, receiver), senders=3):
        eventually(lambda: are(any_prepared, NoticeState.SENT), WAIT_S, "all are sent")

    assert len(receiver.got) == len(set(receiver.deliveries())) == 60


def test_nobody_else_claims_while_one_holds_a_webhook(any_prepared: Prepared) -> None:
    listen(any_prepared.engine, "https://ris.example")
    tell(any_prepared.engine, "a", "b")
    with reading(any_prepared.engine) as session:
        (webhook_id,) = webhooks_to_serve(session)

    def claim() -> list[tuple[int, int]]:
        with UnitOfWork(any_prepared.engine) as uow:
            found = claim_delivery(uow.session, webhook_id, 60.0, 1)
        return [(one.fence, one.attempt) for one in found.notices] if found else []

    assert claim() == [(1, 1)]
    assert claim() == []
    _let_leases_run_out(any_prepared)
    assert claim() == [(2, 2)]


def _let_leases_run_out(prepared: Prepared) -> None:
    with UnitOfWork(prepared.engine) as uow:
        uow.session.execute(update(Notice).values(lease_until=db_now(-1.0)))


def test_sender_that_lost_its_lease_settles_nothing(any_prepared: Prepared) -> None:
    listen(any_prepared.engine, "https://ris.example")
    tell(any_prepared.engine, "a")
    with reading(any_prepared.engine) as session:
        (webhook_id,) = webhooks_to_serve(session)
    claims = []
    for _ in range(2):
        with UnitOfWork(any_prepared.engine) as uow:
            found = claim_delivery(uow.session, webhook_id, 60.0, 1)
        assert found is not None
        claims += found.notices
        _let_leases_run_out(any_prepared)
    late, holder = claims

    with UnitOfWork(any_prepared.engine) as uow:
        session = uow.session
        told = [settle_dead(session, late, 500, "x"), put_off(session, late, 500, "x", 60.0), give_back(session, late)]
        told += [settle_sent(session, late, 200), settle_sent(session, holder, 201), settle_sent(session, holder, 202)]

    assert told == [False, False, False, False, True, False]
    assert [(one.state, one.last_status, one.attempt) for one in notices_of(any_prepared.engine)] == [("sent", 201, 2)]


def test_notice_is_sent_again_when_its_sender_was_lost_before_it_settled(
    any_prepared: Prepared, receiver: Receiver
) -> None:
    listen(any_prepared.engine, receiver.url)
    tell(any_prepared.engine, "a")
    with reading(any_prepared.engine) as session:
        (webhook_id,) = webhooks_to_serve(session)
    with UnitOfWork(any_prepared.engine) as uow:
        lost = claim_delivery(uow.session, webhook_id, 60.0, 10)
    assert lost is not None

    with sending(any_prepared.engine, quick(any_prepared.settings, receiver)):
        assert receiver.got == []
        _let_leases_run_out(any_prepared)
        eventually(lambda: are(any_prepared, NoticeState.SENT), WAIT_S, "it is sent")

    assert receiver.deliveries() == [str(lost.notices[0].id)]
    assert [one.attempt for one in notices_of(any_prepared.engine)] == [2]


def test_refused_notice_is_tried_again_with_growing_waits(any_prepared: Prepared, receiver: Receiver) -> None:
    receiver.answers(500, 503, 429, 200)
    listen(any_prepared.engine, receiver.url)
    tell(any_prepared.engine, "a")

    with sending(any_prepared.engine, quick(any_prepared.settings, receiver)):
        eventually(lambda: are(any_prepared, NoticeState.SENT), WAIT_S, "it is sent")

    (told,) = notices_of(any_prepared.engine)
    assert (told.attempt, told.last_status, told.last_error) == (4, 200, "")
    waits = [after.at - before.at for before, after in zip(receiver.got, receiver.got[1:], strict=False)]
    # 0.05, 0.1 and 0.2 s, of which up to half is taken off.
    assert [wait > least for wait, least in zip(waits, (0.025, 0.05, 0.1), strict=True)] == [True] * 3
    assert len(set(receiver.deliveries())) == 1


def test_notice_is_a_dead_letter_after_its_last_try_or_when_it_is_not_wanted(
    any_prepared: Prepared, receiver: Receiver
) -> None:
    listen(any_prepared.engine, receiver.url)
    tell(any_prepared.engine, "a")
    receiver.answers(410, 400)

    with sending(any_prepared.engine, quick(any_prepared.settings, receiver, webhook_attempts=3)):
        eventually(lambda: are(any_prepared, NoticeState.DEAD), WAIT_S, "it is given up")
        tell(any_prepared.engine, "b")
        eventually(lambda: are(any_prepared, NoticeState.DEAD), WAIT_S, "so is the other one")

    gone, failed = notices_of(any_prepared.engine)
    assert (gone.attempt, gone.last_status, gone.last_error) == (1, 410, "It answered 410.")
    assert (failed.attempt, failed.last_status, failed.last_error) == (3, 400, "It answered 400.")
    assert failed.finished_at is not None


def test_redirect_is_not_followed(prepared: Prepared, receiver: Receiver) -> None:
    receiver.answers(307)
    listen(prepared.engine, receiver.url)
    tell(prepared.engine, "a")

    with sending(prepared.engine, quick(prepared.settings, receiver, webhook_attempts=1)):
        eventually(lambda: are(prepared, NoticeState.DEAD), WAIT_S, "it is given up")

    (told,) = notices_of(prepared.engine)
    assert len(receiver.got) == 1
    assert "redirects are not followed" in told.last_error


def test_slow_receiver_holds_up_no_other(any_prepared: Prepared, receiver: Receiver) -> None:
    with receiving() as slow:
        slow.takes_s = 1.0
        listen(any_prepared.engine, slow.url, name="a-slow-one")
        listen(any_prepared.engine, receiver.url)
        tell(any_prepared.engine, *map(str, range(30)))

        with sending(any_prepared.engine, quick(any_prepared.settings, receiver, slow)):
            eventually(lambda: len(receiver.got) == 30, WAIT_S, "the quick one has all", interval_s=0.01)
            num_slow = len(slow.got)

    assert num_slow < 15
    assert len(set(receiver.deliveries())) == 30


@contextmanager
def _locked(prepared: Prepared) -> Iterator[None]:
    """Nobody else can write meanwhile."""
    with closing(sqlite3.connect(prepared.settings.data_dir / "overread.sqlite", isolation_level=None)) as locker:
        locker.execute("BEGIN IMMEDIATE")
        yield
        locker.execute("ROLLBACK")


def test_notice_that_arrived_is_settled_once_the_database_is_back(prepared: Prepared, receiver: Receiver) -> None:
    hurried = prepared.settings.model_copy(update={"database_timeout_s": 0.2})
    engine = make_engine(hurried)
    listen(prepared.engine, receiver.url)
    tell(prepared.engine, "a")
    arrived, locked = threading.Event(), threading.Event()

    def answer_once_locked(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        locked.wait(WAIT_S)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.instead = answer_once_locked
    with sending(engine, quick(hurried, receiver)):
        assert arrived.wait(WAIT_S)
        with _locked(prepared):
            locked.set()
            # Long enough for several tries to settle it, all in vain.
            threading.Event().wait(1.5)
        eventually(lambda: are(prepared, NoticeState.SENT), WAIT_S, "it is settled")
        tell(prepared.engine, "b")
        eventually(lambda: len(receiver.got) == 2, WAIT_S, "the next one comes too")

    assert len(set(receiver.deliveries())) == len(receiver.got) == 2
    engine.dispose()


def test_sender_goes_on_when_postgresql_ends_its_connections(postgres_prepared: Prepared, receiver: Receiver) -> None:
    receiver.takes_s = 0.05
    listen(postgres_prepared.engine, receiver.url)
    tell(postgres_prepared.engine, *map(str, range(40)))
    engine = make_engine(postgres_prepared.settings)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> :me"
    kill = text(f"SELECT pg_terminate_backend(pid) {others}")

    with sending(engine, quick(postgres_prepared.settings, receiver)):
        for _ in range(4):
            threading.Event().wait(0.3)
            with postgres_prepared.engine.connect() as connection:
                me = connection.scalar(text("SELECT pg_backend_pid()"))
                connection.execute(kill, {"me": me})
        eventually(lambda: are(postgres_prepared, NoticeState.SENT), WAIT_S, "all are sent")

    assert len(set(receiver.deliveries())) == 40
    engine.dispose()
