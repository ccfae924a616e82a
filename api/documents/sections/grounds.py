"""What the results rest on: trend and studies, evidence, slices, what is left out, and how it was made."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from api.documents.chart import Point, day_of, trend_chart
from api.documents.page import (
    Bar,
    Block,
    Cell,
    Chart,
    Charts,
    Column,
    Facts,
    Figure,
    Figures,
    Heading,
    Note,
    Table,
    Tone,
)
from api.documents.text import clean, day, moment, probability
from api.documents.wording import Words
from shared.states import NO_MAP_TEXTS

Document = dict[str, Any]
Row = Sequence[Cell | Bar]

# Of a table; the JSON form has all. More would be pages that nobody reads, and minutes of setting them.
MOST_ROWS = 60
_NO_MAPS = {text: word.value for word, text in NO_MAP_TEXTS.items()}


def trend(document: Document, words: Words) -> Iterator[Block]:
    """A chart of each finding that several studies have a result of."""
    charts = []
    for finding in document["findings"]:
        code = finding["code"]
        known = [one for one in document.get("trend", []) if one["probabilities"].get(code) is not None]
        if finding["background"] or len(known) < 2:  # noqa: PLR2004 - one point is no trend
            continue
        days = [day(one["study_date"]) or words.say("text.unknown") for one in known]
        points = [_point(one, code, at, words) for one, at in zip(known, days, strict=True)]
        name, threshold = clean(finding["display"]), finding["threshold"]
        span = {"first": days[0], "last": days[-1], "count": len(known), "threshold": probability(threshold)}
        charts.append(Chart(name, trend_chart(points, threshold, words.say("trend.alt", finding=name, **span))))
    if charts:
        yield Heading(words.say("trend.title"))
        yield Charts(charts)
        yield Note(words.say("trend.legend"))


def _point(one: Document, code: str, at: str, words: Words) -> Point:
    value, version = one["probabilities"][code], one["model_version"]
    text = words.say("trend.point", day=at, probability=probability(value), version=version)
    return Point(day_of(one["study_date"]), value, words.say("trend.version", version=version), text)


def evidence(document: Document, pictures: Collection[int], words: Words) -> Iterator[Block]:
    """The images that each finding is from, and where in them it was seen, as far as there are `pictures`."""
    found = [(finding, one) for finding in document["findings"] for one in finding["evidence"]]
    if not found:
        return
    in_stacks = any(one["slice"] for _, one in found)
    slice_title = [("evidence.slice", 1.1, True)] if in_stacks else []
    titles = [("findings.finding", 1.5, False), ("evidence.image", 5.0, False), *slice_title]
    titles += [("evidence.frame", 0.7, True), ("findings.probability", 1.1, True)]
    columns = [Column(words.say(key), share, is_number) for key, share, is_number in titles]
    yield Heading(words.say("evidence.title"))
    names = numbers([one["blob_sha256"] for _, one in found], words)
    rows = [_image(finding, one, names[one["blob_sha256"]], words, in_stacks) for finding, one in found]
    yield from _table(columns, rows, words)
    mapped = [(finding, one) for finding, one in found if one.get("heat_map")]
    shown = [
        _figure(finding, one, names[one["blob_sha256"]], words)
        for finding, one in mapped
        if one["heat_map"]["id"] in pictures
    ]
    if shown:
        yield Figures(shown)
    missing = [str(one["heat_map"]["id"]) for _, one in mapped if one["heat_map"]["id"] not in pictures]
    if missing:
        yield Note(words.say("evidence.not_shown", ids=words.list(missing)))


def numbers(blobs: Sequence[str], words: Words) -> dict[str, str]:
    """A number for each image, which its rows and its pictures share."""
    return {
        blob: words.say("evidence.number", number=number) for number, blob in enumerate(dict.fromkeys(blobs), start=1)
    }


def _image(finding: Document, one: Document, name: str, words: Words, in_stacks: bool) -> Row:
    small = [one["sop_instance_uid"], words.say("evidence.series", uid=one["series_instance_uid"])]
    if one["conflict"]:
        small.append(words.say("evidence.conflict"))
    if reason := one.get("no_heat_map"):
        small.append(words.say("evidence.no_map", reason=words.of("no_map", _NO_MAPS.get(reason, ""), reason)))
    place = one["slice"]
    of = words.say("text.of", part=place["number"], whole=place["of"]) if place else ""
    return [
        Cell(clean(finding["display"])),
        Cell(name, small),
        *([Cell(of)] if in_stacks else []),
        Cell(str(one["frame"])),
        Cell(probability(one["probability"])),
    ]


def _figure(finding: Document, one: Document, name: str, words: Words) -> Figure:
    display, frame, place = clean(finding["display"]), one["frame"], one["slice"]
    places = [words.say("evidence.slice_of", part=place["number"], whole=place["of"])] if place else []
    caption = words.say(
        "evidence.caption",
        image=name,
        place=words.list([*places, words.say("evidence.frame_of", frame=frame)]),
        finding=display,
        probability=probability(one["probability"]),
    )
    alt = words.say("evidence.alt", uid=one["sop_instance_uid"], finding=display, frame=frame)
    return Figure(one["heat_map"]["id"], caption, alt)


def studies(document: Document, words: Words) -> Iterator[Block]:
    """Every study, the newest first, each result with the version of the model that it is from."""
    points = {one["study_instance_uid"]: one for one in document.get("trend", [])}
    now = {"model_version": document["model"]["version"]}
    titles = (("date", 1.1), ("modality", 1.0), ("study", 3.6), ("counted", 0.8), ("model", 0.9), ("results", 1.8))
    rows = [
        _study(document, one, points.get(one["study_instance_uid"], one | now), words)
        for one in sorted(document["studies"], key=lambda one: one["study_date"], reverse=True)
    ]
    yield Heading(words.say("studies.title"))
    yield from _table([Column(words.say(f"studies.{key}"), share) for key, share in titles], rows, words)


def _study(document: Document, one: Document, point: Document, words: Words) -> Row:
    results = [
        f"{clean(finding['display'])}\N{NO-BREAK SPACE}{probability(value)}"
        for finding in document["findings"]
        if (value := point["probabilities"].get(finding["code"])) is not None
    ]
    return [
        Cell(day(one["study_date"]) or words.say("text.unknown")),
        Cell(clean(words.list(one["modalities"]))),
        Cell(one["study_instance_uid"], [words.say("studies.conflict")] if one["conflict"] else [], Tone.FINE),
        Cell(words.say("text.yes" if one["in_scope"] else "text.no")),
        Cell(words.say("trend.version", version=point["model_version"]) if results else ""),
        Cell("", results or [words.say("text.none")]),
    ]


def excluded(document: Document, words: Words) -> Iterator[Block]:
    """What is left out and why: each reason with how often, then the images."""
    said = document["excluded"]
    if not said:
        return
    yield Heading(words.say("excluded.title"))
    columns = [Column(words.say("excluded.instance"), 3.0), Column(words.say("excluded.why"), 4.0)]
    counts = Counter(_why(one, words) for one in said)
    if len(said) > MOST_ROWS:
        yield Facts([(str(count), Cell(reason)) for reason, count in counts.most_common()])
    yield from _table(columns, [_left_out(one, words) for one in said], words)


def _left_out(one: Document, words: Words) -> Row:
    return [Cell(one["sop_instance_uid"], tone=Tone.FINE), Cell(_why(one, words))]


def _why(one: Document, words: Words) -> str:
    return words.of("reason", one["reason"], one["reason_text"])


def _table(columns: Sequence[Column], rows: Sequence[Row], words: Words) -> Iterator[Block]:
    yield Table(columns, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        yield Note(words.say("text.more", count=len(rows) - MOST_ROWS))


def made(document: Document, content_digest: str, words: Words) -> Iterator[Block]:
    """Model, versions and rules, to the digest."""
    version, model, said = document["version"], document["model"], document["completeness"]
    digest = words.say("made.digest", digest=model["digest"])
    counts = words.say("made.images", predicted=said["predicted"], instances=said["instances"])
    scope = document["time_scope"]
    engines = [_engine(one, words) for one in document.get("engines", [])]
    rules = {level: _rule(rule, words) for level, rule in document["aggregation"].items()}
    provenance = document.get("provenance") or {}
    inputs = [one for one in provenance.get("inputs", []) if one.get("counted", True)]
    software, seal = provenance.get("software"), provenance.get("audit_chain")
    pairs = [
        ("made.report", Cell(_version(version, words), [version["id"]])),
        ("made.content", Cell(words.say("made.digest", digest=content_digest), _basis(document, words))),
        (
            "patient.model",
            Cell(words.say("patient.model_text", name=model["name"], version=model["version"]), [digest]),
        ),
        ("made.use", Cell(clean(model["intended_use"] or "") or words.say("made.use_unknown"))),
        ("made.counts", Cell(counts, [words.of("scope", scope["kind"]).format(**scope)])),
        ("made.computed", Cell(words.list(engines)) if engines else None),
        ("made.combined", Cell(words.say("made.combined_text", **rules))),
        ("made.inputs", Cell(words.say("made.inputs_text", count=len(inputs))) if inputs else None),
        ("made.software", Cell(words.list(_software(software))) if software else None),
        ("made.chain", _seal(seal, words) if seal and seal["digest"] else None),
    ]
    yield Heading(words.say("made.title"))
    yield Facts([(words.say(key), cell) for key, cell in pairs if cell])


def _version(version: Document, words: Words) -> str:
    return words.say("patient.report_text", number=version["number"], at=moment(version["created_at"]))


def _basis(document: Document, words: Words) -> list[str]:
    """What lay before whoever signed."""
    signed = (document.get("review") or {}).get("signed")
    if not signed:
        return []
    signs = signed["signs"]
    return [words.say("made.basis", number=signs["number"], digest=signs["content_digest"])]


def _software(software: Document) -> list[str]:
    """Overread, and what the predictions were computed with, several versions of one beside each other."""
    own = ("overread", software["overread"])
    packages = {pair for one in software["environments"] if one for pair in one["packages"].items()}
    return [clean(" ".join(pair)) for pair in [own, *sorted(packages - {own})]]


def _seal(seal: Document, words: Words) -> Cell:
    return Cell(f"{seal['sequence']}:{seal['digest']}", [words.say("made.chain_text")])


def _engine(one: Document, words: Words) -> str:
    return words.say("made.engine_batch" if one["batch_size"] else "made.engine", **one)


def _rule(rule: Document, words: Words) -> str:
    return words.of("rule", rule["kind"]).format(**rule)
