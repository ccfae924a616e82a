"""A report that a job led to -> DICOM SR, Secondary Capture and FHIR, by way of the database, on each kind of it."""

import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pydicom
import pytest
from highdicom.sr import srread
from pydicom.sr.codedict import codes
from sqlalchemy import select, update

from api.documents.fhir import make_fhir
from api.documents.secondary_capture import make_secondary_captures
from api.documents.source import Source, source_of
from api.documents.sr import make_sr
from api.services import services
from shared.db import reading
from shared.models import Report
from shared.reports.digest import content_digest
from shared.repositories.reports import get_report
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.integration.test_heat_maps import SIDE, send, square, submit
from tests.integration.test_job_to_report import reports, work
from tests.model_samples import accept_everything_package, zip_package
from tests.reviews import physician, sign
from tests.validators import validated
from worker.runtime import Runtime


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("package")
    return zip_package(accept_everything_package(folder / "model", side=SIDE), folder / "model.zip").read_bytes()


def source_from(api: Api, report_id: str) -> Source:
    """As a route reads it."""
    with api.app.app_context(), reading(services().engine) as session:
        report = get_report(session, UUID(report_id))
        assert report is not None
        return source_of(session, report.document, report.content_digest, report.model_version)


def a_report(api: Api, package: bytes, runtime: Runtime) -> dict[str, Any]:
    """Of a patient whose one film is positive."""
    job = submit(api, send(api, package, bright=1, dark=0))
    work(runtime)
    (report,) = reports(api, job["id"])
    return report


def test_report_becomes_valid_dicom_and_fhir(any_api: Api, package: bytes, runtime: Runtime, tmp_path: Path) -> None:
    report = a_report(any_api, package, runtime)
    stored = pydicom.dcmread(io.BytesIO(square(0, is_bright=True)))

    source = source_from(any_api, report["id"])
    with any_api.app.app_context():
        sr, captures = make_sr(source), make_secondary_captures(source, services().pictures)
        bundles = [json.loads(make_fhir(source, release)) for release in ("4.3", "5.0")]

    assert validated(sr, tmp_path) == []
    found = srread(io.BytesIO(sr))
    assert (found.PatientID, found.StudyInstanceUID) == (stored.PatientID, stored.StudyInstanceUID)
    # The film names no issuer, so the site's name is none of its patient's number.
    assert "IssuerOfPatientID" not in found
    for keyword in ("StudyTime", "StudyDescription", "AccessionNumber", "TimezoneOffsetFromUTC"):
        assert found[keyword] == stored[keyword]
    row = (stored.StudyInstanceUID, stored.SeriesInstanceUID, stored.SOPInstanceUID, stored.SOPClassUID)
    assert found.get_evidence() == [row]
    (group,) = found.content.get_image_measurement_groups()
    (probability,) = group.get_measurements(codes.DCM.Probability)
    assert probability.value == report["findings"][0]["probability"]
    with zipfile.ZipFile(io.BytesIO(captures)) as archive:
        (name,) = archive.namelist()
        image = pydicom.dcmread(io.BytesIO(archive.read(name)))
        assert validated(archive.read(name), tmp_path) == []
    assert (image.StudyInstanceUID, image.Modality) == (stored.StudyInstanceUID, "CR")
    assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == stored.SOPInstanceUID
    for bundle in bundles:
        values = [one["resource"].get("valueQuantity") for one in bundle["entry"]]
        assert [one["value"] for one in values if one] == [report["findings"][0]["probability"]]


def test_signed_report_names_the_one_that_it_follows(any_api: Api, package: bytes, runtime: Runtime) -> None:
    report = a_report(any_api, package, runtime)
    final = sign(any_api, physician(any_api), report["id"])

    before, after = (pydicom.dcmread(io.BytesIO(make_sr(source_from(any_api, one["id"])))) for one in (report, final))

    (study,) = after.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (before.StudyInstanceUID, before.SeriesInstanceUID)
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert (before.InstanceNumber, after.InstanceNumber) == (1, 2)
    assert after.SeriesInstanceUID == before.SeriesInstanceUID


def test_report_from_before_documents_named_their_version(any_api: Api, package: bytes, runtime: Runtime) -> None:
    report = a_report(any_api, package, runtime)
    with UnitOfWork(any_api.prepared.engine) as uow:
        row = uow.session.scalars(select(Report)).one()
        old = {name: part for name, part in row.document.items() if name not in ("version", "changes", "trend")}
        changed = {"document": old, "content_digest": content_digest(old)}
        uow.session.execute(update(Report).values(**changed))

    source = source_from(any_api, report["id"])

    made = pydicom.dcmread(io.BytesIO(make_sr(source)))
    zone = datetime.strptime(made.TimezoneOffsetFromUTC, "%z").tzinfo
    day = datetime.fromisoformat(report["created_at"]).astimezone(zone).strftime("%Y%m%d")
    assert (made.PreliminaryFlag, made.ContentDate) == ("PRELIMINARY", day)
    (told,) = (
        one["resource"]
        for one in json.loads(make_fhir(source, "5.0"))["entry"]
        if one["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert told["identifier"][0]["value"] == f"urn:uuid:{report['id']}"
