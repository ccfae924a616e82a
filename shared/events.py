"""What a webhook can be told of, by the names that its owner subscribes to."""

from enum import StrEnum


class Event(StrEnum):
    """Something that happened to a job or a report."""

    JOB_ENDED = "job.ended"
    REPORT_MADE = "report.made"
    REPORT_SIGNED = "report.signed"
    REPORT_AMENDED = "report.amended"
    REPORT_RETRACTED = "report.retracted"
    TEST = "webhook.test"  # somebody asked for it, of one webhook


# Those that a webhook can be for; a test is only sent when it is asked for.
EVENTS = tuple(event for event in Event if event is not Event.TEST)
