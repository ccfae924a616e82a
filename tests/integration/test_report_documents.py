"""A report version -> documents: chosen by `Accept`, suffix and language, kept, and frozen with a signature."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import select

from api.documents import source as source_module
from api.documents.formats import FORMATS, Format
from shared.db import reading
from shared.models import Blob, ReportRendition
from shared.states import RenditionFormat
from tests.cohorts import films
from tests.conftest import Api
from tests.factories import claim
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from tests.reviews import physician, sign
from worker.inference.run import run_shards
from worker.runtime import Runtime

ZIP = {"content_type": "application/zip"}
JSON, HTML, PDF = "application/json", "text/html", "application/pdf"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
OTHER = Format("text/html", "html", ("en", "zh"), lambda material, language: b"another edition")


@pytest.fixture
def report(any_api: Api, runtime: Runtime, tmp_path: Path) -> dict[str, Any]:
    """A patient's report, made as the product makes it."""
    package = zip_package(accept_everything_package(tmp_path / "model"), tmp_path / "model.zip")
    assert any_api.post("/api/v1/models", data=package.read_bytes(), **ZIP).status_code == 201
    assert any_api.post("/api/v1/jobs", data=films("Secret", 1, instances=2), **ZIP).status_code == 202
    run_shards(runtime, runtime.hold([claim(any_api.prepared.engine)]))
    report_on_all(any_api.prepared.engine)
    (found,) = any_api.get("/api/v1/reports").json["items"]
    return dict(found)


def address(report: dict[str, Any], suffix: str = "") -> str:
    return f"/api/v1/reports/{report['id']}{suffix}"


def signed(api: Api, report: dict[str, Any]) -> dict[str, Any]:
    """The next version, final."""
    return dict(sign(api, physician(api), report["id"]))


def rows(api: Api, report: dict[str, Any]) -> list[ReportRendition]:
    with reading(api.prepared.engine) as session:
        statement = select(ReportRendition).where(ReportRendition.report_id == UUID(report["id"]))
        return list(session.scalars(statement.order_by(ReportRendition.id)))


def test_form_is_what_accept_prefers_or_the_address_ends_in(any_api: Api, report: dict[str, Any]) -> None:
    wanted = [
        ("", JSON),
        ("*/*", JSON),
        (BROWSER, HTML),
        ("application/pdf", PDF),
        ("application/json;q=0.2, application/pdf;q=0.9", PDF),
        ("application/*;q=0.5, text/html;q=0.1", JSON),
        ("application/json;q=0, */*", HTML),
        ("application/json; charset=utf-8", JSON),
    ]

    for accept, media_type in wanted:
        assert any_api.get(address(report), headers={"Accept": accept}).mimetype == media_type
    for suffix, media_type in ((".json", JSON), (".html", HTML), (".pdf", PDF)):
        answer = any_api.get(address(report, suffix), headers={"Accept": "image/png"})
        assert (answer.status_code, answer.mimetype) == (200, media_type)
    by_patient = f"/api/v1/patients/{report['patient']['key']}/report"
    assert any_api.get(by_patient, headers={"Accept": HTML}).text == any_api.get(address(report, ".html")).text


def test_what_a_report_is_not_is_refused_with_what_there_is(any_api: Api, report: dict[str, Any]) -> None:
    refused = any_api.get(address(report), headers={"Accept": "image/png, text/csv"})
    unknown = any_api.get(address(report, ".docx"))
    foreign = any_api.get(address(report, ".pdf?lang=fr"))

    assert (refused.status_code, refused.mimetype) == (406, "application/problem+json")
    assert all(name in refused.json["detail"] for name in (JSON, HTML, PDF, ".pdf"))
    assert (unknown.status_code, foreign.status_code) == (404, 422)
    assert ".json, .html, .pdf" in unknown.json["detail"]
    assert any_api.get(f"/api/v1/reports/{UUID(int=1)}.pdf").status_code == 404


def test_documents_are_private_and_their_names_say_nothing_of_the_patient(any_api: Api, report: dict[str, Any]) -> None:
    for suffix in (".json", ".html", ".pdf"):
        answer = any_api.get(address(report, suffix))
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert "Secret" not in str(answer.headers)
        assert b"<script" not in answer.data
    assert answer.headers["Content-Disposition"] == f'inline; filename="report-{report["id"]}.pdf"'
    assert "default-src 'none'" in any_api.get(address(report, ".html")).headers["Content-Security-Policy"]
    assert any_api.app.test_client().get(address(report, ".pdf")).status_code == 401


def test_language_is_asked_for_or_preferred_or_english(any_api: Api, report: dict[str, Any]) -> None:
    chinese = any_api.get(address(report, ".html?lang=zh"))
    preferred = any_api.get(address(report, ".html"), headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    other = any_api.get(address(report, ".html"), headers={"Accept-Language": "fr"})
    asked = any_api.get(address(report, ".html?lang=en"), headers={"Accept-Language": "zh"})

    assert "AI 初步结果" in chinese.text
    assert chinese.headers["Content-Language"] == "zh"
    assert preferred.text == chinese.text
    assert "Preliminary AI result" in other.text
    assert asked.text == other.text
    assert any_api.get(address(report, ".pdf?lang=zh")).data != any_api.get(address(report, ".pdf?lang=en")).data


def test_what_is_known_already_is_not_sent_again(any_api: Api, report: dict[str, Any]) -> None:
    for suffix in (".json", ".html", ".pdf"):
        first = any_api.get(address(report, suffix))
        again = any_api.get(address(report, suffix), headers={"If-None-Match": first.headers["ETag"]})
        other = any_api.get(address(report, suffix), headers={"If-None-Match": '"something"'})

        assert (again.status_code, again.data) == (304, b"")
        assert (other.status_code, other.data) == (200, first.data)
    assert any_api.get(address(report)).headers["ETag"] == f'W/"{report["content_digest"]}"'


def test_served_report_fits_the_published_schema(any_api: Api, report: dict[str, Any]) -> None:
    shown = any_api.get(address(report)).json
    schema = any_api.get(shown["links"]["schema"])

    assert schema.mimetype == "application/schema+json"
    Draft202012Validator(schema.json).validate(shown["document"])
    assert {"self", "schema", "html", "pdf"} <= set(shown["links"])
    assert all(any_api.get(link).status_code == 200 for link in shown["links"].values())


def test_document_is_kept_and_made_again_only_when_its_source_changes(
    any_api: Api, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = any_api.get(address(report, ".html")).data

    monkeypatch.setitem(FORMATS, RenditionFormat.HTML, OTHER)
    assert any_api.get(address(report, ".html")).data == first
    assert len(rows(any_api, report)) == 1

    monkeypatch.setattr(source_module, "EDITION", 99)
    assert any_api.get(address(report, ".html")).data == b"another edition"
    assert len(rows(any_api, report)) == 2


def test_many_who_ask_at_once_have_the_same_document(any_api: Api, report: dict[str, Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: any_api.get(address(report, ".html")), range(4)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.data for answer in answers}) == 1
    assert len(rows(any_api, report)) == 1


def test_documents_of_a_signed_version_are_those_of_the_signature_for_ever(
    any_api: Api, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    final = signed(any_api, report)
    asked = [(one.suffix, language) for one in FORMATS.values() for language in one.languages]
    addresses = [address(final, f".{suffix}?lang={language or 'en'}") for suffix, language in asked]
    frozen = {row.blob_sha256 for row in rows(any_api, final)}

    monkeypatch.setattr(source_module, "EDITION", 99)
    for kind, one in list(FORMATS.items()):
        monkeypatch.setitem(FORMATS, kind, replace(one, make=OTHER.make))
    answers = [any_api.get(one) for one in addresses]

    assert {answer.headers["ETag"].strip('"') for answer in answers} == frozen
    assert len(frozen) == len(addresses)
    assert "Final report" in answers[0].text
    with reading(any_api.prepared.engine) as session:
        assert set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(frozen)))) == frozen


def lose(blob: Path) -> None:
    blob.unlink()


def damage(blob: Path) -> None:
    blob.write_bytes(b"x")


@pytest.mark.parametrize("harm", [lose, damage])
def test_lost_document_of_a_signature_comes_back_to_the_byte_or_not_at_all(
    any_api: Api, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    final = signed(any_api, report)
    (row,) = [one for one in rows(any_api, final) if (one.format, one.language) == (RenditionFormat.HTML, "en")]
    blob = any_api.app.extensions["overread"].store.path(row.blob_sha256)
    before = blob.read_bytes()

    harm(blob)
    healed = any_api.get(address(final, ".html"))
    assert (healed.data, blob.read_bytes()) == (before, before)

    harm(blob)
    monkeypatch.setitem(FORMATS, RenditionFormat.HTML, OTHER)
    refused = any_api.get(address(final, ".html"))
    assert refused.status_code == 503
    assert row.blob_sha256 in refused.json["detail"]


def test_document_that_could_not_be_made_at_the_signature_is_frozen_when_it_first_can(
    any_api: Api, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    html = FORMATS[RenditionFormat.HTML]
    monkeypatch.setitem(FORMATS, RenditionFormat.HTML, replace(html, languages=("en",)))
    final = signed(any_api, report)
    monkeypatch.setitem(FORMATS, RenditionFormat.HTML, html)

    first = any_api.get(address(final, ".html?lang=zh")).data

    monkeypatch.setattr(source_module, "EDITION", 99)
    monkeypatch.setitem(FORMATS, RenditionFormat.HTML, OTHER)
    assert any_api.get(address(final, ".html?lang=zh")).data == first


def test_full_disk_keeps_nothing_and_serves_all_the_same(
    any_api: Api, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.errors import StorageFullError
    from shared.storage import ContentStore

    def full(*_: Any) -> None:
        raise StorageFullError("no room")

    monkeypatch.setattr(ContentStore, "put", full)

    assert any_api.get(address(report, ".html")).status_code == 200
    assert rows(any_api, report) == []
