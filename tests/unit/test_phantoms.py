"""The demo cohort is what its truth table says, on any host."""

import csv
import dataclasses
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from api.cli.phantoms import DEVICES, MIN_PATIENTS, Truth, write_cohort


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def truths(folder: Path) -> list[Truth]:
    return write_cohort(folder, patients=20, seed=3)


def by_patient(truths: list[Truth]) -> dict[str, list[Truth]]:
    groups: dict[str, list[Truth]] = defaultdict(list)
    for truth in truths:
        groups[truth.patient_id].append(truth)
    return groups


def test_labels_csv_equals_the_truths_when_read_back(folder: Path, truths: list[Truth]) -> None:
    with (folder / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))

    expected = [{key: str(value) for key, value in dataclasses.asdict(truth).items()} for truth in truths]
    assert rows == expected


def test_every_file_carries_the_identifiers_of_its_truth(folder: Path, truths: list[Truth]) -> None:
    for truth in truths:
        dataset = pydicom.dcmread(folder / truth.path)

        assert dataset.PatientID == truth.patient_id
        assert dataset.StudyInstanceUID == truth.study_instance_uid
        assert dataset.SeriesInstanceUID == truth.series_instance_uid
        assert dataset.SOPInstanceUID == truth.sop_instance_uid == dataset.file_meta.MediaStorageSOPInstanceUID
        assert dataset.StudyDate == truth.study_date
    assert len({truth.sop_instance_uid for truth in truths}) == len(truths) == len(list(folder.rglob("*.dcm")))


def test_cohort_is_the_same_byte_for_byte_when_the_seed_is(folder: Path, truths: list[Truth], tmp_path: Path) -> None:
    again = write_cohort(tmp_path, patients=20, seed=3)

    assert again == truths
    assert all((tmp_path / t.path).read_bytes() == (folder / t.path).read_bytes() for t in truths)


def test_cohort_shares_no_identifier_when_the_seed_differs(truths: list[Truth], tmp_path: Path) -> None:
    others = write_cohort(tmp_path, patients=4, seed=4)

    for name in ("patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid"):
        assert not {getattr(t, name) for t in truths} & {getattr(t, name) for t in others}


def test_cohort_is_written_as_every_device_writes(folder: Path, truths: list[Truth]) -> None:
    datasets = [pydicom.dcmread(folder / truth.path) for truth in truths]

    written = {
        (ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation)
        for ds in datasets
    }
    assert written == {
        (d.transfer_syntax_uid, d.photometric_interpretation, d.bits_stored, int(d.low < 0)) for d in DEVICES
    }


def test_pixels_use_the_range_that_the_bits_stored_give(folder: Path, truths: list[Truth]) -> None:
    for truth in truths:
        dataset = pydicom.dcmread(folder / truth.path)
        pixels = dataset.pixel_array

        low = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        assert low <= pixels.min() < pixels.max() < low + 2**dataset.BitsStored
        assert pixels.min() < 0 or not dataset.PixelRepresentation


def test_patient_truth_is_that_of_the_latest_study(truths: list[Truth]) -> None:
    for instances in by_patient(truths).values():
        latest = max(truth.study_date for truth in instances)

        assert {t.patient_label for t in instances} == {t.study_label for t in instances if t.study_date == latest}
        for study in {truth.study_instance_uid for truth in instances}:
            of_study = [truth for truth in instances if truth.study_instance_uid == study]
            assert {truth.study_label for truth in of_study} == {max(truth.label for truth in of_study)}


@pytest.mark.parametrize("patients", [MIN_PATIENTS, MIN_PATIENTS + 1])
def test_smallest_cohort_has_what_each_split_needs(patients: int, tmp_path: Path) -> None:
    truths = write_cohort(tmp_path, patients=patients, seed=11)

    for split in ("train", "val", "test"):
        assert {truth.patient_label for truth in truths if truth.split == split} == {0, 1}
    assert any(t.split == "test" and t.study_label == 1 and t.patient_label == 0 for t in truths)
    assert len(by_patient(truths)) == patients


def test_patients_of_each_kind_are_spread_over_the_splits(truths: list[Truth]) -> None:
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for instances in by_patient(truths).values():
        [(split, label)] = {(truth.split, truth.patient_label) for truth in instances}
        counts[split, label] += 1

    assert counts == {(split, label): n for split, n in (("train", 5), ("test", 3), ("val", 2)) for label in (0, 1)}


def test_studies_and_instances_vary_in_number(truths: list[Truth]) -> None:
    studies = {len({t.study_instance_uid for t in instances}) for instances in by_patient(truths).values()}
    instances: dict[str, int] = defaultdict(int)
    for truth in truths:
        instances[truth.study_instance_uid] += 1

    assert studies == {1, 2, 3}
    assert set(instances.values()) == {1, 2, 3, 4}


def test_label_is_seen_in_a_spot_but_not_in_the_brightness(folder: Path, truths: list[Truth]) -> None:
    images = []
    for truth in truths:
        dataset = pydicom.dcmread(folder / truth.path)
        image = dataset.pixel_array.astype(float)
        image = (image - image.min()) / np.ptp(image)
        images.append(1.0 - image if dataset.PhotometricInterpretation == "MONOCHROME1" else image)
        assert images[-1][:4, :4].mean() < 0.3  # air is dark, whatever the photometric interpretation
    positive = np.array([truth.label == 1 for truth in truths])

    def auc(scores: list[float]) -> float:
        values = np.array(scores)
        return float((values[positive][:, np.newaxis] > values[~positive]).mean())

    assert auc([_brightest_spot_of_a_lung(image) for image in images]) > 0.9
    assert auc([image.mean() for image in images]) < 0.75
    assert auc([np.percentile(image, 95) for image in images]) < 0.75


def test_cohort_needs_no_codec_beyond_numpy_and_pydicom(tmp_path: Path) -> None:
    absent = ("PIL", "gdcm", "pylibjpeg", "openjpeg", "rle", "jpeg_ls", "tensorflow", "keras", "scipy")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}));"
        "from pathlib import Path; from api.cli.phantoms import write_cohort;"
        f"print(len(write_cohort(Path({str(tmp_path)!r}), patients=8, seed=1)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list(tmp_path.rglob("*.dcm")))


def _brightest_spot_of_a_lung(image: np.ndarray) -> float:
    """The largest mean of a square about as large as a lesion, less that of its surroundings."""
    size = len(image)
    sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)

    def means(half: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        top, bottom, left, right = rows - half, rows + half, columns - half, columns + half
        total = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        return np.asarray(total / (2 * half) ** 2)

    rows = np.arange(int(0.3 * size), int(0.7 * size))
    best = 0.0
    for low, high in ((0.22, 0.36), (0.64, 0.78)):
        columns = np.arange(int(low * size), int(high * size))
        best = max(best, float((means(size // 22, rows, columns) - means(size // 9, rows, columns)).max()))
    return best
