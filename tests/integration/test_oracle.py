"""The oracle finds what is lost or doubled: a finished system passes, and each damage to it fails by its name."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, insert, inspect, select, text, update
from sqlalchemy.orm import Session

from shared.db import reading
from shared.events import Event
from shared.models import AuditEvent, Blob, History, Item, Job, JobPatient, Prediction, Report, Shard, Webhook
from shared.oracle.judge import Answer, judge
from shared.oracle.recovery import Fault
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.cohorts import films
from tests.conftest import Api
from tests.factories import claim, let_leases_run_out
from tests.fake_worker import FakeRuntime
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from tests.senders import listen, tell
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model"), folder / "model.zip").read_bytes()


@pytest.fixture
def finished(any_api: Api, package: bytes) -> tuple[Api, list[UUID]]:
    """A system that did its work: a job, the same files again, and one cancelled; all reported."""
    api = any_api
    assert api.post("/api/v1/models", data=package, **ZIP).status_code == 201
    first = api.post("/api/v1/jobs", data=films("P", 2, studies=2, side=16), **ZIP).json
    infer_next(FakeRuntime(api.prepared.settings, api.prepared.engine))
    again = api.post("/api/v1/jobs", data=films("P", 2, studies=2, side=16), **ZIP).json
    cancelled = api.post("/api/v1/jobs", data=films("Q", 1, side=16), **ZIP).json
    api.post(f"/api/v1/jobs/{cancelled['id']}/cancel")
    report_on_all(api.prepared.engine)
    return api, [UUID(job["id"]) for job in (first, again, cancelled)]


def verdict(api: Api, acknowledged: list[UUID], faults: tuple[Fault, ...] = ()) -> Answer:
    settings = api.prepared.settings
    store = ContentStore(settings.store_dir)
    with reading(api.prepared.engine) as session:
        return judge(session, store, acknowledged=acknowledged, faults=faults)


def test_oracle_passes_when_the_system_finished_its_work(finished: tuple[Api, list[UUID]]) -> None:
    answer = verdict(*finished)

    assert answer["findings"] == []
    assert answer["passed"]
    assert (answer["submitted"], answer["jobs"]) == (3, {"cancelled": 1, "done": 2})
    assert answer["items"] == {"cancelled": 1, "done": 8}
    assert (answer["predictions"], answer["reports"]) == (4, 2)
    assert answer["executions"] == {"mean": 1.0, "max": 1}


def _delete_a_prediction(session: Session) -> None:
    session.execute(delete(Prediction).where(Prediction.id == select(func.max(Prediction.id)).scalar_subquery()))


def _double_a_prediction(session: Session) -> None:
    connection = session.connection()
    (unique,) = inspect(connection).get_unique_constraints("prediction")
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE prediction DROP CONSTRAINT {unique['name']}"))
    else:
        # SQLite drops no constraint: the table is made again without it.
        connection.execute(text("ALTER TABLE prediction RENAME TO guarded"))
        connection.execute(text("CREATE TABLE prediction AS SELECT * FROM guarded"))
    names = [column.name for column in Prediction.__table__.columns if column.name != "id"]
    values = ", ".join(names)
    connection.execute(
        text(f"INSERT INTO prediction (id, {values}) SELECT 1000000, {values} FROM prediction ORDER BY id LIMIT 1")
    )


def _predict_what_nobody_asked_for(session: Session) -> None:
    columns = [column.name for column in Prediction.__table__.columns if column.name not in ("id", "generation")]
    row = session.execute(select(Prediction)).scalars().first()
    assert row is not None
    session.execute(insert(Prediction).values({name: getattr(row, name) for name in columns} | {"generation": 7}))


def _claim_again_before_an_outcome(session: Session) -> None:
    """As a worker would leave it that wrote on after its shard had been taken back."""
    item = session.execute(select(Item).where(Item.fence.is_not(None))).scalars().first()
    assert item is not None
    assert item.finished_at is not None
    moves = History.shard_id == item.shard_id
    last = session.execute(select(func.max(History.id)).where(moves)).scalar_one()
    began_at, lost_at = item.finished_at - timedelta(seconds=60), item.finished_at - timedelta(seconds=30)
    session.execute(update(History).where(moves, History.to_state == "running").values(at=began_at, fence=item.fence))
    session.execute(update(History).where(History.id == last).values(at=lost_at))


def _name_a_fence_that_no_claim_had(session: Session) -> None:
    session.execute(update(Item).where(Item.fence.is_not(None)).values(fence=Item.fence + 1))


def _forget_who_wrote(session: Session) -> None:
    session.execute(update(Item).where(Item.fence.is_not(None)).values(fence=None))


def _delete_a_job(session: Session) -> None:
    job_id = session.execute(select(Job.id).where(Job.items_cancelled > 0)).scalar_one()
    for table in (History, JobPatient, Item, Shard):
        session.execute(delete(table).where(table.job_id == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def _double_a_terminal_move(session: Session) -> None:
    row = (
        session.execute(select(History).where(History.shard_id.is_(None), History.to_state == "done")).scalars().first()
    )
    assert row is not None
    values = {column.name: getattr(row, column.name) for column in History.__table__.columns if column.name != "id"}
    session.execute(insert(History).values(values))


def _delete_a_terminal_move(session: Session) -> None:
    session.execute(delete(History).where(History.shard_id.is_not(None), History.to_state == "done"))


def _double_a_submit_event(session: Session) -> None:
    row = session.execute(select(AuditEvent).where(AuditEvent.action == "job.submit")).scalars().first()
    assert row is not None
    values = {column.name: getattr(row, column.name) for column in AuditEvent.__table__.columns if column.name != "id"}
    session.execute(insert(AuditEvent).values(values))


def _delete_an_item(session: Session) -> None:
    session.execute(delete(Item).where(Item.id == select(func.max(Item.id)).scalar_subquery()))


def _leave_an_item_open(session: Session) -> None:
    item = select(func.min(Item.id)).where(Item.state == "cancelled").scalar_subquery()
    session.execute(update(Item).where(Item.id == item).values(state="pending"))


def _miscount_a_job(session: Session) -> None:
    session.execute(update(Job).values(items_done=Job.items_done + 1))


def _miscount_jobs(session: Session) -> None:
    session.execute(text("INSERT INTO tally (name, value) VALUES ('jobs.done', 1)"))


def _leave_a_shard_running(session: Session) -> None:
    session.execute(update(Shard).where(Shard.state == "done").values(state="running"))


def _move_illegally(session: Session) -> None:
    session.execute(update(History).where(History.reason == "claimed").values(from_state="done"))


def _drop_a_reason(session: Session) -> None:
    session.execute(update(Item).where(Item.state == "cancelled").values(reason=None))


def _leave_a_patient_waiting(session: Session) -> None:
    session.execute(update(JobPatient).values(report_id=None, reported_at=None))


def _drop_reports(session: Session) -> None:
    session.execute(update(JobPatient).values(report_id=None))


def _recount_reports(session: Session, change: int) -> None:
    for report in session.scalars(select(Report)).all():
        completeness = report.document["completeness"]
        number = completeness["predicted"] + change
        report.document = report.document | {"completeness": completeness | {"predicted": number, "instances": number}}


def _count_too_few_in_reports(session: Session) -> None:
    _recount_reports(session, -1)


def _count_too_many_in_reports(session: Session) -> None:
    _recount_reports(session, 1)


DAMAGES: dict[Callable[[Session], None], tuple[str, str]] = {
    _delete_a_prediction: ("lost", "a done item lacks predictions of its frames"),
    _double_a_prediction: ("doubled", "a frame was predicted twice by one model"),
    _predict_what_nobody_asked_for: ("doubled", "a prediction belongs to no done item"),
    _claim_again_before_an_outcome: ("written under an old fence", "an outcome was written outside its claim"),
    _name_a_fence_that_no_claim_had: ("written under an old fence", "an outcome names a fence that no claim had"),
    _forget_who_wrote: ("written under an old fence", "a result names no claim"),
    _delete_a_job: ("lost", "a job was acknowledged and is not there"),
    _double_a_terminal_move: ("doubled", "a job has more than one terminal move"),
    _delete_a_terminal_move: ("lost", "a shard has no terminal move"),
    _double_a_submit_event: ("doubled", "a job has more than one job.submit audit event"),
    _delete_an_item: ("lost", "a job has fewer items than were accepted"),
    _leave_an_item_open: ("lost", "an item of a job that is over has no outcome"),
    _miscount_a_job: ("wrong", "a job's sums are not those of its items"),
    _miscount_jobs: ("wrong", "a counter is not the true number"),
    _leave_a_shard_running: ("lost", "a shard is in no final state"),
    _move_illegally: ("wrong", "a move is not legal, or does not begin where the last one ended"),
    _drop_a_reason: ("wrong", "an item without a result has no reason"),
    _leave_a_patient_waiting: ("lost", "a patient of a job has no report yet"),
    _drop_reports: ("lost", "a patient with outcomes was left without a report"),
    _count_too_few_in_reports: ("lost", "a patient's newest report leaves out done instances"),
    _count_too_many_in_reports: ("doubled", "a patient's newest report counts an instance twice"),
}


def test_oracle_fails_by_name_when_rows_are_damaged(finished: tuple[Api, list[UUID]]) -> None:
    api, acknowledged = finished
    store = ContentStore(api.prepared.settings.store_dir)
    found = {}

    for damage, said in DAMAGES.items():
        # Each is judged in its own transaction and rolled back.
        with Session(api.prepared.engine) as session:
            damage(session)
            answer = judge(session, store, acknowledged=acknowledged)
        assert not answer["passed"]
        assert all(finding["examples"] for finding in answer["findings"])
        named = [(finding["verdict"], finding["what"]) for finding in answer["findings"]]
        found[damage.__name__] = said if said in named else named

    assert found == {damage.__name__: said for damage, said in DAMAGES.items()}
    assert verdict(api, acknowledged)["passed"]


def test_oracle_names_what_a_webhook_was_not_told(finished: tuple[Api, list[UUID]]) -> None:
    """As if it had been there, and for the events, long before the jobs were submitted."""
    api, acknowledged = finished
    listen(api.prepared.engine, "https://ris.example")
    just_now = verdict(api, acknowledged)
    with UnitOfWork(api.prepared.engine) as uow:
        uow.session.execute(update(Webhook).values(created_at=datetime(2020, 1, 1, tzinfo=UTC)))

    missing = verdict(api, acknowledged)
    with reading(api.prepared.engine) as session:
        objects = {Event.JOB_ENDED: acknowledged, Event.REPORT_MADE: session.scalars(select(Report.id)).all()}
    for event, ids in objects.items():
        tell(api.prepared.engine, *map(str, ids), event=event)

    assert just_now["passed"]
    assert [(one["what"], one["count"]) for one in missing["findings"]] == [
        ("a webhook was not told that a job ended", 3),
        ("a webhook was not told of a report", 2),
    ]
    assert missing["lost"] == 5
    assert verdict(api, acknowledged)["passed"]


@pytest.mark.parametrize("content", [None, b"other bytes"], ids=["gone", "damaged"])
def test_oracle_says_lost_when_stored_bytes_are_not_whole(
    finished: tuple[Api, list[UUID]], content: bytes | None
) -> None:
    api, acknowledged = finished
    with UnitOfWork(api.prepared.engine) as uow:
        sha256 = uow.session.execute(select(func.min(Blob.sha256))).scalar_one()
    path = ContentStore(api.prepared.settings.store_dir).path(sha256)
    path.unlink() if content is None else path.write_bytes(content)

    answer = verdict(api, acknowledged)

    (finding,) = answer["findings"]
    assert (finding["verdict"], finding["examples"]) == ("lost", [f"blob {sha256}"])
    assert answer["lost"] == 1


def test_oracle_says_wrong_when_a_temporary_file_is_old(finished: tuple[Api, list[UUID]]) -> None:
    api, acknowledged = finished
    path = api.prepared.settings.store_dir / "tmp" / "in-old"
    path.write_bytes(b"half of something")
    os.utime(path, (0, 0))

    (finding,) = verdict(api, acknowledged)["findings"]

    assert (finding["verdict"], finding["examples"]) == ("wrong", ["in-old"])


def test_oracle_says_lost_when_an_unknown_job_was_acknowledged(finished: tuple[Api, list[UUID]]) -> None:
    api, acknowledged = finished

    (finding,) = verdict(api, [*acknowledged, missing := uuid4()])["findings"]

    assert (finding["verdict"], finding["examples"]) == ("lost", [f"job {missing}"])


def test_recovery_is_the_time_until_the_interrupted_shard_moved(any_api: Api, package: bytes) -> None:
    api = any_api
    api.post("/api/v1/models", data=package, **ZIP)
    job = api.post("/api/v1/jobs", data=films("P", 1, side=16), **ZIP).json
    engine, settings = api.prepared.engine, api.prepared.settings
    claim(engine, "worker-lost", lane="routine")
    fault = Fault("worker killed", datetime.now(UTC), owner="worker-lost", recovered_s=0.5)
    elsewhere = Fault("scheduler killed", fault.at, owner="another")
    let_leases_run_out(engine)
    _recover(api)
    infer_next(FakeRuntime(settings, engine))
    report_on_all(engine)

    answer = verdict(api, [UUID(job["id"])], (fault, elsewhere))

    assert answer["findings"] == []
    assert (answer["fenced_out"], answer["executions"]["max"]) == (1, 2)
    other, killed = answer["recovery"]
    assert (other["interrupted"], other["work_p50_s"]) == (0, None)
    assert (killed["interrupted"], killed["answer_p99_s"]) == (1, 0.5)
    assert 0.0 < killed["work_p50_s"] < 60.0


def _recover(api: Api) -> None:
    from scheduler.recovery import recover_shards
    from tests.factories import let_backoffs_run_out

    assert recover_shards(api.prepared.engine, api.prepared.settings) == 1
    let_backoffs_run_out(api.prepared.engine)


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_command_says_by_its_exit_code_whether_all_is_well(
    finished: tuple[Api, list[UUID]], tmp_path: Path, damaged: bool
) -> None:
    api, acknowledged = finished
    if damaged:
        with UnitOfWork(api.prepared.engine) as uow:
            _delete_a_prediction(uow.session)
    (tmp_path / "jobs.json").write_text(json.dumps([str(one) for one in acknowledged]))
    (tmp_path / "faults.json").write_text(json.dumps([{"kind": "killed", "at": datetime.now(UTC).isoformat()}]))
    command = [sys.executable, "-m", "shared.oracle", "--acknowledged", str(tmp_path / "jobs.json")]
    command += ["--faults", str(tmp_path / "faults.json")]

    environment = os.environ | api.prepared.settings.environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (int(damaged), "")
    # The frame was predicted once, for two jobs.
    assert ("lost: 2" if damaged else "lost: 0") in done.stdout.splitlines()
