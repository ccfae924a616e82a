"""What is predicted on: made chest films of 512 x 512 pixels and 16 bit, four a patient, as files."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.cli.phantoms import draw_film
from tests.dicom_samples import dicom_bytes, make_uid

SIDE = 512
NUM_IMAGES = 64
POSITIVES = 0.1
PER_PATIENT = 4
WINDOW_CENTER, WINDOW_WIDTH = 32768.0, 65535.0


@dataclass(frozen=True)
class Images:
    """Stored values, uint16 (images, rows, columns), and whether each shows a lesion."""

    values: NDArray[np.uint16]
    lesions: NDArray[np.bool_]


def make_images() -> Images:
    """As many different films as a benchmark needs; one in ten shows a lesion."""
    rng = np.random.default_rng(1)
    lesions = np.arange(NUM_IMAGES) % round(1 / POSITIVES) == 0
    films = [draw_film(np.random.default_rng(at), rng, SIDE, lesion=bool(lesion)) for at, lesion in enumerate(lesions)]
    return Images(np.round(np.stack(films) * 65535).astype(np.uint16), lesions)


class Cohort:
    """The files of one round: every one is another instance, of patients that no other round has."""

    def __init__(self, folder: Path, images: Images, count: int, number: int) -> None:
        self.folder = folder
        folder.mkdir()
        self.paths = [folder / f"{at:05d}.dcm" for at in range(count)]
        for at, path in enumerate(self.paths):
            path.write_bytes(_file(images.values[at % NUM_IMAGES], number, at))

    @property
    def num_patients(self) -> int:
        """How many reports there will be."""
        return -(-len(self.paths) // PER_PATIENT)

    def zipped(self) -> Path:
        """All files in one zip, stored."""
        path = self.folder / "all.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in self.paths:
                archive.write(file, file.name)
        return path

    def remove(self) -> None:
        """Give the disk back."""
        shutil.rmtree(self.folder)


def _file(values: NDArray[Any], number: int, at: int) -> bytes:
    patient = f"BENCH-{number}-{at // PER_PATIENT:05d}"
    return dicom_bytes(
        values,
        PatientID=patient,
        StudyInstanceUID=make_uid(patient),
        SeriesInstanceUID=make_uid(patient, "series"),
        SOPInstanceUID=make_uid(patient, at),
        Modality="CR",
        BodyPartExamined="CHEST",
        WindowCenter=WINDOW_CENTER,
        WindowWidth=WINDOW_WIDTH,
    )
