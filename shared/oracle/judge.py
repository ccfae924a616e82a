"""All checks and figures together: the verdict on a system that came to rest."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared.oracle.chain import check_chain
from shared.oracle.fences import check_fences
from shared.oracle.figures import figures
from shared.oracle.findings import Finding, Verdict
from shared.oracle.jobs import check_jobs
from shared.oracle.moves import check_moves
from shared.oracle.notices import check_notices
from shared.oracle.recovery import Fault, recovery
from shared.oracle.reports import check_reports
from shared.oracle.results import check_results
from shared.oracle.store import check_store
from shared.storage import ContentStore

Answer = dict[str, Any]


def judge(
    session: Session,
    store: ContentStore,
    *,
    acknowledged: Sequence[UUID] = (),
    faults: Sequence[Fault] = (),
    sample: int = 0,
) -> Answer:
    """What `python -m shared.oracle --json` prints; `passed` is false where any check failed.

    `acknowledged` are the jobs that a client got a 202 for; `sample` blobs are read (0: all).
    """
    began_s = time.monotonic()
    findings = list(_findings(session, store, acknowledged, sample))
    answer = figures(session) | {"recovery": recovery(session, faults)}
    counts: Counter[Verdict] = Counter()
    for finding in findings:
        counts[finding.verdict] += finding.count
    return answer | {
        "passed": not findings,
        "submitted": len(acknowledged) or sum(answer["jobs"].values()),
        **{verdict.name.lower(): counts[verdict] for verdict in Verdict},
        "findings": [vars(finding) | {"examples": list(finding.examples)} for finding in findings],
        "seconds": round(time.monotonic() - began_s, 1),
    }


def _findings(session: Session, store: ContentStore, acknowledged: Sequence[UUID], sample: int) -> Iterator[Finding]:
    yield from check_jobs(session, acknowledged)
    yield from check_results(session)
    yield from check_fences(session)
    yield from check_moves(session)
    yield from check_reports(session)
    yield from check_chain(session)
    yield from check_notices(session)
    yield from check_store(session, store, sample)
