"""A report's source -> its page in a language. Pure."""

from collections.abc import Collection

from api.documents.page import Page
from api.documents.sections import grounds, head, results
from api.documents.sections.slices import slices
from api.documents.source import Source
from api.documents.wording import Words


def page_of(source: Source, pictures: Collection[int], words: Words) -> Page:
    """The page; `pictures` are the ids of the heat maps that can be shown."""
    document = source.document
    version = document["version"]
    named = {"number": version["number"], "status": words.say(f"status.{version['status']}")}
    blocks = (
        head.facts(document, words),
        *head.warnings(document, words),
        *results.findings(document, words),
        *results.review(document, words),
        *results.changes(document, words),
        *results.follow_ups(document, words),
        *grounds.evidence(document, pictures, words),
        *grounds.trend(document, words),
        *grounds.studies(document, words),
        *slices(document, words),
        *grounds.excluded(document, words),
        *grounds.made(document, source.content_digest, words),
    )
    return Page(
        tag=words.tag,
        title=words.say("page.title", **named),
        banner=head.banner(document, words),
        patient=head.patient_name(document, words),
        identity=head.identity(document, words),
        footer=words.say("page.footer", id=version["id"], **named),
        blocks=blocks,
    )
