"""Every document of patients' reports, asked for as a user does: over HTTP, one after the other, each made anew."""

import time
from pathlib import Path
from typing import Any

import httpx

from shared.states import RenditionFormat
from tests.cohorts import films
from tests.model_samples import accept_everything_package, zip_package
from tests.system import System, running_system


def seconds_of_each(folder: Path, patients: int) -> list[tuple[str, str, str]]:
    """Rows of the table: of each format, the seconds for all patients; what is not there is named."""
    with running_system() as system:
        package = zip_package(accept_everything_package(folder / "model"), folder / "model.zip")
        system.add_model(package)
        job = system.submit(films("P", patients), explain="all")
        system.finished(job["id"], timeout_s=600.0)
        reports = system.reports(job["id"], patients)
        return [_row(system, reports, kind) for kind in RenditionFormat]


def _row(system: System, reports: list[dict[str, Any]], kind: RenditionFormat) -> tuple[str, str, str]:
    name = f"documents, {kind.value}"
    links = [report["links"].get(kind.value) for report in reports]
    if not all(links):
        return name, "", "not there"
    began, size = time.perf_counter(), 0
    for link in links:
        answer = system.http.get(link)
        assert answer.status_code == httpx.codes.OK, answer.text
        size += len(answer.content)
    seconds = time.perf_counter() - began
    return name, f"{len(links)} reports", f"{seconds:.1f} s, {size / len(links) / 1000:,.0f} kB each"
