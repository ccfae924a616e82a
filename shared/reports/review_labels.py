"""The verdicts of a signed version -> what they say of studies. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True)
class Word:
    """What a review says of one finding of one study; no value: it does not know, whatever it said before."""

    study_instance_uid: str
    finding: str
    value: bool | None


def leading_blobs(document: Document) -> dict[str, str]:
    """By finding, the sha256 of the instance that leads its evidence."""
    return {one["code"]: one["evidence"][0]["blob_sha256"] for one in document["findings"] if one["evidence"]}


def words_of(document: Document, study_of: Mapping[str, str]) -> list[Word]:
    """What the document's review says of the studies that its result rests on; `study_of` a blob, its study's UID.

    A negative word speaks of each of them, a positive one of the study that the leading evidence lies in.
    """
    studies = [one["study_instance_uid"] for one in document["studies"] if one["in_scope"] and _is_known(one)]
    leading = leading_blobs(document)

    def words() -> Iterator[Word]:
        for verdict in document["review"]["verdicts"]:
            code, value = verdict["finding"], verdict["value"]
            spoken_of = [study_of[leading[code]]] if value and len(studies) > 1 else studies
            yield from (Word(uid, code, value) for uid in spoken_of)

    return list(words())


def _is_known(study: Document) -> bool:
    return any(probability is not None for probability in study["probabilities"].values())
