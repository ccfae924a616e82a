"""What a report was made of, as its document says it and as it can be computed again from the rows. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from struct import pack
from typing import Any

Document = dict[str, Any]
# Of one blob: each frame's number with its probabilities, in order of the numbers.
Frames = Sequence[tuple[int, Iterable[float]]]
# Of one instance: its blob, why it has no predictions (else empty), whether it is in conflict, its frames.
Input = tuple[str, str, bool, Frames]

# Hexadecimal digits of the digest of a blob's vectors: 128 bits, half of sha256. The digest of all inputs is whole.
SHORT_DIGEST = 32


def inputs_of(document: Document) -> dict[str, int]:
    """The blobs that were predicted on, each with the generation of its predictions.

    None of a document from before that was recorded, or of what is no such document any more.
    """
    try:
        return {str(one["blob_sha256"]): int(one["generation"]) for one in document["provenance"]["inputs"]}
    except (KeyError, TypeError, ValueError):
        return {}


def vectors_digest(frames: Frames) -> str:
    """A digest of the probability vectors of one blob: each frame's number, then its 64-bit floats, little-endian."""
    digest = hashlib.sha256()
    for frame, vector in frames:
        told = _told(vector)
        digest.update(pack(f"<Q{len(told)}d", frame, *told))
    return digest.hexdigest()[:SHORT_DIGEST]


def _told(vector: Iterable[float]) -> list[float]:
    """Each a float, and none -0.0, which not every database gives back."""
    return [float(value) or 0.0 for value in vector]


def inputs_digest(model_digest: str, studies: Iterable[tuple[str, str, bool]], inputs: Iterable[Input]) -> str:
    """sha256 of all that a report is made of: the model, the studies (uid, date, conflict) and the instances."""
    listed = sorted(
        [blob, reason, conflict, [[frame, _told(vector)] for frame, vector in frames]]
        for blob, reason, conflict, frames in inputs
    )
    said = [model_digest, sorted(list(study) for study in studies), listed]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def digest_of_document(document: Document, predicted: Mapping[str, Frames]) -> str:
    """The digest of the inputs that a document names, with these frames of their blobs."""
    said = document["provenance"]
    conflicts = set(said["conflicts"])
    inputs = [(one["blob_sha256"], "", predicted.get(one["blob_sha256"], ())) for one in said["inputs"]]
    inputs += [(blob, reason, ()) for reason, blobs in said["left_out"].items() for blob in blobs]
    studies = [(one["study_instance_uid"], one["study_date"], one["conflict"]) for one in document["studies"]]
    return inputs_digest(
        document["model"]["digest"],
        studies,
        [(blob, reason, blob in conflicts, frames) for blob, reason, frames in inputs],
    )
