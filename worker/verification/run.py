"""A claimed shard of a verification: the record checked once, and its instances predicted on again."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

from shared.db import reading
from shared.models import Item, Job, Report
from shared.reasons import Reason
from shared.reports.provenance import inputs_of
from shared.repositories.claims import finish, hold
from shared.repositories.items import PendingItem, pending_items
from shared.repositories.job_moves import settle_jobs
from shared.repositories.outcomes import Outcome, record_outcomes
from shared.repositories.predictions import StoredFrame, frames_of
from shared.repositories.shards import Claim
from shared.repositories.verifications import note_checks, pending_records, reports_of
from shared.states import ItemState
from worker.inference.run import work_through
from worker.models import served_model
from worker.runtime import HeldShards, Runtime
from worker.verification.checks import Check
from worker.verification.recompute import Recomputation
from worker.verification.record import Record

# While the record is checked, it is looked so often whether the job was cancelled.
LOOK_S = 1.0


def run_verification(runtime: Runtime, held: HeldShards) -> None:
    """Give every pending item of the shards its outcome (running -> done), as `run_shards` does, and as it raises.

    Of the instances each is an item; what needs no pixels is together one item, in the job's first shard.
    """
    with reading(runtime.engine) as session:
        reports = reports_of(session, [claim.job_id for claim in held.claims])
        records = pending_records(session, [claim.shard_id for claim in held.claims])
    for item in records:
        _check_record(runtime, held, item, reports[item.job_id])
    if held.claims:
        work_through(runtime, held, _read_work(runtime, held, reports))


def _check_record(runtime: Runtime, held: HeldShards, item: Item, report: Report) -> None:
    (claim,) = (claim for claim in held.claims if claim.shard_id == item.shard_id)
    with reading(runtime.engine) as session:
        version = session.get_one(Job, item.job_id).model_version
    record = Record(runtime, report, version, _looking(runtime, held, claim))
    _commit_record(runtime, held, claim, item, list(record.checks()))


def _looking(runtime: Runtime, held: HeldShards, claim: Claim) -> Callable[[], None]:
    """Says that it goes on; raises StoppingError when the worker stops, FencedOutError when the shard is not ours."""
    looked_at = time.monotonic()

    def look() -> None:
        nonlocal looked_at
        held.moved()
        runtime.go_on()
        if time.monotonic() - looked_at >= LOOK_S:
            with runtime.unit_of_work() as uow:
                hold(uow.session, [claim], runtime.settings.lease_s)
            looked_at = time.monotonic()

    return look


def _commit_record(runtime: Runtime, held: HeldShards, claim: Claim, item: Item, checks: Sequence[Check]) -> None:
    """The checks, the item's outcome, and the end of its shard where nothing else is in it."""
    failed = [check.name for check in checks if check.passed is False]
    outcome = Outcome(item.id, ItemState.DONE)
    if failed:
        outcome = Outcome(item.id, ItemState.FAILED, Reason.RECORD_DIFFERS, f"what differs: {', '.join(failed)}")
    with runtime.unit_of_work() as uow:
        session = uow.session
        hold(session, [claim], runtime.settings.lease_s, progressed=[claim.shard_id])
        note_checks(session, claim.job_id, [check.document() for check in checks])
        record_outcomes(session, {claim.fence: [outcome]})
        over = finish(session, [claim])
        if over:
            settle_jobs(session, [claim.job_id], actor=runtime.name)
    held.claims = [one for one in held.claims if one not in over]


def _read_work(runtime: Runtime, held: HeldShards, reports: dict[UUID, Report]) -> Recomputation:
    with reading(runtime.engine) as session:
        # A claim takes shards only together whose jobs want the same of the same model.
        job = session.get_one(Job, held.claims[0].job_id)
        model = served_model(runtime, session, job.model_version)
        job_of = {claim.shard_id: claim.job_id for claim in held.claims}
        items = pending_items(session, list(job_of), model.contract.slices.select)
        by_generation: dict[int, list[PendingItem]] = defaultdict(list)
        generations = {job_id: inputs_of(report.document) for job_id, report in reports.items()}
        for item in items:
            by_generation[generations[job_of[item.shard_id]].get(item.blob_sha256, 0)].append(item)
        stored: dict[int, list[StoredFrame]] = {}
        for generation, some in by_generation.items():
            found = frames_of(session, model.digest, generation, [item.blob_sha256 for item in some])
            stored |= {item.item_id: found.get(item.blob_sha256, []) for item in some}
    still_open = Counter(item.shard_id for item in items)
    return Recomputation(model, job.generation, job.explain, items, still_open, stored=stored)
