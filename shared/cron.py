"""When a schedule is due: cron expressions in a time zone, with clock changes that lose no night and double none.

Where an expression names its hours, each local time it names is owed once: one that a clock change skips is due at the
first moment after the gap, one that comes twice is due the first time. Where it says every hour, it runs by elapsed
time, whatever the clocks do.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from shared.errors import InvalidRequestError

NUM_FIELDS = 5
HOUR_FIELD = 1
EVERY_HOUR = ("*", "*/1")
# Longer than any gap: some islands skipped a day as they changed sides of the date line.
LONGEST_GAP = timedelta(hours=25)
MINUTE = timedelta(minutes=1)


def fires_after(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """The moments in UTC, each later than `after` and than the one before.

    Raises InvalidRequestError for what is no expression of five fields, or no zone of the IANA's list.
    """
    zone = zone_named(time_zone)
    fields = cron.split()
    if len(fields) != NUM_FIELDS:
        raise InvalidRequestError(
            f"The cron expression has {len(fields)} fields; expected five: minute, hour, day of the month, month, day "
            "of the week, such as `30 2 * * *`."
        )
    try:
        if fields[HOUR_FIELD] in EVERY_HOUR:
            return _later(_in_utc(CronSim(cron, (after - MINUTE).astimezone(zone))), after)
        local = (after - LONGEST_GAP).astimezone(zone).replace(tzinfo=None)
        return _later((_moment(named, zone) for named in CronSim(cron, local)), after)
    except CronSimError as error:
        raise InvalidRequestError(
            f"The cron expression is not valid ({error}); expected five fields, such as `30 2 * * *`."
        ) from error


# Names beside the IANA's: what a host happens to be set to, and what it is until somebody sets it.
OF_THE_HOST = {"localtime", "posixrules", "Factory"}


@lru_cache
def zone_names() -> frozenset[str]:
    """Those that a schedule may have."""
    return frozenset(available_timezones() - OF_THE_HOST)


@lru_cache
def zone_named(name: str) -> ZoneInfo:
    """The zone of this name; raises InvalidRequestError where there is none."""
    if name not in zone_names():
        raise InvalidRequestError(
            "There is no such time zone; expected a name of the IANA's list, such as Europe/Berlin or UTC."
        )
    return ZoneInfo(name)


def _in_utc(moments: Iterator[datetime]) -> Iterator[datetime]:
    for moment in moments:
        yield moment.astimezone(UTC)


def _later(moments: Iterator[datetime], after: datetime) -> Iterator[datetime]:
    """Those later than all before: local times of one gap are one moment."""
    last = after
    for moment in moments:
        if moment > last:
            last = moment
            yield moment


def _moment(named: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks show this local time for the first time; where they never do, the end of the gap."""
    first, second = (named.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) == named:
        return first
    # In a gap the first reading counts with the offset from before it, and lies after it; the second before it.
    offset_after = first.astimezone(zone).utcoffset()
    while second.astimezone(zone).utcoffset() != offset_after:
        second += MINUTE
    return second
