"""`review`, `amend`, `retract` and `quality`: what people say of reports, and how far they agree with the machine."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import click

from api.cli.client import Json
from api.cli.ids import id_argument
from api.cli.output import make_table
from api.cli.reports import REPORTS
from api.cli.session import Session, client_command
from api.cli.versions import VERSION_COLUMNS
from shared.states import Verdict

QUALITY_COLUMNS: list[tuple[str, Callable[[Json], Any]]] = [
    ("model", lambda row: f"{row['model']}:{row['model_version']}"),
    ("finding", lambda row: row["finding"]),
    ("reviewer", lambda row: row["reviewer"] or "all"),
    ("both +", lambda row: row["both_positive"]),
    ("both -", lambda row: row["both_negative"]),
    ("false +", lambda row: row["false_positive"]),
    ("false -", lambda row: row["false_negative"]),
    ("unsure", lambda row: row["unsure"]),
    ("kappa", lambda row: None if row["kappa"] is None else f"{row['kappa']:.3f}"),
    ("sensitivity", lambda row: rate_text(row["sensitivity"])),
    ("specificity", lambda row: rate_text(row["specificity"])),
]


def rate_text(rate: Json) -> str | None:
    """A share and of how many."""
    return None if rate["value"] is None else f"{rate['value']:.3f} of {rate['n']}"


def _notes(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    wrong = [code for code, equals, _ in pairs if not equals]
    if wrong:
        raise click.BadParameter(f"{wrong[0]} was given; expected FINDING=TEXT")
    return {code.strip(): text for code, _, text in pairs}


def verdict_options(command: Callable[..., None]) -> Callable[..., None]:
    """--agree, --disagree, --unsure, --note and --comment."""
    for verdict, says in (
        (Verdict.UNSURE, "neither; no label comes of it"),
        (Verdict.DISAGREE, "the opposite of the decision is true"),
        (Verdict.AGREE, "the decision is right"),
    ):
        command = click.option(
            f"--{verdict}", verdict.value, multiple=True, metavar="FINDING", help=f"Of this finding {says}. Repeatable."
        )(command)
    command = click.option(
        "--note", "notes", multiple=True, metavar="FINDING=TEXT", callback=_notes, help="A word on a finding's verdict."
    )(command)
    return click.option("--comment", help="On the whole report.  [default: what you said before]")(command)


@click.command()
@id_argument("report")
@verdict_options
@click.option("--sign", is_flag=True, help="Make it final: takes the role physician, and a verdict on every decision.")
@client_command
def review(session: Session, report_id: str, *, sign: bool, **words: Any) -> None:
    """Say of each finding of a report whether its decision is right; with --sign, sign it.

    ID is the newest version; what you said since the last results need not be said again.
    """
    _send(session, report_id, "review", _said(**words) | {"sign": sign})


@click.command()
@id_argument("report")
@verdict_options
@click.option("--reason", required=True, help="Why what was signed has to change.")
@client_command
def amend(session: Session, report_id: str, reason: str, **words: Any) -> None:
    """Change verdicts or comment of a signed report; what is not named stays. It is signed again, by you."""
    _send(session, report_id, "amend", _said(**words) | {"reason": reason})


@click.command()
@id_argument("report")
@click.option("--reason", required=True, help="Why nobody should rely on it.")
@client_command
def retract(session: Session, report_id: str, reason: str) -> None:
    """Take a signed report back, with the labels that came of it."""
    _send(session, report_id, "retract", {"reason": reason})


@click.command()
@click.option("--model", help="Only of this model: NAME or NAME:VERSION.")
@click.option("--since", metavar="TIME", help="Only what was signed since, such as 2026-01-31T00:00:00Z.")
@client_command
def quality(session: Session, model: str | None, since: str | None) -> None:
    """Show how far signed verdicts agree with the machine; reviewers saw its answer before they gave theirs."""
    query = {name: value for name, value in (("model", model), ("since", since)) if value is not None}
    answer = session.client.get("/api/v1/quality", query)
    session.show_list(answer, QUALITY_COLUMNS, "There are no signed verdicts.")
    if answer["items"] and not session.as_json:
        session.err.print(answer["caution"], markup=False, soft_wrap=True)


def _said(notes: dict[str, str], comment: str | None, **codes: Sequence[str]) -> Json:
    verdicts = [(code, verdict) for verdict in Verdict for code in codes[verdict]]
    named = [code for code, _ in verdicts]
    twice = sorted({code for code in named if named.count(code) > 1})
    if twice:
        raise click.UsageError(f"{twice[0]} has several verdicts; give one")
    alone = sorted(set(notes) - set(named))
    if alone:
        raise click.UsageError(f"--note is for {alone[0]}, which has no verdict; add --agree, --disagree or --unsure")
    findings = [{"code": code, "verdict": verdict.value, "note": notes.get(code, "")} for code, verdict in verdicts]
    return {"findings": findings} | ({} if comment is None else {"comment": comment})


def _send(session: Session, report_id: str, act: str, body: Json) -> None:
    """The content of the version that was named goes with it: whoever changes it meanwhile is told."""
    path = f"{REPORTS}/{report_id}"
    digest = session.client.get(path)["content_digest"]
    headers = {"If-Match": f'"{digest}"', "Idempotency-Key": str(uuid4())}
    made = session.client.post(f"{path}/{act}", body, headers)
    session.show(made, lambda: make_table(VERSION_COLUMNS, [made], whole=("report",)))
