"""`reports` and `report`: what the models say about patients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from api.cli.client import Json
from api.cli.ids import checked_id, id_argument
from api.cli.jobs import model_name
from api.cli.output import make_table, moment, write_private
from api.cli.report_documents import FORMS, document_at, form_of, write_out
from api.cli.report_people import SUGGESTION_COLUMNS, review_facts, with_verdicts
from api.cli.session import Session, client_command, limit_option
from api.cli.verification import sample_of, verify_report
from api.cli.versions import show_versions
from shared.states import ReportStatus

REPORTS = "/api/v1/reports"


def version_text(report: Json) -> str:
    """Its number, and that of the newest of the chain where that is another."""
    newest = report["superseded_by"]
    return f"{report['number']} (newest: {newest['number']})" if newest else str(report["number"])


REPORT_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("report", lambda report: report["id"]),
    ("patient", lambda report: report["patient"]["patient_id"]),
    ("version", version_text),
    ("status", lambda report: report["status"]),
    ("images counted", lambda report: counted_text(report["completeness"])),
    ("findings", lambda report: findings_text(report["findings"])),
    ("model", lambda report: model_name(report["model"])),
    ("created", lambda report: moment(report["created_at"])),
]
SPARE_COLUMNS = ("model", "created", "images counted", "version", "status")
FINDING_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("finding", lambda finding: finding["display"]),
    ("probability", lambda finding: probability_text(finding["probability"])),
    ("threshold", lambda finding: probability_text(finding["threshold"])),
    ("decision", lambda finding: decision_text(finding["decision"])),
    ("verdict", lambda finding: finding["verdict"]),
    ("driven by", lambda finding: "\n".join(evidence["sop_instance_uid"] for evidence in finding["evidence"])),
]

STACK_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("series", lambda stack: stack["series_instance_uid"]),
    ("selected", lambda stack: f"{stack['selected']} of {stack['slices']}"),
    ("spacing", lambda stack: "-" if stack["spacing_mm"] is None else f"{stack['spacing_mm']:.2f} mm"),
    ("gaps", lambda stack: "unknown" if stack["num_gaps"] is None else stack["num_gaps"]),
    ("duplicates", lambda stack: "unknown" if stack["num_duplicates"] is None else stack["num_duplicates"]),
]
EXCLUDED_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("instance", lambda excluded: excluded["sop_instance_uid"]),
    ("why", lambda excluded: excluded["detail"] or excluded["reason_text"]),
]


def findings_text(findings: list[Json]) -> str:
    """Each finding with its probability and decision."""
    return "\n".join(
        f"{finding['display']} {probability_text(finding['probability'])} {decision_text(finding['decision'])}"
        for finding in findings
    )


def probability_text(value: float | None) -> str:
    """A probability; a patient without a single predicted instance has none."""
    return "none" if value is None else f"{value:.3f}"


def decision_text(value: bool | None) -> str:
    """At or over the threshold or not; a background class, or nothing predicted, decides nothing."""
    return {True: "over", False: "under", None: "-"}[value]


def counted_text(completeness: Json) -> str:
    """How many of the patient's images the report rests on."""
    return f"{completeness['predicted']} of {completeness['instances']}"


@click.command()
@click.option("--model", help="Only of this model: NAME or NAME:VERSION.")
@click.option("--job", "job_id", metavar="ID", callback=checked_id("job"), help="Only of this job's patients.")
@click.option("--status", type=click.Choice([str(status) for status in ReportStatus]), help="Only with this status.")
@click.option("--unsigned", is_flag=True, help="Only where the newest version is not signed.")
@click.option("--patient", "patient_id", metavar="ID", help="Only of this patient, by the PatientID of the files.")
@limit_option
@client_command
def reports(session: Session, job_id: str | None, limit: int, *, unsigned: bool, **filters: str | None) -> None:
    """List patients' reports."""
    given = filters | {"job": job_id, "unsigned": "true" if unsigned else None}
    parameters = {name: value for name, value in given.items() if value is not None}
    answer = session.client.collect(REPORTS, parameters, limit)
    session.show_list(answer, REPORT_COLUMNS, "There are no reports.", SPARE_COLUMNS)


@click.command()
@id_argument("report")
@click.option("--format", "form", type=click.Choice(list(FORMS)), help="The document itself instead of a summary.")
@click.option("--language", type=click.Choice(["en", "zh"]), help="Of html and pdf.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
@click.option("--versions", is_flag=True, help="The chain that it belongs to instead, the oldest version first.")
@click.option("--verify", is_flag=True, help="Check its record, and predict on its images again; exit 1: it differs.")
@click.option("--sample", metavar="N|all", callback=sample_of, help="On so many of the images.  [default: 8]")
@client_command
def report(  # noqa: PLR0913 - each is an option
    session: Session,
    report_id: str,
    *,
    form: str | None,
    language: str | None,
    output: Path | None,
    versions: bool,
    verify: bool,
    sample: int | str | None,
) -> None:
    """Show a report, fetch it as a document, or verify it."""
    if versions + verify + any(given is not None for given in (form, language, output)) > 1:
        raise click.UsageError("--versions and --verify each show something of their own; leave out the other options")
    if sample is not None and not verify:
        raise click.UsageError("--sample goes with --verify")
    path = f"{REPORTS}/{report_id}"
    if versions:
        show_versions(session, path)
    elif verify:
        verify_report(session, report_id, sample)
    else:
        _show(session, path, form or (form_of(output) if output else None), language, output)


def _show(session: Session, path: str, form: str | None, language: str | None, output: Path | None) -> None:
    if form is None and not session.as_json:
        _print_summary(session, session.client.get(path))
        return
    form = form or "json"
    content = document_at(session, path, form, language)
    if output is not None:
        write_private(output, content)
        session.err.print(f"Written to {output}", markup=False)
        for line in _newer(session.client.get(path)):
            session.err.print(line, style="bold", markup=False, soft_wrap=True)
    else:
        write_out(content, form)


def _newer(report: Json) -> Iterator[str]:
    """A word where the chain has gone on since."""
    if newest := report["superseded_by"]:
        told = f"version {newest['number']}, {newest['status']}: overread report {newest['id']}"
        yield f"This is not the newest version any more; that is {told}"


def _print_summary(session: Session, report: Json) -> None:
    document = report["document"]
    for line in _newer(report):
        session.out.print(line, style="bold", markup=False, soft_wrap=True)
    if document.get("untrained"):
        session.out.print("The model is untrained: its probabilities mean nothing.", style="bold")
    facts = [
        ("report", f"{report['id']}, version {report['number']}, {report['status']}"),
        ("patient", report["patient"]["patient_id"]),
        ("model", model_name(report["model"])),
        ("computed by", [f"{one['engine']} in {one['precision']}" for one in document.get("engines", [])] or None),
        ("created", moment(report["created_at"])),
        ("images counted", counted_text(report["completeness"])),
        *review_facts(document),
    ]
    session.out.print(make_table([("", lambda fact: fact[0]), ("", lambda fact: fact[1])], facts))
    session.out.print(make_table(FINDING_COLUMNS, with_verdicts(document), title="Findings"))
    if document.get("follow_ups"):
        session.out.print(make_table(SUGGESTION_COLUMNS, document["follow_ups"], title="Follow-ups"))
    stacks = [one | stack for one in document.get("series", []) for stack in one["stacks"] if stack["slices"] > 1]
    if stacks:
        session.out.print(make_table(STACK_COLUMNS, stacks, title="Slices"))
    if document["excluded"]:
        session.out.print(make_table(EXCLUDED_COLUMNS, document["excluded"], title="Left out"))
