"""The slices of each series: how many were selected, how far apart they lie, which lack or are double."""

from collections.abc import Iterator
from typing import Any

from api.documents.page import Bar, Block, Cell, Column, Heading, Note, Table, Tone
from api.documents.wording import Words

Document = dict[str, Any]
MOST_STACKS = 60
FEW_SLICES = 3


def slices(document: Document, words: Words) -> Iterator[Block]:
    """A row for each stack of several slices, of FEW_SLICES where no position is known."""
    rows = []
    for series in document.get("series", []):
        rows += [_stack(series, stack, words) for stack in series["stacks"] if _is_stack(stack)]
        if rows and (more := series["num_stacks"] - len(series["stacks"])):
            rows.append(
                [
                    Cell(series["series_instance_uid"], tone=Tone.FINE),
                    Cell(words.say("slices.stacks", count=more)),
                    *_BLANK,
                ]
            )
    if not rows:
        return
    titles = (("series", 3.4), ("selected", 1.6), ("spacing", 1.2), ("gaps", 2.4))
    yield Heading(words.say("slices.title"))
    yield Table([Column(words.say(f"slices.{key}"), share) for key, share in titles], rows[:MOST_STACKS])
    if len(rows) > MOST_STACKS:
        yield Note(words.say("text.more", count=len(rows) - MOST_STACKS))


_BLANK = (Cell(""), Cell(""))


def _is_stack(stack: Document) -> bool:
    return bool(stack["slices"] >= (FEW_SLICES if stack["ordered_by"] == "number" else 2))


def _stack(series: Document, stack: Document, words: Words) -> list[Cell | Bar]:
    frames = [words.say("slices.frames", uid=stack["sop_instance_uid"])] if stack["sop_instance_uid"] else []
    select = series["select"]
    rule = [] if select["kind"] == "all" else [_rule(select, words)]
    selected = words.say("text.of", part=stack["selected"], whole=stack["slices"])
    return [Cell(series["series_instance_uid"], frames, Tone.FINE), Cell(selected, rule), *_places(stack, words)]


def _rule(select: Document, words: Words) -> str:
    if select["kind"] == "every_nth":
        return words.say("slices.every_nth", n=select["n"])
    return words.say("slices.central_share", percent=f"{100 * select['share']:g}")


def _places(stack: Document, words: Words) -> tuple[Cell, Cell]:
    if stack["ordered_by"] == "number":
        return Cell(words.say("text.unknown")), Cell(words.say("slices.unordered"))
    spacing = stack["spacing_mm"]
    faults = [
        *(words.say("slices.gap", mm=f"{gap['found_mm']:.2f}", number=gap["after"]["number"]) for gap in stack["gaps"]),
        *(
            words.say("slices.duplicate", count=len(place["images"]), number=place["number"])
            for place in stack["duplicates"]
        ),
    ]
    more = stack["num_gaps"] + stack["num_duplicates"] - len(faults)
    faults += [words.say("slices.more", count=more)] if more else []
    first, *others = faults or [words.say("text.none")]
    known = words.say("text.none") if spacing is None else words.say("slices.mm", mm=f"{spacing:.2f}")
    return Cell(known), Cell(first, others)
