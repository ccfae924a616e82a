"""No audit event was altered or taken out since it was sealed."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from shared.audit_chain import START
from shared.oracle.findings import ROWS_AT_ONCE, Finding, Verdict, gather
from shared.repositories.audit_chain import follow_chain


def check_chain(session: Session) -> Iterator[Finding]:
    """The chain from its start; what waits for its seal is no fault."""
    last, has_more = START, True
    while has_more:
        found = follow_chain(session, last, ROWS_AT_ONCE)
        last, has_more = found.last, found.has_more
        if found.broken is not None:
            place = f"seal {found.broken.sequence}: {found.broken.why}"
            yield from gather(Verdict.WRONG, "the chain of the audit trail does not hold", [place])
