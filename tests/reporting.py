"""The reports that are due, all of them."""

from sqlalchemy import Engine

from scheduler.aggregation.report import Aggregation


def report_on_all(engine: Engine) -> int:
    """As the scheduler does look by look (a slow machine needs more looks): on how many patients it reported."""
    aggregation, settled = Aggregation(engine), 0
    while newly := aggregation.run():
        settled += newly
    return settled
