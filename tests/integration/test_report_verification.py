"""A report verifies as long as its record is untouched, and says what differs when anything of it was altered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from scheduler.seals import Sealing
from shared.db import reading
from shared.models import AuditEvent, Item, Prediction, Report, Verification
from shared.oracle.judge import judge
from shared.reports.digest import content_digest
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork
from tests.cohorts import film, films, zipped
from tests.command_line import answer_of, command_line
from tests.conftest import Api
from tests.factories import let_leases_run_out, rows_of, take_back_all
from tests.fake_worker import WorkerDied
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from worker.runtime import Runtime
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}
Sql = Callable[..., None]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model"), folder / "model.zip").read_bytes()


@pytest.fixture
def report(any_api: Api, package: bytes, runtime: Runtime) -> dict[str, Any]:
    """Of a patient with three images, made and sealed."""
    assert any_api.post("/api/v1/models", data=package, **ZIP).status_code == 201
    job = any_api.post("/api/v1/jobs", data=films("P", 1, instances=3), **ZIP).json
    infer_next(runtime)
    return made(any_api, job["id"])


def made(api: Api, job_id: str) -> dict[str, Any]:
    report_on_all(api.prepared.engine)
    seal(api)
    (summary,) = api.get(f"/api/v1/reports?job={job_id}").json["items"]
    return dict(api.get(f"/api/v1/reports/{summary['id']}").json)


def seal(api: Api) -> None:
    sealing = Sealing(api.prepared.engine)
    while sealing.run():
        pass


def verify(api: Api, runtime: Runtime, report: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    answer = api.post(f"/api/v1/reports/{report['id']}/verify", json=wanted)
    assert answer.status_code == 202, answer.text
    infer_next(runtime)
    return found(api, answer.json)


def found(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    return dict(api.get(job["links"]["verification"]).json)


def failed(verification: dict[str, Any]) -> set[str]:
    return {check["name"] for check in verification["checks"] if check["passed"] is False}


def alter(api: Api, statement: str, **given: Any) -> None:
    with UnitOfWork(api.prepared.engine) as uow:
        uow.session.execute(text(statement), given)


def inputs(report: dict[str, Any]) -> list[dict[str, Any]]:
    return list(report["document"]["provenance"]["inputs"])


def test_untouched_report_verifies_and_leaves_no_trace_but_the_verdict(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    verification = verify(any_api, runtime, report, sample="all")

    assert (verification["verdict"], verification["state"]) == ("passed", "done")
    checked = {check["name"]: (check["passed"], check["checked"], check["told"]) for check in verification["checks"]}
    assert checked.pop("audit_chain")[:2] == (True, 4)
    assert checked == {
        "document": (True, 1, []),
        "audit_event": (True, 1, []),
        "review": (True, 0, []),
        "documents": (True, 0, []),
        "predictions": (True, 3, []),
        "inputs": (True, 3, []),
        "model": (True, 1, []),
        "computed_again": (True, 3, []),
    }
    assert report_on_all(any_api.prepared.engine) == 0
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Prediction) == 3
    job = any_api.get(f"/api/v1/jobs/{verification['job']}").json
    assert (job["kind"], job["counts"]["done"], job["counts"]["reused"]) == ("verification", 4, 0)
    assert any_api.get(f"/api/v1/reports?job={job['id']}").json["items"] == []
    (listed,) = any_api.get(f"/api/v1/reports/{report['id']}/verifications").json["items"]
    assert listed == verification


def test_provenance_says_what_a_report_was_made_of_and_who_asked(any_api: Api, report: dict[str, Any]) -> None:
    said = report["document"]["provenance"]

    assert [one["frames"] for one in said["inputs"]] == [1, 1, 1]
    assert {one["generation"] for one in said["inputs"]} == {0}
    assert (said["left_out"], said["conflicts"]) == ({}, [])
    assert said["model"]["digest"] == report["model"]["digest"]
    assert said["job"]["asked_by"] == "admin"
    (environment,) = said["software"]["environments"]
    assert environment["packages"]["overread"] == said["software"]["overread"]
    assert {"keras", "pydicom"} <= environment["packages"].keys()
    assert said["audit_chain"] == {"sequence": 0, "digest": "0" * 64}
    (event,) = any_api.get(f"/api/v1/audit?object_kind=report&object_id={report['id']}").json["items"]
    assert (event["action"], event["detail"]["content_digest"]) == ("report.make", report["content_digest"])


def test_report_is_an_anchor_of_the_chain_that_was_there_when_it_was_made(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    job = any_api.post("/api/v1/jobs", data=zipped([("q.dcm", film("Q", 1, 1))]), **ZIP).json
    infer_next(runtime)
    later = made(any_api, job["id"])
    alter(any_api, "DELETE FROM audit_seal")
    alter(any_api, "UPDATE audit_event SET principal_id = NULL WHERE action = 'model.register'")
    seal(any_api)

    assert any_api.get("/api/v1/audit/chain").json["holds"]
    assert failed(verify(any_api, runtime, later)) == {"audit_chain"}


def test_oracle_passes_what_was_verified_and_fails_a_broken_chain(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    verify(any_api, runtime, report, sample="all")
    seal(any_api)

    def judged() -> Any:
        with reading(any_api.prepared.engine) as session:
            return judge(session, ContentStore(any_api.prepared.settings.store_dir))

    before = judged()
    altered_event(any_api, report, runtime)
    after = judged()

    assert before["passed"], before["findings"]
    assert [one["what"] for one in after["findings"]] == ["the chain of the audit trail does not hold"]


def test_sample_is_computed_again_and_the_record_is_checked_whole(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    some = verify(any_api, runtime, report, sample=2)
    none = verify(any_api, runtime, report, sample=0)

    assert [check["checked"] for check in some["checks"] if check["name"] in ("inputs", "computed_again")] == [3, 2]
    assert (some["verdict"], none["verdict"]) == ("passed", "incomplete")


def altered_probability(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    alter(api, "UPDATE prediction SET probabilities = '[0.9]' WHERE blob_sha256 = :blob", blob=blob_of(report))


def slightly_altered_probability(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    with reading(api.prepared.engine) as session:
        (value,) = session.scalars(select(Prediction).filter_by(blob_sha256=blob_of(report))).one().probabilities
    changed = f"[{value + 0.0001:.6f}]"
    alter(api, f"UPDATE prediction SET probabilities = '{changed}' WHERE blob_sha256 = '{blob_of(report)}'")


def altered_byte(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    stored = runtime.store.path(blob_of(report))
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)


def removed_bytes(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    runtime.store.path(blob_of(report)).unlink()


def altered_event(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    alter(api, "UPDATE audit_event SET principal_id = NULL WHERE action = 'model.register'")


def removed_seal(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    alter(api, "DELETE FROM audit_seal WHERE sequence = 2")


def altered_seal(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    alter(api, "UPDATE audit_seal SET digest = :digest WHERE sequence = 2", digest="f" * 64)


def altered_document(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    of_report = "REPLACE(CAST(document AS TEXT), '\"P0000\"', '\"P0009\"')"
    is_json = "jsonb" if api.prepared.engine.dialect.name == "postgresql" else "TEXT"
    alter(api, f"UPDATE report SET document = CAST({of_report} AS {is_json})")


def altered_weights(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    stored = runtime.store.path(report["document"]["provenance"]["model"]["weights_sha256"])
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)


def altered_contract_row(api: Api, report: dict[str, Any], runtime: Runtime) -> None:
    replaced = "REPLACE(CAST(contract AS TEXT), '\"threshold\": 0.5', '\"threshold\": 0.25')"
    is_json = "jsonb" if api.prepared.engine.dialect.name == "postgresql" else "TEXT"
    alter(api, f"UPDATE model_version SET contract = CAST({replaced} AS {is_json})")


def blob_of(report: dict[str, Any]) -> str:
    return str(inputs(report)[1]["blob_sha256"])


@pytest.mark.parametrize(
    ("damage", "differing"),
    [
        (altered_probability, {"predictions", "computed_again"}),
        (slightly_altered_probability, {"predictions"}),
        (altered_byte, {"inputs", "computed_again"}),
        (removed_bytes, {"inputs", "computed_again"}),
        (altered_event, {"audit_chain"}),
        (removed_seal, {"audit_chain"}),
        (altered_seal, {"audit_chain"}),
        (altered_document, {"document", "audit_event"}),
        (altered_weights, {"model"}),
        (altered_contract_row, {"model"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_altered_record_differs_and_is_named(
    any_api: Api, report: dict[str, Any], runtime: Runtime, damage: Any, differing: set[str]
) -> None:
    damage(any_api, report, runtime)

    verification = verify(any_api, runtime, report, sample="all")

    assert verification["verdict"] == "differs"
    assert failed(verification) == differing
    assert all(check["told"] for check in verification["checks"] if check["passed"] is False)


def test_later_forced_run_and_new_version_leave_the_old_report_verified(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    upload = any_api.post("/api/v1/uploads", data=films("P", 1, instances=3), **ZIP).json
    any_api.post("/api/v1/jobs", json={"uploads": [upload["id"]], "force": True})
    infer_next(runtime)
    alter(any_api, "UPDATE prediction SET probabilities = '[0.75]' WHERE generation = 1")
    job = any_api.post("/api/v1/jobs", data=zipped([("new.dcm", film("P0000", 2, 1))]), **ZIP).json
    infer_next(runtime)
    newer = made(any_api, job["id"])

    assert (newer["number"], [one["generation"] for one in inputs(newer)]) == (2, [1, 1, 1, 0])
    assert verify(any_api, runtime, report, sample="all")["verdict"] == "passed"
    assert failed(verify(any_api, runtime, newer, sample="all")) == {"computed_again"}


def test_report_from_before_provenance_is_checked_as_far_as_it_goes(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    with UnitOfWork(any_api.prepared.engine) as uow:
        row = uow.session.scalars(select(Report)).one()
        document = {name: part for name, part in row.document.items() if name != "provenance"}
        row.document, row.content_digest = document, content_digest(document)
        event = uow.session.scalars(select(AuditEvent).where(AuditEvent.object_id == report["id"])).one()
        uow.session.execute(text("DELETE FROM audit_seal"))
        event.detail = {"number": 1}

    verification = verify(any_api, runtime, report)

    passed = {check["name"]: check["passed"] for check in verification["checks"]}
    assert passed == {
        "document": True,
        "audit_event": None,
        "audit_chain": True,
        "review": True,
        "documents": True,
        "predictions": None,
        "inputs": None,
        "model": True,
        "computed_again": None,
    }
    assert (verification["state"], verification["verdict"]) == ("done", "incomplete")


@pytest.mark.parametrize("dies_in", ["worker.verification.run.note_checks", "worker.verification.run.work_through"])
def test_verification_goes_on_when_its_worker_was_killed(
    any_api: Api, report: dict[str, Any], runtime: Runtime, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    job = any_api.post(f"/api/v1/reports/{report['id']}/verify", json={"sample": "all"}).json

    def die(*_: Any, **__: Any) -> None:
        raise WorkerDied

    with monkeypatch.context() as dying:
        dying.setattr(dies_in, die)
        with pytest.raises(WorkerDied):
            infer_next(runtime)
    halfway = found(any_api, job)
    let_leases_run_out(any_api.prepared.engine)
    take_back_all(any_api.prepared.engine)
    infer_next(runtime)

    assert (halfway["verdict"], any_api.get(job["links"]["self"]).json["state"]) == ("pending", "done")
    assert found(any_api, job)["verdict"] == "passed"


def test_cancelled_verification_is_incomplete_and_can_be_retried(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    job = any_api.post(f"/api/v1/reports/{report['id']}/verify", json={"sample": 1}).json
    any_api.post(f"/api/v1/jobs/{job['id']}/cancel")

    retried = any_api.post(f"/api/v1/jobs/{job['id']}/retry").json
    infer_next(runtime)

    assert found(any_api, job)["verdict"] == "incomplete"
    assert (retried["kind"], found(any_api, retried)["verdict"]) == ("verification", "passed")


def test_verifications_and_predictions_of_one_model_are_never_taken_together(
    any_api: Api, report: dict[str, Any], runtime: Runtime
) -> None:
    other = any_api.post("/api/v1/jobs", data=zipped([("q.dcm", film("Q", 1, 1))]), **ZIP)
    assert other.status_code == 202
    first = any_api.post(f"/api/v1/reports/{report['id']}/verify", json={"sample": 1}).json
    second = any_api.post(f"/api/v1/reports/{report['id']}/verify", json={"sample": 2}).json
    infer_next(runtime)

    assert {found(any_api, job)["verdict"] for job in (first, second)} == {"passed"}
    assert made(any_api, other.json["id"])["document"]["completeness"]["predicted"] == 1
    with reading(any_api.prepared.engine) as session:
        assert rows_of(session, Prediction) == 4
        assert rows_of(session, Verification, Verification.checks.is_(None)) == 0
        assert rows_of(session, Item, Item.patient_id.is_(None)) == 5


def test_command_tells_what_differs_by_its_exit_code(
    any_api: Api, report: dict[str, Any], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work_then_watch(session: Any, job_id: str) -> Any:
        infer_next(runtime)
        return session.client.get(f"/api/v1/jobs/{job_id}")

    monkeypatch.setattr("api.cli.verification.watch_job", work_then_watch)
    with command_line(any_api) as run:
        passed = answer_of(run("report", report["id"], "--verify", "--sample", "all"))
        altered_byte(any_api, report, runtime)
        differs = answer_of(run("report", report["id"], "--verify"), exit_code=1)
        chain = answer_of(run("audit", "--check"))
        kept = answer_of(run("audit", "--check", "--kept", chain["head"]))
        foreign = answer_of(run("audit", "--check", "--kept", f"2:{'e' * 64}"), exit_code=1)
        events = answer_of(run("audit", "--action", "report.verify"))["items"]

    assert (passed["verdict"], differs["verdict"]) == ("passed", "differs")
    assert (chain["holds"], kept["holds"], foreign["broken"]["sequence"]) == (True, True, 2)
    assert [event["object_id"] for event in events] == [report["id"]] * 2


def test_routes_name_their_scopes_and_refuse_the_unknown(any_api: Api, tmp_path: Path) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"

    assert any_api.post(f"/api/v1/reports/{unknown}/verify").status_code == 404
    assert any_api.get(f"/api/v1/reports/{unknown}/verifications").status_code == 404
    assert any_api.get(f"/api/v1/jobs/{unknown}/verification").status_code == 404
    assert any_api.post(f"/api/v1/reports/{unknown}/verify", json={"sample": "some"}).status_code == 422
    assert any_api.get("/api/v1/audit?object_id=1").status_code == 422
    reader = any_api.post("/api/v1/tokens", json={"principal": "reader", "scopes": ["read"]}).json["token"]
    headers = {"Authorization": f"Bearer {reader}"}
    assert any_api.post(f"/api/v1/reports/{unknown}/verify", headers=headers).status_code == 403
    assert any_api.get("/api/v1/audit", headers=headers).status_code == 403
    assert any_api.get("/api/v1/audit/chain", headers=headers).status_code == 403
