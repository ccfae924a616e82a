"""The duty: put the additions to each counter together, so that reading it stays cheap."""

from sqlalchemy import Engine

from shared.db import reading
from shared.repositories.tallies import fold, has_more_than
from shared.unit_of_work import UnitOfWork

# So few rows need no folding.
WORTH_FOLDING = 200


def fold_tallies(engine: Engine) -> int:
    """Fold the counters once they have many rows; returns how many went."""
    with reading(engine) as session:
        if not has_more_than(session, WORTH_FOLDING):
            return 0
    with UnitOfWork(engine) as uow:
        return fold(uow.session)
