"""Labels -> a frozen dataset snapshot, and its frames on the disk as the network takes them (arrow 6)."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from shared.datasets.document import MEDIA_TYPE, Head, Sample, read, to_bytes
from shared.datasets.split import Subject, splits_of
from shared.datasets.truth import Place, class_names, class_of, truths_of
from shared.db import reading
from shared.dicom.planes import planes_of_document
from shared.errors import NotTrainableError, PermanentError, TooFewLabelsError
from shared.model_contract import ModelContract
from shared.model_package import refusal_of
from shared.models import Dataset, ModelVersion
from shared.planning.slices import choose
from shared.reasons import Reason
from shared.repositories.claims import hold
from shared.repositories.datasets import add_dataset, drivers, instances_of, list_datasets, said_about
from shared.repositories.imaging import add_blob, lock_index
from shared.repositories.shards import Claim
from shared.repositories.splits import splits_of as settled_splits
from shared.repositories.training import note_run
from shared.slice_selection import selected_frames
from shared.states import Split
from shared.training_options import TrainingOptions
from worker.inference.decode import whole_file
from worker.runtime import Runtime

# Hears how many of how many instances were read, and ends the work by raising.
OnRead = Callable[[int, int], None]
Given = TypeVar("Given")
Found = TypeVar("Found")

NOT_READABLE = "cannot be read: "
LEARNT_BEFORE = "is of the holdout, but a version learnt from the same pixels under another patient"
SAME_AS_HOLDOUT = "shows the same pixels as a patient of the holdout"
NO_PIXELS = "has no pixel data"
# The frames of so many instances are in memory at most: an instance may have hundreds.
AT_ONCE = 4
# So many earlier snapshots of a model are looked through for what it has learnt from.
MOST_EARLIER = 1000
# A network that has seen one side only has learnt nothing.
FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Candidate:
    """A labelled instance that may come into the snapshot."""

    row: Any
    label: int
    frames: tuple[int, ...] | None


def freeze(
    runtime: Runtime,
    claim: Claim,
    version: ModelVersion,
    contract: ModelContract,
    options: TrainingOptions,
    on_read: OnRead,
) -> Dataset:
    """Make the snapshot of what is labelled now and note it in the run; raises TooFewLabelsError."""
    left_out: Counter[str] = Counter()
    with reading(runtime.engine) as session:
        candidates = _candidates(session, version, contract, left_out)
        settled = settled_splits(session, [one.row.patient_id for one in candidates])
        earlier = list_datasets(session, model=version.name, before=None, limit=MOST_EARLIER)
    learnt, before = _learnt(runtime, earlier, contract, options)
    pixels: dict[str, str] = {}
    for one, found in zip(candidates, _look(runtime, contract, candidates, on_read), strict=True):
        if isinstance(found, PermanentError):
            left_out[NOT_READABLE + found.recorded_reason] += 1
        else:
            pixels[one.row.blob_sha256] = found
    candidates = [one for one in candidates if one.row.blob_sha256 in pixels]
    splits = splits_of(_subjects(candidates, settled, pixels, before), seed=options.seed, val_share=options.val_share)
    rows = {one.row.patient_key: one.row.patient_id for one in candidates}
    samples = []
    for one in candidates:
        split = splits[one.row.patient_key]
        if split is None:
            left_out[SAME_AS_HOLDOUT] += 1
        elif split is Split.HOLDOUT and pixels[one.row.blob_sha256] in learnt:
            left_out[LEARNT_BEFORE] += 1
        else:
            samples.append(_sample(one, split, pixels[one.row.blob_sha256]))
    names = class_names(contract)
    _check_enough(samples, names, left_out)
    head = Head(model=version.name, classes=tuple(names), seed=options.seed, val_share=options.val_share)
    blob = runtime.store.put(to_bytes(head, samples))
    patients = {rows[sample.patient]: sample.split for sample in samples}
    counts = _counts(samples, names, left_out)
    with runtime.unit_of_work() as uow:
        lock_index(uow.session)
        hold(uow.session, [claim], runtime.settings.lease_s)
        add_blob(uow.session, blob.sha256, blob.size_bytes, MEDIA_TYPE)
        dataset = add_dataset(uow.session, blob.sha256, version.name, counts, patients)
        note_run(uow.session, claim.job_id, dataset_id=dataset.id)
    return dataset


def read_snapshot(runtime: Runtime, dataset: Dataset) -> list[Sample]:
    """The list as it was frozen; raises NotTrainableError where its bytes are gone or damaged."""
    if not runtime.store.is_whole(dataset.blob_sha256):
        raise NotTrainableError(
            f"the bytes of the dataset snapshot {dataset.blob_sha256[:16]} are gone or damaged, and without them "
            "nobody can tell what was learnt from; restore them from a backup",
            reason=Reason.BLOB_MISSING,
        )
    _, samples = read(runtime.store.path(dataset.blob_sha256))
    return samples


def _learnt(
    runtime: Runtime, earlier: Sequence[Dataset], contract: ModelContract, options: TrainingOptions
) -> tuple[set[str], dict[str, Split]]:
    """What versions of the model have learnt from before, as digests of pixels, and the splits to keep.

    These are of the snapshot that the version which training begins with learnt from: what it knows must not choose.
    """
    pixels: set[str] = set()
    splits: dict[str, Split] = {}
    for dataset in earlier:
        learnt = [one for one in read_snapshot(runtime, dataset) if one.split is not Split.HOLDOUT]
        pixels.update(one.pixels for one in learnt)
        if options.start == "warm" and contract.training and contract.training.data_digest == dataset.blob_sha256:
            splits = {one.patient: one.split for one in learnt}
    return pixels, splits


def _candidates(
    session: Session, version: ModelVersion, contract: ModelContract, left_out: Counter[str]
) -> list[Candidate]:
    """The instances that the model takes and that have a class."""
    said, patients = said_about(session, [finding.code for finding in contract.findings])
    rows = []
    for row in instances_of(session, patients):
        why = refusal_of(contract, row) or (None if row.has_pixel_data else NO_PIXELS)
        if why is None:
            rows.append(row)
        else:
            left_out[why] += 1
    not_selected = choose(session, contract.slices.select, [row.id for row in rows]).left_out
    rows = [row for row in rows if row.id not in not_selected]
    drove = drivers(session, version, contract, {row.blob_sha256: row.id for row in rows})
    judging = {one for one, split in settled_splits(session, patients).items() if split is Split.HOLDOUT}
    places = [Place(row.id, row.study_id, row.patient_id) for row in rows]
    truths = truths_of(places, said, contract, drove, judging)
    candidates = []
    for row in rows:
        label, why_not = class_of(contract, truths[row.id])
        if label is None:
            left_out[why_not] += 1
        else:
            planes = planes_of_document(row.planes)
            frames = selected_frames(contract.slices.select, row.number_of_frames, planes)
            candidates.append(Candidate(row, label, frames))
    return candidates


def _look(
    runtime: Runtime, contract: ModelContract, candidates: Sequence[Candidate], on_read: OnRead
) -> Iterator[str | PermanentError]:
    """The digest of what the network sees of each, decoded as it is to be predicted on, or why it cannot be."""

    def look(one: Candidate) -> str | PermanentError:
        digest = hashlib.sha256()
        try:
            for frame in _decoded(runtime, contract, one.row.blob_sha256, one.frames):
                digest.update(frame.data)
        except PermanentError as error:
            return error
        return digest.hexdigest()

    yield from _in_turn(runtime, look, candidates, on_read)


def _decoded(
    runtime: Runtime, contract: ModelContract, sha256: str, frames: tuple[int, ...] | None
) -> Iterator[NDArray[np.float32]]:
    """The frames of a stored instance; raises what `whole_file` and `Decoder.frames` do."""
    return (frame for _, frame in runtime.decoder.frames(whole_file(runtime.store, sha256), contract, frames))


def _in_turn(
    runtime: Runtime, work: Callable[[Given], Found], given: Sequence[Given], on_read: OnRead
) -> Iterator[Found]:
    """What `work` makes of each, several at once; `on_read` hears how many are done, and may end it by raising."""
    with ThreadPoolExecutor(runtime.settings.decode_processes) as pool:
        for start in range(0, len(given), AT_ONCE):
            for done, found in enumerate(pool.map(work, given[start : start + AT_ONCE]), start + 1):
                on_read(done, len(given))
                yield found


def _subjects(
    candidates: Sequence[Candidate],
    settled: Mapping[int, Split | None],
    pixels: Mapping[str, str],
    before: Mapping[str, Split],
) -> list[Subject]:
    by_patient: dict[int, list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_patient[one.row.patient_id].append(one)
    return [
        Subject(
            mine[0].row.patient_key,
            settled[patient] or before.get(mine[0].row.patient_key),
            frozenset(one.label for one in mine),
            frozenset(pixels[one.row.blob_sha256] for one in mine),
        )
        for patient, mine in by_patient.items()
    ]


def _sample(one: Candidate, split: Split, pixels: str) -> Sample:
    row = one.row
    return Sample(
        sha256=row.blob_sha256,
        patient=row.patient_key,
        study=row.study_instance_uid,
        series=row.series_instance_uid,
        study_date=row.study_date,
        site=row.site,
        scanner=row.manufacturer,
        split=split,
        label=one.label,
        frames=one.frames,
        pixels=pixels,
    )


def _check_enough(samples: Sequence[Sample], names: Sequence[str], left_out: Mapping[str, int]) -> None:
    labels = [one.label for one in samples if one.split is Split.TRAIN]
    num_val = sum(one.split is Split.VAL for one in samples)
    if len(set(labels)) >= FEWEST_CLASSES and num_val:
        return
    told = "; ".join(f"{number} left out: {why}" for why, number in left_out.items())
    raise TooFewLabelsError(
        f"of {len(samples)} labelled instances {len(labels)} are to learn from, of the classes "
        f"{', '.join(names[label] for label in sorted(set(labels))) or 'none'}, and {num_val} to choose by; two "
        "classes and one instance to choose by are needed: import more labels, or change val_share"
        f"{f' ({told})' if told else ''}"
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each came, in the order of the names."""
    return dict(sorted(Counter(values).items()))


def _counts(samples: Sequence[Sample], names: Sequence[str], left_out: Mapping[str, int]) -> dict[str, Any]:
    """What is told of a snapshot without opening it."""
    splits: dict[str, Any] = {}
    for split in Split:
        mine = [one for one in samples if one.split is split]
        splits[split] = {
            "instances": len(mine),
            "patients": len({one.patient for one in mine}),
            "classes": dict.fromkeys(names, 0) | _counted(names[one.label] for one in mine),
            "sites": _counted(one.site for one in mine),
            "scanners": _counted(one.scanner or "not named" for one in mine),
        }
    return {"splits": splits, "left_out": dict(left_out)}


def write_frames(
    runtime: Runtime, contract: ModelContract, samples: Sequence[Sample], path: Path, on_read: OnRead
) -> list[int]:
    """The frames of these samples, one after the other, as the network takes them; how many each has.

    Raises StorageFullError where there is no room for them, and what `Decoder.frames` raises: they could be read when
    the snapshot was made.
    """

    def frames(one: Sample) -> NDArray[np.float32]:
        return np.stack(list(_decoded(runtime, contract, one.sha256, one.frames)))

    counts = []
    with path.open("wb") as file:
        for found in _in_turn(runtime, frames, samples, on_read):
            runtime.store.require_room(runtime.settings.min_free_bytes)
            file.write(found.tobytes())
            counts.append(len(found))
    return counts
