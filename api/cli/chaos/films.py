"""Many small made films: distinct, quick to make, of no person."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

SIDE = 32
ROOT = "2.25."
UID_DIGITS = 38


@dataclass(frozen=True)
class Patient:
    """A made patient of one study; `number` makes it unlike all others of the same run."""

    run: int
    number: int
    instances: int


def zip_of(patients: Sequence[Patient]) -> bytes:
    """Their films in one zip; equal patients give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for patient in patients:
            for instance in range(patient.instances):
                # A fixed time: the zip's bytes are to be the same each time.
                name = zipfile.ZipInfo(f"{patient.number}/{instance}.dcm", (2026, 1, 1, 0, 0, 0))
                archive.writestr(name, film(patient, instance))
    return buffer.getvalue()


def film(patient: Patient, instance: int) -> bytes:
    """One 8-bit CR image (PS3.3 A.2) of noise."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.ComputedRadiographyImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(patient, 2, instance)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(patient, 0, 0), _uid(patient, 1, 0)
    ds.PatientID = f"CHAOS-{patient.run}-{patient.number:07d}"
    ds.PatientName, ds.PatientBirthDate, ds.PatientSex = f"Chaos^{patient.number}", "", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260101", "120000", ""
    ds.ReferringPhysicianName, ds.StudyID, ds.Modality, ds.Manufacturer = "", "1", "CR", "Overread chaos"
    ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation = 1, instance + 1, ""
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIDE
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.WindowCenter, ds.WindowWidth = 128, 256
    noise = np.random.default_rng([patient.run, patient.number, instance]).integers(0, 256, (SIDE, SIDE))
    ds.PixelData = noise.astype(np.uint8).tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _uid(patient: Patient, kind: int, instance: int) -> uid.UID:
    number = ((patient.run << 40 | patient.number) << 2 | kind) << 16 | instance
    return uid.UID(f"{ROOT}{number % 10**UID_DIGITS}")
