"""One place commits: rows first, then the hints that were collected; a lost hint is sent again by recovery."""

from collections import Counter
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.db import WritersTurn
from shared.faults import faults
from shared.queue import HintSender
from shared.states import Lane


class UnitOfWork:
    """A writing transaction; leaving the block without an error commits and then sends the hints."""

    session: Session

    def __init__(self, engine: Engine, hints: HintSender | None = None) -> None:
        self._engine = engine
        self._hints = hints
        self._turn = WritersTurn(engine)
        self._wanted: Counter[Lane] = Counter()

    def hint(self, lane: Lane, count: int = 1) -> None:
        """Ask for hints to be sent once the rows are committed."""
        self._wanted[lane] += count

    def __enter__(self) -> Self:
        self._turn.take()
        self.session = Session(self._engine, expire_on_commit=False)
        self.session.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self.session:
                if kind is not None:
                    self.session.rollback()
                    return
                self.session.commit()
                faults().after_commit()
        finally:
            self._turn.give_back()
        if self._hints is not None:
            for lane, count in self._wanted.items():
                self._hints.send(lane, count)
