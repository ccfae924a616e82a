"""A schedule with its next moments and its last run."""

from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.orm import Session

from api.schemas.schedules import RunShown, ScheduleShown
from shared.cron import fires_after, zone_named
from shared.models import Schedule
from shared.repositories.schedules import last_runs

FIRES_SHOWN = 5


def schedule_shown(session: Session, schedule: Schedule) -> ScheduleShown:
    """As it stands now."""
    runs = last_runs(session, schedule.id, 1)
    return ScheduleShown(
        name=schedule.name,
        kind=schedule.kind,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        overlap=schedule.overlap,
        catch_up_s=schedule.catch_up_s,
        jitter_s=schedule.jitter_s,
        min_new=schedule.min_new,
        job=schedule.request,
        by=schedule.principal.name,
        paused_at=schedule.paused_at,
        pause_reason=schedule.pause_reason,
        next_fires=[] if schedule.paused_at else _next_fires(schedule),
        last_run=RunShown.model_validate(runs[0]) if runs else None,
        created_at=schedule.created_at,
    )


def _next_fires(schedule: Schedule) -> list[str]:
    return local_fires(schedule.cron, schedule.time_zone, schedule.fires_at, FIRES_SHOWN)


def local_fires(cron: str, time_zone: str, first: datetime, number: int) -> list[str]:
    """So many moments from the first on, in the time zone, with the offset from UTC that holds at each of them."""
    moments = islice(fires_after(cron, time_zone, first - timedelta(microseconds=1)), number)
    return [moment.astimezone(zone_named(time_zone)).isoformat() for moment in moments]
