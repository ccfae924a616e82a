"""Nights around clock changes: none is lost, none is doubled."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cron import fires_after
from shared.errors import InvalidRequestError

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "UTC", "Pacific/Apia")


def fires(cron: str, zone: str, after: str, count: int) -> list[str]:
    found = islice(fires_after(cron, zone, datetime.fromisoformat(after)), count)
    return [f"{one:%m-%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # 02:00 to 03:00 does not exist on 29 March: once, at 03:00 summer time.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # Four times of one gap are one moment.
        ("*/15 2 * * 0", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "04-05 00:00"]),
        # 03:00 exists, and is due beside what the gap owes: one moment, so one fire.
        ("30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 01:00", "03-29 01:30", "03-30 00:30"]),
        # 02:30 comes twice on 25 October: the first time, in summer time.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["10-25 00:30", "10-26 01:30"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00Z", ["11-01 05:30", "11-02 06:30"]),
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:30"]),
        # Half an hour, there and back.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", ["10-03 15:30", "10-04 15:15"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", ["04-04 14:45", "04-05 15:15"]),
        # 30 December 2011 did not exist there.
        ("0 2 * * *", "Pacific/Apia", "2011-12-29T00:00Z", ["12-29 12:00", "12-30 10:00", "12-30 12:00"]),
        # By elapsed time: every half hour, also in the hour that comes twice.
        ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10Z", ["10-25 00:30", "10-25 01:00", "10-25 01:30"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:10Z", ["03-29 01:00", "03-29 02:00"]),
        # Every second hour names its hours: what the gap takes is due after it, what comes twice is due once.
        ("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30Z", ["03-28 23:00", "03-29 01:00", "03-29 02:00"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-10-24T21:30Z", ["10-24 22:00", "10-25 00:00", "10-25 03:00"]),
        ("0 22 * * 1-5", "UTC", "2026-11-27T22:00Z", ["11-30 22:00", "12-01 22:00"]),
    ],
)
def test_clock_changes_lose_no_fire_and_double_none(cron: str, zone: str, after: str, expected: list[str]) -> None:
    assert fires(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "says"),
    [
        ("30 2 * *", "UTC", "has 4 fields"),
        ("0 30 2 * * *", "UTC", "has 6 fields"),
        ("", "UTC", "has 0 fields"),
        ("61 2 * * *", "UTC", "not valid"),
        ("0 0 31 2 *", "UTC", "not valid"),
        ("x y * * *", "UTC", "not valid"),
        ("30 2 * * *", "Europe/Nowhere", "no such time zone"),
        ("30 2 * * *", "../../etc/passwd", "no such time zone"),
        ("30 2 * * *", "localtime", "no such time zone"),
        ("30 2 * * *", "Factory", "no such time zone"),
    ],
)
def test_what_is_no_schedule_is_refused(cron: str, zone: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        fires_after(cron, zone, datetime(2026, 1, 1, tzinfo=UTC))


@given(
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(ZONES[:-1]),
    start=st.integers(0, 4 * 365 * 24 * 60),
)
def test_every_local_day_has_one_fire(hour: int, minute: int, zone: str, start: int) -> None:
    after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=start)

    found = list(islice(fires_after(f"{minute} {hour} * * *", zone, after), 8))

    days = [one.astimezone(ZoneInfo(zone)).date() for one in found]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))
    assert found[0] > after
    # The same, asked for from one fire to the next.
    for earlier, later in pairwise(found):
        assert next(fires_after(f"{minute} {hour} * * *", zone, earlier)) == later
