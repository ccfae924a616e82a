"""Every webhook was told of each job that ended and each report that was made while it was there."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.events import Event
from shared.models import Job, Notice, Report, Webhook
from shared.oracle.findings import Finding, Verdict, gather, stream
from shared.states import FINAL_JOB_STATES, ReportOrigin

# What was under way as the webhook came or went may or may not be told; and reports have their time from the clock of
# the host that made them.
MARGIN = timedelta(minutes=1)


def check_notices(session: Session) -> Iterator[Finding]:
    """Of each webhook, also one that was removed."""
    for webhook in session.scalars(select(Webhook).order_by(Webhook.id)).all():
        ended = select(Job.id).where(Job.state.in_(FINAL_JOB_STATES))
        made = select(Report.id).where(Report.origin == ReportOrigin.RESULTS)
        jobs = _while_there(ended, Job.finished_at, webhook)
        reports = _while_there(made, Report.created_at, webhook)
        yield from _untold(session, webhook, Event.JOB_ENDED, "a webhook was not told that a job ended", jobs)
        yield from _untold(session, webhook, Event.REPORT_MADE, "a webhook was not told of a report", reports)


def _while_there(statement: Select[Any], at: InstrumentedAttribute[Any], webhook: Webhook) -> Select[Any]:
    statement = statement.where(at > webhook.created_at + MARGIN)
    return statement if webhook.disabled_at is None else statement.where(at < webhook.disabled_at - MARGIN)


def _untold(session: Session, webhook: Webhook, event: Event, what: str, objects: Select[Any]) -> Iterator[Finding]:
    if event not in webhook.events:
        return
    notices = select(Notice.object_id).where(Notice.webhook_id == webhook.id, Notice.event == event.value)
    told = {row.object_id for row in stream(session, notices)}
    missing = (
        f"{event.value} of {row.id} to {webhook.name}" for row in stream(session, objects) if str(row.id) not in told
    )
    yield from gather(Verdict.LOST, what, missing)
