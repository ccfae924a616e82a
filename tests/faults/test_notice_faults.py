"""kill -9 of the scheduler while it sends notices: each arrives, and few of them twice."""

from collections import Counter
from collections.abc import Iterator

import pytest

from shared.states import NoticeState
from tests.conftest import Prepared
from tests.receiver import Receiver, quick, receiving
from tests.senders import listen, notices_of, tell
from tests.services import serving
from tests.system import eventually

NOTICES = 60
KILLS = 3
# What one claim has at most is sent again after each kill.
AT_ONCE = 10


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_every_notice_arrives_when_schedulers_are_killed_as_they_send(
    any_prepared: Prepared, receiver: Receiver
) -> None:
    receiver.takes_s = 0.05
    settings = quick(any_prepared.settings, receiver, webhook_timeout_s=0.5, webhook_lease_s=1.0, duty_interval_s=0.1)
    listen(any_prepared.engine, receiver.url)
    tell(any_prepared.engine, *map(str, range(NOTICES)))

    for _ in range(KILLS):
        had = len(receiver.got)
        # Killed with the block: after some arrived, in the middle of what it claimed with them.
        with serving("scheduler", settings):
            eventually(lambda had=had: len(receiver.got) >= had + 3, 60.0, "some notices came", interval_s=0.01)
    with serving("scheduler", settings):
        eventually(lambda: _all_sent(any_prepared), 60.0, "all are sent")

    times = Counter(receiver.deliveries())
    assert set(times) == {str(one.id) for one in notices_of(any_prepared.engine)}
    assert sum(times.values()) - NOTICES <= KILLS * AT_ONCE
    assert all(one.is_signed() for one in receiver.got)
    assert max(one.fence for one in notices_of(any_prepared.engine)) > 1


def _all_sent(prepared: Prepared) -> bool:
    return {one.state for one in notices_of(prepared.engine)} == {NoticeState.SENT}


def test_scheduler_ends_soon_when_it_is_asked_to_while_it_sends(prepared: Prepared, receiver: Receiver) -> None:
    receiver.takes_s = 0.2
    settings = quick(prepared.settings, receiver, duty_interval_s=0.1)
    listen(prepared.engine, receiver.url)
    tell(prepared.engine, *map(str, range(NOTICES)))

    with serving("scheduler", settings) as process:
        eventually(lambda: receiver.got, 60.0, "one came")
        process.terminate()
        process.wait(timeout=10)

    # What arrived is settled, and the rest given back: nothing waits for a lease.
    told = notices_of(prepared.engine)
    assert sum(one.state is NoticeState.SENT for one in told) == len(receiver.got)
    assert {one.lease_until for one in told} == {None}
