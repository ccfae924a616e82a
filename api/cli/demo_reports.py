"""Fetches a job's reports when they are all there, and writes them to a folder as pages and as JSON."""

import html
import time
from collections.abc import Iterable
from pathlib import Path

from api.cli.client import Client, Json
from api.cli.errors import StartError
from api.cli.folders import make_private
from api.cli.jobs import JOBS, model_name
from api.cli.output import json_text, write_private
from api.cli.reports import REPORTS, findings_text

REPORTS_TIMEOUT_S = 60.0
POLL_S = 0.3
INDEX = "index.html"


def page_name(report: Json) -> str:
    """The file name of a report's page: its id, which says nothing of the patient."""
    return f"{report['id']}.html"


def fetch_items(client: Client, job_id: str) -> list[Json]:
    """Every item of the job."""
    items: list[Json] = client.collect(f"{JOBS}/{job_id}/items")["items"]
    return items


def fetch_reports(client: Client, job_id: str, items: Iterable[Json]) -> list[Json]:
    """The whole reports of the job's patients; the scheduler makes the last ones shortly after the job's end."""
    expected = len({item["patient_key"] for item in items if item["patient_key"] is not None})
    deadline_s = time.monotonic() + REPORTS_TIMEOUT_S
    while True:
        summaries = client.collect(REPORTS, {"job": job_id})["items"]
        if len(summaries) >= expected:
            return [client.get(f"{REPORTS}/{summary['id']}") for summary in summaries]
        if time.monotonic() > deadline_s:
            raise StartError(f"{len(summaries)} of {expected} reports are there after {REPORTS_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def write_reports(client: Client, reports: list[Json], folder: Path) -> None:
    """Each report as a page and as JSON, and a page that lists them."""
    make_private(folder)
    for report in reports:
        page = client.text(f"{REPORTS}/{report['id']}.html", "text/html")
        write_private(folder / page_name(report), page)
        write_private(folder / f"{report['id']}.json", json_text(report))
    write_private(folder / INDEX, _index(reports))


def _index(reports: list[Json]) -> str:
    ordered = sorted(reports, key=lambda report: (report["model"]["name"], report["patient"]["patient_id"]))
    rows = [
        (
            f'<a href="{page_name(report)}">{html.escape(report["patient"]["patient_id"] or "no id")}</a>',
            html.escape(model_name(report["model"])),
            html.escape(findings_text(report["findings"])),
        )
        for report in ordered
    ]
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Reports</title>\n'
        f"<h1>Reports</h1>\n<table><tr><th>Patient</th><th>Model</th><th>Findings</th></tr>\n{body}\n</table></html>\n"
    )
