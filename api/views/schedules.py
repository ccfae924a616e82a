"""A schedule with its next moments and its last run."""

from datetime import timedelta
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
    """With the offset from UTC that holds at each of them."""
    just_before = schedule.fires_at - timedelta(microseconds=1)
    moments = islice(fires_after(schedule.cron, schedule.time_zone, just_before), FIRES_SHOWN)
    return [moment.astimezone(zone_named(schedule.time_zone)).isoformat() for moment in moments]
