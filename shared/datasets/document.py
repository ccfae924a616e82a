"""The frozen list itself: JSON lines, a head and a line for each instance; its sha256 is the snapshot's name."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.states import Split

MEDIA_TYPE = "application/x-ndjson"
SCHEMA: Literal["overread.dataset/1"] = "overread.dataset/1"


class Head(BaseModel):
    """For which model the list was made, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: Literal["overread.dataset/1"] = SCHEMA
    model: str
    classes: tuple[str, ...]
    seed: int
    val_share: float


class Sample(BaseModel):
    """An instance, whose it is and what it shows.

    `label` is the place of its class in the head's `classes`, `frames` the numbers of the frames that are taken, none
    for all, `pixels` the digest of what the network sees of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    patient: str
    study: str
    series: str
    study_date: str
    site: str
    scanner: str
    split: Split
    label: int
    frames: tuple[int, ...] | None
    pixels: str


def to_bytes(head: Head, samples: Sequence[Sample]) -> bytes:
    """The document; the same samples in any order give the same bytes."""
    lines = [_line(head), *(_line(one) for one in sorted(samples, key=lambda one: one.sha256))]
    return "".join(lines).encode()


def _line(part: BaseModel) -> str:
    fields: dict[str, Any] = part.model_dump(mode="json")
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def read(path: Path) -> tuple[Head, list[Sample]]:
    """The head and the samples, in the document's order."""
    with path.open("rb") as lines:
        head = Head.model_validate_json(next(lines))
        return head, list(_samples(lines))


def _samples(lines: Iterator[bytes]) -> Iterator[Sample]:
    for line in lines:
        yield Sample.model_validate_json(line)
