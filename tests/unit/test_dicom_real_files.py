"""Real files: frames are what plain pydicom gives, and one image is one image in every lossless coding."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut

from shared.config import Settings
from shared.dicom.pixels import Frame, iter_frames, modality_values
from shared.dicom.read import ReadLimits
from shared.errors import PermanentError
from tests.support import DATA_FOLDER, shared_file

LIMITS = ReadLimits.of_settings(Settings())
REVIEWED = {
    "OBXXXX1A_expb.dcm": "big endian palette, whose words plain pydicom does not swap; equals OBXXXX1A.dcm here",
    "OBXXXX1A_expb_2frame.dcm": "the same",
}


def test_frames_equal_plain_pydicoms_for_each_of_its_own_files() -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files"
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in {".dcm", ""} and path.is_file()]

    differing, decoded = compare_with_pydicom(paths)

    assert differing == []
    assert decoded > 60


def compare_with_pydicom(paths: list[Path]) -> tuple[list[str], int]:
    """Names of the files where frames and plain pydicom's pixel_array differ, and how many files it decodes."""
    differing, decoded = [], 0
    for path in paths:
        expected = plain_frames(path)
        try:
            found = [frame.values for frame in iter_frames(path, LIMITS)]
        except PermanentError:
            found = []
        decoded += bool(expected)
        if len(found) != len(expected) or not all(map(np.array_equal, found, expected)):
            differing.append(path.name)
    return differing, decoded


def plain_frames(path: Path) -> list[NDArray[Any]]:
    """What a script gets that knows nothing of Overread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            pixels = dataset.pixel_array
        except Exception:  # noqa: BLE001 - whatever it is, the script has no image
            return []
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
    is_colour = dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR"
    return list(pixels) if pixels.ndim - is_colour == 3 else [pixels]


@pytest.mark.parametrize("name", ["transfer-syntaxes.zip", "pydicom-data.zip"])
def test_frames_equal_plain_pydicoms_for_real_files(tmp_path: Path, name: str) -> None:
    zipfile.ZipFile(shared_file(DATA_FOLDER / name)).extractall(tmp_path)
    paths = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name not in REVIEWED]

    differing, decoded = compare_with_pydicom(paths)

    assert differing == []
    assert decoded > 20


def test_values_are_equal_when_one_image_comes_in_nine_lossless_codings(tmp_path: Path) -> None:
    zipfile.ZipFile(shared_file(DATA_FOLDER / "transfer-syntaxes.zip")).extractall(tmp_path)
    first = frame_of_path(tmp_path / "CTImage.dcm")
    lossless = ("1.2", "1.2.1", "1.2.1.99", "1.2.2", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90", "1.2.5")

    for syntax in lossless:
        (path,) = tmp_path.glob(f"CTImage.dcm_*_1.2.840.10008.{syntax}.dcm")
        frame = frame_of_path(path)
        np.testing.assert_array_equal(frame.values, first.values, err_msg=syntax)
        np.testing.assert_array_equal(modality_values(frame), modality_values(first), err_msg=syntax)


def frame_of_path(path: Path) -> Frame:
    (frame,) = iter_frames(path, LIMITS)
    return frame
