"""A report as its page shows it; its parts are those of the documents, so that both say the same. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from api.documents.page import Banner, Bar, Block, Cell, Facts, Figures, Heading, Note, Table
from api.documents.sections import grounds, head, results
from api.documents.sections.slices import slices
from api.documents.text import clean
from api.documents.wording import Words
from api.web.inner import Json
from api.web.looks import Look
from shared.states import SIGNED_STATUSES


@dataclass(frozen=True)
class Part:
    """A part of the page below its title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Entry:
    """What stands in the fields of a finding."""

    verdict: str = ""
    note: str = ""


@dataclass(frozen=True)
class Seen:
    """A finding: the result, what the reviewer of this version says of it, what is in its fields, and its images."""

    code: str
    name: str
    is_judged: bool
    is_positive: bool
    bar: Bar | None
    facts: Sequence[tuple[str, Cell]]
    entry: Entry
    pictures: Sequence[Figures]
    images: Sequence[Block]
    looks: Sequence[Look]


@dataclass(frozen=True)
class Shown:
    """All that the page shows of the version itself."""

    title: str
    banner: Banner
    facts: Facts
    warnings: Sequence[Block]
    findings: Sequence[Seen]
    legend: Sequence[Block]
    review: Sequence[Part]
    parts: Sequence[Part]

    @property
    def first(self) -> Seen | None:
        """The finding whose image the viewer begins with: one that is present, if any."""
        seen = [one for one in self.findings if one.looks]
        return next((one for one in seen if one.is_positive), seen[0] if seen else None)

    @property
    def has_heat(self) -> bool:
        """Whether any of the images has a heat map."""
        return any(look.heat is not None for one in self.findings for look in one.looks)


def document_of(report: Json) -> Json:
    """The document; those from before documents told of their version say what the row does."""
    told = {name: report[name] for name in ("id", "number", "status", "created_at")}
    document: Json = {"version": told} | report["document"]
    return document


def shown(report: Json, entries: Mapping[str, Entry], words: Words) -> Shown:
    """The version in the words of the documents, with `entries` in the fields of its findings."""
    document = document_of(report)
    return Shown(
        title=head.patient_name(document, words),
        banner=head.banner(document, words),
        facts=head.facts(document, words),
        warnings=list(head.warnings(document, words)),
        findings=_findings(document, entries, words),
        legend=[one for one in results.findings(document, words) if isinstance(one, Note)],
        review=_parts(results.review(document, words)),
        parts=_parts(
            [
                *results.follow_ups(document, words),
                *grounds.trend(document, words),
                *grounds.studies(document, words),
                *slices(document, words),
                *grounds.excluded(document, words),
                *grounds.made(document, report["content_digest"], words),
            ]
        ),
    )


def entries_of(document: Json, reader: str) -> tuple[dict[str, Entry], str]:
    """What the fields begin with, by finding, and the comment: what was signed, or what the reader said themselves."""
    review = document.get("review")
    if not review or (document["version"]["status"] not in SIGNED_STATUSES and review["reviewer"] != reader):
        return {}, ""
    return {one["finding"]: Entry(one["verdict"], one["note"]) for one in review["verdicts"]}, review["comment"]


def compared(document: Json, since: int, changes: Json, words: Words) -> Part:
    """What a version says otherwise than the one of the number `since`."""
    blocks = results.changes(document | {"changes": changes | {"since": {"number": since}}}, words)
    (part,) = _parts(blocks, words.say("changes.title", number=since))
    return part


def _findings(document: Json, entries: Mapping[str, Entry], words: Words) -> list[Seen]:
    table = next((one for one in results.findings(document, words) if isinstance(one, Table)), Table((), ()))
    titles = [column.title for column in table.columns[2:]]
    rows = table.rows or [()] * len(document["findings"])
    study_of = {one["series_instance_uid"]: one["study_instance_uid"] for one in document.get("series", ())}
    return [
        _seen(one, row, titles, entries.get(one["code"], Entry()), study_of, words)
        for one, row in zip(document["findings"], rows, strict=True)
    ]


def _seen(
    finding: Json,
    row: Sequence[Cell | Bar],
    titles: Sequence[str],
    entry: Entry,
    study_of: Mapping[str, str],
    words: Words,
) -> Seen:
    """A row is the name, the bar, and a cell for each of the titles."""
    maps = {one["heat_map"]["id"] for one in finding["evidence"] if one["heat_map"]}
    blocks = list(grounds.evidence({"findings": [finding]}, maps, words))
    facts = [(title, cell) for title, cell in zip(titles, row[2:], strict=True) if isinstance(cell, Cell)]
    return Seen(
        code=finding["code"],
        name=clean(finding["display"]),
        is_judged=finding["decision"] is not None,
        is_positive=bool(finding["decision"]),
        bar=next((one for one in row if isinstance(one, Bar)), None),
        facts=[(title, cell) for title, cell in facts if cell.text or cell.small],
        entry=entry,
        pictures=[one for one in blocks if isinstance(one, Figures)],
        images=[one for one in blocks if not isinstance(one, Figures | Heading)],
        looks=list(_looks(finding, study_of, words)),
    )


def _looks(finding: Json, study_of: Mapping[str, str], words: Words) -> Iterator[Look]:
    """The frames that the result is from; those of reports from before series were told of cannot be found."""
    numbers = grounds.numbers([one["blob_sha256"] for one in finding["evidence"]], words)
    for one in finding["evidence"]:
        series, instance, frame = one["series_instance_uid"], one["sop_instance_uid"], one["frame"]
        study = study_of.get(series)
        if study is not None:
            heat = one["heat_map"]["id"] if one["heat_map"] else None
            of = [clean(finding["display"]), numbers[one["blob_sha256"]], words.say("evidence.frame_of", frame=frame)]
            yield Look(study, series, instance, frame, heat, words.list(of))


def _parts(blocks: Iterable[Block], title: str = "") -> list[Part]:
    """Blocks under the heading that they came with; those before the first one under `title`."""
    found: list[tuple[str, list[Block]]] = []
    for block in blocks:
        if isinstance(block, Heading):
            found.append((block.text, []))
        elif found:
            found[-1][1].append(block)
        else:
            found.append((title, [block]))
    return [Part(*one) for one in found]
