"""What is predicted on: made chest films of 512 x 512 pixels and 16 bit, as files in several codings."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from api.cli.phantoms import draw_film
from tests.dicom_samples import make_dataset, make_uid, to_bytes

SIDE = 512
NUM_IMAGES = 64
POSITIVES = 0.1
PER_PATIENT = 4
WINDOW_CENTER, WINDOW_WIDTH = 32768.0, 65535.0
UNCOMPRESSED = "uncompressed"
CODINGS: dict[str, UID] = {
    UNCOMPRESSED: ExplicitVRLittleEndian,
    "JPEG 2000": JPEG2000Lossless,
    "RLE": RLELossless,
}


@dataclass
class Images:
    """Stored values, uint16 (images, rows, columns), and whether each shows a lesion."""

    values: NDArray[np.uint16]
    lesions: NDArray[np.bool_]
    _coded: dict[tuple[str, int], Dataset] = field(default_factory=dict)

    def dataset(self, coding: str, index: int) -> Dataset:
        """An image as a data set in a coding, made once."""
        key = (coding, index % NUM_IMAGES)
        if key not in self._coded:
            self._coded[key] = _dataset(self.values[key[1]], CODINGS[coding])
        return self._coded[key]


def make_images() -> Images:
    """As many different films as a benchmark needs; one in ten shows a lesion."""
    rng = np.random.default_rng(1)
    lesions = np.arange(NUM_IMAGES) % round(1 / POSITIVES) == 0
    films = [draw_film(np.random.default_rng(at), rng, SIDE, lesion=bool(lesion)) for at, lesion in enumerate(lesions)]
    return Images(np.round(np.stack(films) * 65535).astype(np.uint16), lesions)


class Cohort:
    """The files of one round: every one is another instance, of patients that no other round has."""

    def __init__(
        self,
        folder: Path,
        images: Images,
        count: int,
        name: object,
        *,
        coding: str = UNCOMPRESSED,
        per_patient: int = PER_PATIENT,
    ) -> None:
        self.folder = folder
        folder.mkdir()
        self.patients = [f"BENCH-{name}-{at // per_patient:05d}" for at in range(count)]
        self.paths = [folder / f"{at:05d}.dcm" for at in range(count)]
        for at, path in enumerate(self.paths):
            path.write_bytes(_file(images.dataset(coding, at), self.patients[at], at, CODINGS[coding]))
        # A user's files lie on the disk before they are sent: writing them out is not to go on beside what is timed.
        os.sync()

    @property
    def num_patients(self) -> int:
        """How many reports there will be."""
        return len(set(self.patients))

    @property
    def studies(self) -> list[str]:
        """The Study Instance UIDs, one for each patient."""
        return [make_uid(patient) for patient in dict.fromkeys(self.patients)]

    def remove(self) -> None:
        """Give the disk back."""
        shutil.rmtree(self.folder)


def _dataset(values: NDArray[np.uint16], syntax: UID) -> Dataset:
    window = {"WindowCenter": WINDOW_CENTER, "WindowWidth": WINDOW_WIDTH}
    dataset = make_dataset(values, Modality="CR", BodyPartExamined="CHEST", **window)
    if syntax != ExplicitVRLittleEndian:
        dataset.file_meta = FileMetaDataset()
        dataset.compress(syntax, values, generate_instance_uid=False)
    return dataset


def _file(dataset: Dataset, patient: str, at: int, syntax: UID) -> bytes:
    dataset.PatientID = patient
    dataset.StudyInstanceUID = make_uid(patient)
    dataset.SeriesInstanceUID = make_uid(patient, "series")
    dataset.SOPInstanceUID = make_uid(patient, at)
    return to_bytes(dataset, syntax)
