"""A labelled cohort on disk -> preprocessed instances in memory, read exactly as inference reads them."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.config import Settings
from shared.datasets.document import Sample as Listed
from shared.dicom.read import Header, HeaderReader
from shared.errors import InvalidRequestError, PermanentError
from shared.model_contract import ModelContract
from shared.states import Split
from worker.inference.decode import Decoder
from worker.training.data import Examples

LEARNT_FROM = (Split.TRAIN, Split.VAL)
COLUMNS = frozenset({"patient_id", "sop_instance_uid", "label", "split"})


@dataclass(frozen=True)
class Label:
    """A row of labels.csv."""

    patient_id: str
    sop_instance_uid: str
    label: int
    split: str


@dataclass(frozen=True)
class Labelled:
    """An instance whose class is known: `label` is its place."""

    patient: str
    study: str
    series: str
    study_date: date | None
    sha256: str
    split: Split
    label: int


@dataclass(frozen=True)
class Sample(Labelled):
    """The same, with `frames`: float32 (frames, rows, columns, channels)."""

    frames: NDArray[np.float32]


def labelled(one: Listed) -> Labelled:
    """An instance of a snapshot."""
    return Labelled(one.patient, one.study, one.series, date_of(one.study_date), one.sha256, one.split, one.label)


def read_labels(path: Path, num_classes: int) -> list[Label]:
    """The rows of the splits train and val; those of any other split (the test) are not even kept.

    Raises InvalidRequestError when a column is missing, a label is no class, or a patient is in two splits.
    """
    with path.open(newline="") as handle:
        reader = csv.DictReader(handle)
        missing = COLUMNS - set(reader.fieldnames or ())
        if missing:
            raise InvalidRequestError(f"the labels lack the column(s) {', '.join(sorted(missing))}; add them")
        rows = list(reader)
    splits: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if splits.setdefault(row["patient_id"], row["split"]) != row["split"]:
            raise InvalidRequestError(f"labels, line {line}: this patient is in two splits; keep each in one")
        if row["split"] in LEARNT_FROM and row["label"] not in {str(index) for index in range(num_classes)}:
            raise InvalidRequestError(
                f"labels, line {line}: the label must be a whole number of 0 to {num_classes - 1}"
            )
    return [
        Label(row["patient_id"], row["sop_instance_uid"], int(row["label"]), row["split"])
        for row in rows
        if row["split"] in LEARNT_FROM
    ]


def load_samples(
    cohort: Path, labels: Iterable[Label], contract: ModelContract, settings: Settings
) -> tuple[list[Sample], int]:
    """Find the labelled instances among the files of the folder and decode them.

    Returns the samples, in the order of the labels, and how many labelled instances are missing or cannot be decoded.
    """
    paths = sorted(path for path in cohort.rglob("*") if path.is_file() and path.suffix != ".csv")
    headers, decoder = HeaderReader(settings), Decoder(settings)

    def header(path: Path) -> Header | None:
        try:
            return headers.read(path)
        except PermanentError:  # not DICOM: a readme, a thumbnail
            return None

    def sample(label: Label) -> Sample | None:
        path, found = files.get(label.sop_instance_uid, (None, None))
        if path is None or found is None:
            return None
        try:
            frames = np.stack([values for _, values in decoder.frames(path, contract)])
        except PermanentError:
            return None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Sample(
            label.patient_id,
            found.study_instance_uid,
            found.series_instance_uid,
            date_of(found.study_date),
            digest,
            Split(label.split),
            label.label,
            frames,
        )

    try:
        with ThreadPoolExecutor(settings.decode_processes) as pool:
            read = zip(paths, pool.map(header, paths), strict=True)
            files = {found.sop_instance_uid: (path, found) for path, found in read if found}
            samples = list(pool.map(sample, labels))
    finally:
        headers.close()
        decoder.close()
    return [found for found in samples if found], sum(found is None for found in samples)


def date_of(text: str) -> date | None:
    """A DICOM date as the index keeps it; None where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def data_digest(samples: Iterable[Sample]) -> str:
    """sha256 of what was trained on: every file, its label and its split, in any order."""
    lines = sorted(f"{sample.sha256} {sample.label} {sample.split}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def examples_of(samples: Sequence[Sample]) -> Examples:
    """Every frame as an example that has its instance's class."""
    frames = np.concatenate([sample.frames for sample in samples])
    classes = np.repeat([sample.label for sample in samples], [len(sample.frames) for sample in samples])
    return Examples(frames, np.arange(len(frames)), classes.astype(np.int64))
