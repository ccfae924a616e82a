"""What was found, what people say of it, what changed, and what to do next."""

from collections.abc import Iterator
from typing import Any

from api.documents.page import Bar, Block, Cell, Column, Facts, Heading, Note, Table, Tone
from api.documents.text import clean, day, due, moment, probability
from api.documents.wording import Words

Document = dict[str, Any]
MOST_STUDIES = 8  # of those that came or went


def findings(document: Document, words: Words) -> Iterator[Block]:
    """Each finding against its operating point, the reviewer's verdict beside it."""
    if document["completeness"]["predicted"] == 0:
        return
    review = document.get("review") or {}
    verdicts = {one["finding"]: one for one in review.get("verdicts", [])}
    who = "physician" if review.get("signed") else "reviewer"
    columns = [
        Column(words.say("findings.finding"), 2.2),
        Column(words.say("findings.against"), 3.0),
        Column(words.say("findings.result"), 1.4),
        Column(words.say("findings.images"), 1.2, is_number=True),
        *([Column(words.say(f"findings.{who}"), 2.6)] if verdicts else []),
    ]
    rows = []
    for one in document["findings"]:
        row = _finding(one, words)
        rows.append([*row, _verdict(verdicts.get(one["code"]), words)] if verdicts else row)
    yield Heading(words.say("findings.title"))
    yield Table(columns, rows)
    yield Note(words.say("findings.meaning"))
    yield from _calibrated(document, words)


def _finding(one: Document, words: Words) -> list[Cell | Bar]:
    value, mark = probability(one["probability"]), probability(one["threshold"])
    counts = one["counts"]
    of = words.say("text.of", part=counts["over_threshold"], whole=counts["instances"])
    return [
        Cell(clean(one["display"]), tone=Tone.STRONG if one["decision"] else Tone.PLAIN),
        Bar(one["probability"], one["threshold"], words.say("findings.bar", probability=value, threshold=mark)),
        Cell(_decision(one["decision"], words), tone=Tone.STRONG if one["decision"] else Tone.PLAIN),
        Cell(of),
    ]


def _decision(decision: bool | None, words: Words) -> str:
    key = {True: "findings.over", False: "findings.under", None: "findings.background"}[decision]
    return words.say(key)


def _verdict(one: Document | None, words: Words) -> Cell:
    if one is None:
        return Cell("")
    verdict = words.say(f"verdict.{one['verdict']}")
    note = [clean(one["note"])] if one["note"] else []
    if one["value"] is None:
        return Cell(verdict, note)
    value = words.say("value.present" if one["value"] else "value.absent")
    tone = Tone.STRONG if one["verdict"] == "disagree" else Tone.PLAIN
    return Cell(words.say("review.verdict", verdict=verdict, value=value), note, tone)


def _calibrated(document: Document, words: Words) -> Iterator[Block]:
    before = [
        words.say(
            "findings.before",
            finding=clean(one["display"]),
            probability=probability(one["uncalibrated"]["probability"]),
            threshold=probability(one["uncalibrated"]["threshold"]),
        )
        for one in document["findings"]
        if one.get("uncalibrated")
    ]
    if before:
        yield Note(words.say("findings.calibrated", before=words.list(before)))


def review(document: Document, words: Words) -> Iterator[Block]:
    """Who looked at it, and what they say beside the verdicts."""
    said = document.get("review")
    if not said:
        return
    signed = said.get("signed")
    who = "review.retracted" if document["version"]["status"] == "retracted" else "review.reviewer"
    pairs = [(who, _who(said["reviewer"], said["reviewed_at"], words))]
    pairs += [(f"review.{name}", clean(said[name])) for name in ("comment", "reason") if said.get(name)]
    pairs += [("review.signed", _who(signed["by"], signed["at"], words))] if signed else []
    yield Heading(words.say("review.title"))
    yield Facts([(words.say(key), Cell(text)) for key, text in pairs])


def _who(by: str, at: str, words: Words) -> str:
    return words.say("review.reviewer_text", by=clean(by), at=moment(at))


def changes(document: Document, words: Words) -> Iterator[Block]:
    """What this version says otherwise than the one before."""
    said = document.get("changes") or {}
    since = said.get("since")
    if since is None:
        return
    rows = [*_changed_findings(said, words), *_changed_facts(document, said, words)]
    if not rows:
        yield Note(words.say("changes.nothing", number=since["number"]))
        return
    yield Heading(words.say("changes.title", number=since["number"]))
    titles = (("changes.what", 1.2), ("changes.before", 2.0), ("changes.after", 2.0))
    yield Table([Column(words.say(key), share) for key, share in titles], rows)


def _changed_findings(said: Document, words: Words) -> Iterator[list[Cell | Bar]]:
    for one in said.get("findings", []):
        before, after = one["before"], one["after"]
        is_turned = before is None or after is None or before["decision"] != after["decision"]
        tone = Tone.STRONG if is_turned else Tone.PLAIN
        yield [Cell(clean(one["display"]), tone=tone), _result(before, words), _result(after, words)]


def _result(one: Document | None, words: Words) -> Cell:
    if one is None:
        return Cell(words.say("changes.missing"))
    if one["probability"] is None:
        return Cell(words.say("changes.no_result"))
    return Cell(
        words.say(
            "changes.result",
            probability=probability(one["probability"]),
            result=_decision(one["decision"], words),
            threshold=probability(one["threshold"]),
        )
    )


def _changed_facts(document: Document, said: Document, words: Words) -> Iterator[list[Cell | Bar]]:
    if pair := said.get("status"):
        yield _pair(words.say("changes.status"), *(words.say(f"status.{pair[side]}") for side in ("before", "after")))
    names = {one["code"]: clean(one["display"]) for one in document["findings"]}
    for one in said.get("verdicts", []):
        sides = (one[side] and words.say(f"verdict.{one[side]}") for side in ("before", "after"))
        what = words.say("changes.verdict", finding=names.get(one["code"], one["code"]))
        yield _pair(what, *(side or words.say("text.none") for side in sides))
    if pair := said.get("model_version"):
        yield _pair(words.say("changes.model"), pair["before"], pair["after"])
    if pair := said.get("images"):
        counts = (words.say("text.of", part=pair[side]["predicted"], whole=pair[side]["instances"]) for side in pair)
        yield _pair(words.say("changes.images"), *counts)
    for key, uids in (said.get("studies") or {}).items():
        if uids:
            gone = key in ("gone", "counted_no_more")
            cells = [_studies(document, uids, words), Cell("")]
            yield [Cell(words.say(f"changes.{key}")), *(cells if gone else reversed(cells))]


def _pair(what: str, before: object, after: object) -> list[Cell | Bar]:
    return [Cell(what), Cell(str(before)), Cell(str(after))]


def _studies(document: Document, uids: list[str], words: Words) -> Cell:
    """Their days; of those that this version knows nothing of, the UIDs."""
    days = {
        one["study_instance_uid"]: day(one["study_date"]) or words.say("text.unknown") for one in document["studies"]
    }
    known = [days[uid] for uid in uids if uid in days]
    more = [words.say("slices.more", count=len(uids) - MOST_STUDIES)] if len(uids) > MOST_STUDIES else []
    gone = [uid for uid in uids if uid not in days]
    return Cell(words.list([*known[:MOST_STUDIES], *more] if known else []), gone[:MOST_STUDIES])


def follow_ups(document: Document, words: Words) -> Iterator[Block]:
    """What the package's rules suggest, by when; nothing stands of what is retracted."""
    said = document.get("follow_ups")
    if not said or document["version"]["status"] == "retracted":
        return
    titles = (("due", 1.6), ("urgency", 0.8), ("what", 2.2), ("why", 1.4))
    yield Heading(words.say("follow_ups.title"))
    yield Table(
        [Column(words.say(f"follow_ups.{key}"), share) for key, share in titles],
        [
            [
                Cell(due(one["due_at"]), [words.say(f"follow_ups.from_{one['counted_from']}")], Tone.STRONG),
                Cell(
                    words.say(f"urgency.{one['urgency']}"),
                    tone=Tone.STRONG if one["urgency"] == "urgent" else Tone.PLAIN,
                ),
                Cell(words.say(f"action.{one['action']}"), [clean(one["text"])] if one["text"] else []),
                Cell(clean(one["display"])),
            ]
            for one in said
        ],
    )
