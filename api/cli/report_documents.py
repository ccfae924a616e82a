"""A report's documents: which forms there are, and where their bytes go."""

import sys
from pathlib import Path

import click

from api.cli.output import json_text
from api.cli.session import Session

# By the name of a form, what its address and its files end in.
FORMS = {
    "json": ".json",
    "html": ".html",
    "pdf": ".pdf",
    "sr": ".sr.dcm",
    "sc": ".sc.zip",
    "fhir-r4b": ".r4b.json",
    "fhir-r5": ".r5.json",
}
# Ends of files that people give beside those.
_ALSO = {".htm": "html", ".dcm": "sr", ".zip": "sc"}
TEXTS = frozenset({"json", "html", "fhir-r4b", "fhir-r5"})


def form_of(path: Path) -> str:
    """The form that a file's name ends in, the longest end first."""
    ends = {end: form for form, end in FORMS.items()} | _ALSO
    for end in sorted(ends, key=len, reverse=True):
        if path.name.lower().endswith(end):
            return ends[end]
    raise click.UsageError(f"{path.name} ends in no form of a report; expected {', '.join(ends)}, or --format")


def document_at(session: Session, path: str, form: str, language: str | None) -> bytes:
    """The document of the report at this path."""
    if form == "json":
        return f"{json_text(session.client.get(path))}\n".encode()
    return session.client.content(path + FORMS[form], {"lang": language} if language else None)


def write_out(content: bytes, form: str) -> None:
    """To standard output; what is no text not to a terminal, which would obey it."""
    if sys.stdout.isatty() and form not in TEXTS:
        raise click.UsageError("that is no text for a terminal; write it to a file with -o, or pipe it")
    click.echo(content, nl=False)
