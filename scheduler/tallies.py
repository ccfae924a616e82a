"""The duties of counters: put the additions to each together, so that reading it stays cheap; keep what waits."""

from sqlalchemy import Engine

from shared.db import reading
from shared.repositories.pace import note_depth
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


def note_depths(engine: Engine) -> int:
    """Note how much waits in the lanes, once a minute whichever scheduler does it; returns how many rows that made."""
    with UnitOfWork(engine) as uow:
        return note_depth(uow.session)
