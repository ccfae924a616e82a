"""Reports made by schedulers side by side, and what bounds them: the same SQL alone, the pure function alone."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, select

from scheduler.aggregation.document import build_document
from scheduler.aggregation.draft import PATIENTS, Draft, JobAndPatient, draft_reports
from scheduler.aggregation.evidence import INSTANCES, OUTCOMES, PREDICTIONS, gather
from scheduler.aggregation.report import DUE, MOST, Aggregation, write_reports
from shared.clock import utc_now
from shared.collector import leave_out_of_collections
from shared.config import load_settings
from shared.db import make_engine, reading
from shared.identifiers import new_id
from shared.model_contract import ModelContract
from shared.models import JobPatient, ModelVersion
from shared.reports.versions import Act, next_version
from shared.repositories.reports import newest_reports
from shared.states import ReportOrigin, ReportStatus
from shared.unit_of_work import UnitOfWork

# The function alone is measured on the evidence of so many patients, so often.
EVIDENCE, REPEATS = 1000, 10
# A step does some of the work, and says on how many patients; none: all is done.
Step = Callable[[], int]
MakeStep = Callable[[Engine], Step]


@dataclass(frozen=True)
class Run:
    """On how many patients, in how long; of one of the processes its memory after each step."""

    patients: int
    seconds: float
    rss_bytes: list[int]

    @property
    def per_s(self) -> float:
        """Patients a second, of all processes together."""
        return self.patients / self.seconds


def side_by_side(make_step: MakeStep, url: str, folder: Path, processes: int) -> Run:
    """Processes of their own, as `overread scheduler` starts them, that begin at once and end when nothing is left."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes + 1), context.Queue()
    given = (make_step, url, folder, barrier, answers)
    started = [context.Process(target=_work, args=given) for _ in range(processes)]
    for process in started:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    done = [answers.get() for _ in started]
    seconds = time.perf_counter() - began
    for process in started:
        process.join()
    return Run(sum(patients for patients, _ in done), seconds, max((rss for _, rss in done), key=len))


def _work(make_step: MakeStep, url: str, folder: Path, barrier: Barrier, answers: Any) -> None:
    engine = make_engine(load_settings(data_dir=folder, database_url=url))
    step = make_step(engine)
    leave_out_of_collections()
    process, patients, rss = psutil.Process(os.getpid()), 0, []
    barrier.wait()
    while found := step():
        patients += found
        rss.append(process.memory_info().rss)
    answers.put((patients, rss))
    engine.dispose()


def product(engine: Engine) -> Step:
    """The duty itself."""
    return Aggregation(engine).run


def sql_alone(engine: Engine) -> Step:
    """The same statements on the same rows, in transactions as large; every report is a copy of the first one."""
    with reading(engine) as session:
        version = session.scalars(select(ModelVersion)).one()
        row = session.execute(select(JobPatient.job_id, JobPatient.patient_id)).first()
        assert row is not None
        (sample,) = draft_reports(session, version.id, [JobAndPatient(*row)])
    return partial(_sql_step, engine, version, sample)


def _sql_step(engine: Engine, version: ModelVersion, sample: Draft) -> int:
    with UnitOfWork(engine) as uow:
        session = uow.session
        due = session.execute(DUE, {"most": MOST}).all()
        patient_ids = [row.patient_id for row in due]
        newest_reports(session, patient_ids, version.name)
        rows = session.execute(INSTANCES, {"patient_ids": patient_ids}).all()
        asked = {"instance_ids": [row.id for row in rows], "model_version_id": version.id}
        session.execute(OUTCOMES, asked).all()
        said = {"blobs": [row.blob_sha256 for row in rows], "model_digest": version.digest}
        session.execute(PREDICTIONS, said).all()
        session.execute(PATIENTS, {"patient_ids": patient_ids}).all()
        write_reports(session, [_copy(sample, JobAndPatient(row.job_id, row.patient_id)) for row in due])
    return len(due)


def _copy(sample: Draft, of: JobAndPatient) -> Draft:
    report_id = new_id()
    return replace(
        sample, of=of, report_id=report_id, report=sample.report | {"id": report_id, "patient_id": of.patient_id}
    )


def function_alone(engine: Engine) -> Step:
    """The pure function on evidence that was read before."""
    with reading(engine) as session:
        version = session.scalars(select(ModelVersion)).one()
        patient_ids = session.scalars(select(JobPatient.patient_id).limit(EVIDENCE)).all()
        evidence = gather(session, patient_ids, version)
    contract = ModelContract.model_validate(version.contract)
    act = Act(ReportOrigin.RESULTS, ReportStatus.PRELIMINARY, utc_now())
    model = {"model": {"name": version.name, "version": version.version}}

    def steps() -> Iterator[int]:
        for _ in range(REPEATS):
            for one in evidence.values():
                next_version(act, build_document(contract, one) | model, one.digest(version.digest), None)
            yield len(evidence)

    return partial(next, steps(), 0)
