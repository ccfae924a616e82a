"""What people made of a report is part of its record: altered rows and documents of a signed version are found."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.models import AuditEvent, Report
from shared.reports.digest import content_digest
from shared.unit_of_work import UnitOfWork
from tests.cohorts import films
from tests.conftest import Api
from tests.integration.test_report_verification import ZIP, alter, failed, made, seal, verify
from tests.model_samples import accept_everything_package, zip_package
from tests.reviews import physician, sign
from worker.runtime import Runtime
from worker.tasks import infer_next


@pytest.fixture
def final(any_api: Api, runtime: Runtime, tmp_path: Path) -> dict[str, Any]:
    """A signed report, sealed."""
    package = zip_package(accept_everything_package(tmp_path / "model"), tmp_path / "model.zip")
    assert any_api.post("/api/v1/models", data=package.read_bytes(), **ZIP).status_code == 201
    job = any_api.post("/api/v1/jobs", data=films("P", 1, instances=2), **ZIP).json
    infer_next(runtime)
    signed = sign(any_api, physician(any_api), made(any_api, job["id"])["id"])
    seal(any_api)
    return dict(any_api.get(f"/api/v1/reports/{signed['id']}").json)


def test_signed_report_verifies_with_its_review_and_documents(
    any_api: Api, final: dict[str, Any], runtime: Runtime
) -> None:
    verification = verify(any_api, runtime, final, sample="all")

    assert verification["verdict"] == "passed"
    checked = {check["name"]: check["checked"] for check in verification["checks"]}
    assert (checked["audit_event"], checked["review"]) == (1, 2)
    assert checked["documents"] >= 7


def forged_document(api: Api, final: dict[str, Any], runtime: Runtime) -> None:
    """With its digest, and an event of it that the scheduler then seals like any other."""
    with UnitOfWork(api.prepared.engine) as uow:
        row = uow.session.scalars(select(Report).where(Report.status == "final")).one()
        forged = json.loads(json.dumps(row.document))
        forged["findings"][0]["probability"] = 0.01
        row.document, row.content_digest = forged, content_digest(forged)
        event = uow.session.scalars(select(AuditEvent).where(AuditEvent.action == "report.sign")).one()
        detail = event.detail | {"content_digest": row.content_digest}
        again = {name: getattr(event, name) for name in ("at", "principal_id", "action", "object_kind", "object_id")}
        uow.session.add(AuditEvent(**again, detail=detail))
    seal(api)


@pytest.mark.parametrize(
    ("statement", "differing"),
    [
        ("UPDATE review_verdict SET value = NOT value", {"review"}),
        ("UPDATE review_verdict SET verdict = 'disagree'", {"review"}),
        ("UPDATE review SET comment = 'another'", {"review"}),
        ("UPDATE review SET principal_id = 1", {"review"}),
        ("UPDATE label SET value = NOT value", {"review"}),
        ("DELETE FROM label", {"review"}),
        ("UPDATE report SET principal_id = 1 WHERE status = 'final'", {"audit_event", "review"}),
        ("UPDATE report SET signs = NULL", {"document"}),
        (
            "UPDATE report_rendition SET blob_sha256 = (SELECT weights_sha256 FROM model_version) WHERE format = 'pdf'",
            {"documents"},
        ),
        ("DELETE FROM report_rendition WHERE format = 'html'", {"documents"}),
    ],
)
def test_altered_rows_of_what_people_did_are_found(
    any_api: Api, final: dict[str, Any], runtime: Runtime, statement: str, differing: set[str]
) -> None:
    alter(any_api, statement)

    assert failed(verify(any_api, runtime, final)) == differing


def test_forged_document_is_found_although_an_event_of_it_was_sealed(
    any_api: Api, final: dict[str, Any], runtime: Runtime
) -> None:
    forged_document(any_api, final, runtime)

    assert failed(verify(any_api, runtime, final)) == {"audit_event"}


def test_altered_byte_of_a_frozen_document_is_found(any_api: Api, final: dict[str, Any], runtime: Runtime) -> None:
    page = any_api.get(f"/api/v1/reports/{final['id']}.pdf")
    stored = runtime.store.path(page.headers["ETag"].strip('"'))
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)

    assert failed(verify(any_api, runtime, final)) == {"documents"}
