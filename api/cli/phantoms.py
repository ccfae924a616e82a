"""Demo cohort: made DICOM chest films of patients with and without a lesion, and the truth about each.

Nothing here comes from a person. The films differ as real ones do: bit depth, sign and rescale, photometric
interpretation, transfer syntax, size. `labels.csv` in the cohort's folder has a row an instance, the fields of
`Truth`: `label` is 1 where this very instance shows a lesion, `study_label` where any instance of its study does, and
`patient_label` is that of the patient's latest study, so a patient whose lesion has healed counts as 0. `split` is
train, val or test, the same for all of a patient.
"""

import csv
import dataclasses
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

Pair = tuple[float, float]
# First and last row, first and last column.
Box = tuple[int, int, int, int]

MIN_PATIENTS = 8
FIRST_DAY = date(2024, 1, 8)
UID_NAMESPACE = uuid.UUID("5f1f6a3c-3f0e-5c5b-9d0e-0d6f0b1c7a11")
# Patients come in pairs, one with a lesion and one without, that share a split; train, test and val as 5 : 3 : 2.
SPLITS = ("train", "test", "train", "val", "train", "test", "train", "test", "train", "val")
EARLIER_POSITIVE = 0.5  # chance that an earlier study of a positive patient is positive too
LUNG = 0.42  # how far the middle of a lung is from that of the film, of half its width
# Smallest and largest of: a lesion's radius (of half the film's width), its contrast, the film's exposure.
LESION_AND_EXPOSURE = ((0.11, 0.22, 0.80), (0.18, 0.44, 1.0))
SHOWN = 0.75  # chance that an instance of a positive study shows the lesion; one always does


@dataclass(frozen=True)
class Truth:
    """What is true of one instance, its study and its patient; `path` is relative to the cohort's folder."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    label: int
    split: str
    study_label: int
    patient_label: int
    study_date: str
    path: str


@dataclass(frozen=True)
class Device:
    """How one make of scanner writes its images; `low` to `high` are the stored values that it uses."""

    name: str
    modality: str
    sop_class_uid: uid.UID
    transfer_syntax_uid: uid.UID
    photometric_interpretation: str
    size: int
    bits_allocated: int
    bits_stored: int
    low: int
    high: int
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0


CR, CT = uid.ComputedRadiographyImageStorage, uid.CTImageStorage
DX = uid.DigitalXRayImageStorageForPresentation
DEVICES = (
    Device("CR-8", "CR", CR, uid.ExplicitVRLittleEndian, "MONOCHROME2", 96, 8, 8, 0, 255),
    Device("DX-12", "DX", DX, uid.ImplicitVRLittleEndian, "MONOCHROME1", 128, 16, 12, 0, 4095),
    Device("CT-16", "CT", CT, uid.ExplicitVRLittleEndian, "MONOCHROME2", 80, 16, 16, -1000, 400),
    Device("CR-10", "CR", CR, uid.RLELossless, "MONOCHROME1", 64, 16, 10, 0, 1023),
    Device("DX-16", "DX", DX, uid.DeflatedExplicitVRLittleEndian, "MONOCHROME2", 112, 16, 16, 0, 65535),
    Device("CT-12", "CT", CT, uid.ExplicitVRLittleEndian, "MONOCHROME2", 64, 16, 12, -600, 100, 2.0, 200.0),
)


def write_cohort(folder: Path, *, patients: int, seed: int) -> list[Truth]:
    """Write the cohort's files (`<patient>/<study uid>/<sop uid>.dcm`) and `labels.csv`; the same by seed.

    From MIN_PATIENTS on, each split has patients with and without a lesion, and the test one whose lesion healed.
    """
    truths = []
    for patient in _plan_patients(patients, seed):
        for truth, dataset in _instances(patient, seed):
            path = folder / truth.path
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(path, enforce_file_format=True)
            truths.append(truth)
    with (folder / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, [field.name for field in dataclasses.fields(Truth)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(truth) for truth in truths)
    return truths


@dataclass(frozen=True)
class _Patient:
    """A patient before any image is drawn: number, split, and of each study (oldest first) whether it is positive."""

    number: int
    split: str
    study_labels: tuple[int, ...]


def _plan_patients(count: int, seed: int) -> Iterator[_Patient]:
    rng = np.random.default_rng(seed)
    for index, number in enumerate(rng.permutation(count)):
        pair, negative = divmod(index, 2)
        healed = negative and pair % 5 == 1
        earlier = [
            int(healed or (not negative and rng.random() < EARLIER_POSITIVE)) for _ in range(rng.integers(healed, 3))
        ]
        yield _Patient(int(number) + 1, SPLITS[pair % len(SPLITS)], (*earlier, 1 - negative))


def _instances(patient: _Patient, seed: int) -> Iterator[tuple[Truth, Dataset]]:
    rng = np.random.default_rng([seed, patient.number])
    anatomy_seed = int(rng.integers(2**32))
    day = FIRST_DAY + timedelta(days=int(rng.integers(300)))
    for study, study_label in enumerate(patient.study_labels):
        device = DEVICES[int(rng.integers(len(DEVICES)))]
        labels = study_label * (rng.random(rng.integers(1, 5)) < SHOWN)
        labels[rng.integers(len(labels))] = study_label
        for instance, label in enumerate(labels):
            truth = _truth(patient, seed, study, instance, int(label), day)
            image = draw_film(np.random.default_rng(anatomy_seed), rng, device.size, lesion=bool(label))
            yield truth, _dataset(truth, device, image, instance + 1)
        day += timedelta(days=int(rng.integers(30, 200)))


def _truth(patient: _Patient, seed: int, study: int, instance: int, label: int, day: date) -> Truth:
    def make_uid(*parts: object) -> str:
        # A UUID made from a name gives a UID without a registered root (PS3.5, B.2).
        name = "/".join(str(part) for part in (seed, patient.number, study, *parts))
        return f"2.25.{uuid.uuid5(UID_NAMESPACE, name).int}"

    patient_id = f"PHANTOM-{seed}-{patient.number:04d}"
    return Truth(
        patient_id=patient_id,
        study_instance_uid=make_uid(),
        series_instance_uid=make_uid("series"),
        sop_instance_uid=make_uid("series", instance),
        label=label,
        split=patient.split,
        study_label=patient.study_labels[study],
        patient_label=patient.study_labels[-1],
        study_date=f"{day:%Y%m%d}",
        path=f"{patient_id}/{make_uid()}/{make_uid('series', instance)}.dcm",
    )


def draw_film(
    anatomy: np.random.Generator, view: np.random.Generator, size: int, *, lesion: bool
) -> NDArray[np.float64]:
    """Draw a chest film: `anatomy` is the patient's own and the same in each view, `view` differs in each.

    Returns
    -------
    (size, size) float64, 0 (air) to 1 (bone).
    """
    return draw_film_and_place(anatomy, view, size, lesion=lesion)[0]


def draw_film_and_place(
    anatomy: np.random.Generator, view: np.random.Generator, size: int, *, lesion: bool
) -> tuple[NDArray[np.float64], Box]:
    """The same film, and the box of pixels in which its lesion lies, or would lie."""
    axis = np.linspace(-1.0, 1.0, size)
    y, x = axis[:, np.newaxis] + view.normal(0, 0.05), axis + view.normal(0, 0.05)
    wide, tall, tilt, heart = anatomy.normal([0.30, 0.60, 0.25, 0.26], [0.02, 0.04, 0.05, 0.03])
    lungs = _disc(np.abs(x), y, (LUNG, 0.0), (wide, tall), 0.08)
    image = 0.62 * _disc(x, y, (0.0, 0.1), (0.9, 1.1), 0.05) - 0.36 * lungs
    image += 0.20 * _disc(x, y, (0.14, 0.35), (heart, 0.26), 0.2)
    image += 0.15 * np.exp(-((x / 0.10) ** 2))  # the spine
    image += 0.05 * np.cos(anatomy.normal(22, 1) * (y + tilt * x**2) + anatomy.uniform(0, 6))  # the ribs
    image += sum(_vessel(anatomy, x, y) for _ in range(14))
    place = anatomy.choice([-LUNG, LUNG]) + anatomy.uniform(-0.08, 0.08), anatomy.uniform(-0.25, 0.25)
    centre = place[0] + view.normal(0, 0.03), place[1] + view.normal(0, 0.08)  # seen from elsewhere, it lies elsewhere
    radius, contrast, exposure = view.uniform(*LESION_AND_EXPOSURE)
    if lesion:
        image += contrast * _disc(x, y, centre, (radius, radius), 0.15)
    sides = zip((x, y[:, 0]), centre, strict=True)
    columns, rows = (np.flatnonzero(np.abs(side - middle) <= radius) for side, middle in sides)
    box = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    return np.asarray(np.clip(exposure * image + view.normal(0.03, 0.035, image.shape), 0.0, 1.0)), box


def _disc(
    x: NDArray[np.float64], y: NDArray[np.float64], centre: Pair, radii: Pair, softness: float
) -> NDArray[np.float64]:
    """Return an ellipse of 1 on 0 whose edge is as wide as `softness` times its radius."""
    distance = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return np.asarray(0.5 - 0.5 * np.tanh((distance - 1.0) / softness))


def _vessel(anatomy: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a vessel seen end on: smaller than a lesion, almost as bright, so that brightness tells little."""
    x0, y0 = anatomy.choice([-LUNG, LUNG]) + anatomy.normal(0, 0.12), anatomy.normal(0, 0.25)
    width, height = anatomy.uniform(0.02, 0.06, 2)
    return np.asarray(
        anatomy.uniform(0.06, 0.28) * np.exp(-(((x - x0) / width) ** 2)) * np.exp(-(((y - y0) / height) ** 2))
    )


def _dataset(truth: Truth, device: Device, image: NDArray[np.float64], instance_number: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = device.sop_class_uid
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid.UID(truth.sop_instance_uid)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = truth.study_instance_uid, truth.series_instance_uid
    ds.PatientID, ds.PatientName = truth.patient_id, truth.patient_id.replace("-", "^", 1)
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.StudyDate = ds.AcquisitionDate = truth.study_date
    ds.StudyTime, ds.AcquisitionTime = "090000", f"0901{instance_number:02d}"
    ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.Modality, ds.BodyPartExamined, ds.PatientOrientation = device.modality, "CHEST", ""
    ds.Manufacturer, ds.StationName = "Overread phantoms", device.name
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"] if device.modality == "CT" else ["ORIGINAL", "PRIMARY"]
    ds.SeriesNumber, ds.InstanceNumber = 1, instance_number
    _set_pixels(ds, device, image)
    return ds


def _set_pixels(ds: Dataset, device: Device, image: NDArray[np.float64]) -> None:
    inverse = device.photometric_interpretation == "MONOCHROME1"
    brightness = 1.0 - image if inverse else image
    signed = device.low < 0
    dtype = np.dtype(f"<{'i' if signed else 'u'}{device.bits_allocated // 8}")
    values = np.round(device.low + brightness * (device.high - device.low)).astype(dtype)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, device.photometric_interpretation
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = device.bits_allocated, device.bits_stored, device.bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.RescaleSlope, ds.RescaleIntercept = device.rescale_slope, device.rescale_intercept
    ds.WindowWidth = (device.high - device.low) * device.rescale_slope
    ds.WindowCenter = (device.high + device.low) / 2 * device.rescale_slope + device.rescale_intercept
    if device.transfer_syntax_uid == uid.RLELossless:
        ds.compress(uid.RLELossless, values, encoding_plugin="pydicom", generate_instance_uid=False)
        return
    ds.PixelData = values.tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = device.transfer_syntax_uid
