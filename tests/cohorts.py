"""DICOM of several patients, zipped, for tests that send a study through."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from tests.support import COHORT_TOOL, DATA_FOLDER, shared_file

ROOT = "1.2.826.0.1.3680043.10.999."


def film(patient: str, study: int, instance: int, *, level: int = 128, side: int = 64) -> bytes:
    """One image of noise about a level; equal arguments give equal bytes, UIDs and noise included."""
    noise = np.random.default_rng(abs(hash((study, instance))) % 2**32).integers(-40, 40, (side, side))
    pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
    return radiograph(patient, study, instance, pixels, name=str(level))


def radiograph(patient: str, study: int, instance: int, pixels: NDArray[np.uint8], *, name: str = "") -> bytes:
    """One 8-bit CR image (PS3.3 A.2) of pixels (rows, columns); its UIDs come of the other arguments."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.ComputedRadiographyImageStorage
    ds.SOPInstanceUID = uid.generate_uid(ROOT, [patient, str(study), str(instance), name])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID = uid.generate_uid(ROOT, [patient, str(study)])
    ds.SeriesInstanceUID = uid.generate_uid(ROOT, [patient, str(study), "series"])
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = patient, f"Test^{patient}", "", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = f"2026{study:02d}01", "120000", ""
    ds.ReferringPhysicianName, ds.StudyID, ds.Modality, ds.Manufacturer = "", str(study), "CR", ""
    ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation = 1, instance, ""
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of named files, not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def films(cohort: str, patients: int, *, studies: int = 1, instances: int = 1, side: int = 64) -> bytes:
    """A zip of that many patients' films."""
    return zipped(
        (f"{patient}/{study}/{instance}.dcm", film(f"{cohort}{patient:04d}", study, instance, side=side))
        for patient in range(patients)
        for study in range(1, studies + 1)
        for instance in range(instances)
    )


def chest_films(folder: Path, patients: int) -> Path:
    """A folder of real chest films as DICOM, of a mixed sample of patients; skips where the data is absent."""
    source = shared_file(DATA_FOLDER / "chest-xray-train.zip")
    out = folder / "chest"
    command = [sys.executable, str(COHORT_TOOL), str(source), str(out), "--patients", str(patients)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def zip_folder(folder: Path) -> bytes:
    """All DICOM files below a folder in one zip."""
    return zipped((str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.dcm")))
