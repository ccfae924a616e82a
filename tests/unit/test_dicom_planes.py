"""Planes out of files: of single frames, of functional groups, and none where a file says what cannot be."""

import io
import math
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from shared.dicom.planes import MAX_PLANES, Plane, planes_of_dataset, planes_of_document
from shared.dicom.read import HeaderReader
from tests.conftest import header_reader
from tests.dicom_samples import make_dataset, to_bytes
from tests.slice_samples import AXIAL, ct_slice, enhanced_ct


def planes_in(path: Path, data: bytes) -> Any:
    """As intake reads them: through a limited child."""
    file = path / "file.dcm"
    file.write_bytes(data)
    reader: HeaderReader = header_reader()
    return reader.read(file).planes


def test_plane_of_a_single_frame_is_that_of_the_image_plane_module(tmp_path: Path) -> None:
    assert planes_in(tmp_path, ct_slice("one", -12.5)) == (Plane(AXIAL, (0.0, 0.0, -12.5)),)


def test_planes_of_frames_are_those_of_the_functional_groups(tmp_path: Path) -> None:
    found = planes_in(tmp_path, enhanced_ct("volume", [5.0, 0.0, 2.5]))

    assert found == tuple(Plane(AXIAL, (0.0, 0.0, at)) for at in (5.0, 0.0, 2.5))


def test_planes_are_read_when_the_functional_groups_are_large(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(enhanced_ct("volume", [float(at) for at in range(40)])))
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.FrameContentSequence = [Dataset()]
        group.FrameContentSequence[0].TextValue = "x" * 32_000
    file = io.BytesIO()
    dataset.save_as(file)

    found = planes_in(tmp_path, file.getvalue())

    assert [plane.position[2] for plane in found] == list(range(40))


def test_multi_frame_without_functional_groups_has_no_planes(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(ct_slice("cine", 1.0)))

    assert planes_of_dataset(dataset, 1)
    assert planes_of_dataset(dataset, 2) == ()
    assert planes_of_dataset(dataset, MAX_PLANES + 1) == ()
    assert planes_of_dataset(dataset, 2**31 - 1) == ()


@pytest.mark.parametrize(
    ("orientation", "position"),
    [
        (None, "0\\0\\1"),
        ("1\\0\\0\\0\\1\\0", None),
        ("1\\0\\0\\0\\1", "0\\0\\1"),
        ("1\\0\\0\\0\\1\\0", "0\\0\\1\\2"),
        ("1\\0\\0\\0\\1\\0", "123"),
        ("1\\0\\0\\0\\1\\0", "0\\0\\nan"),
        ("1\\0\\0\\0\\1\\0", "0\\0\\inf"),
        ("1\\0\\0\\0\\1\\0", "0\\0\\1e300"),
        ("1\\0\\0\\0\\1\\0", "a\\b\\c"),
        ("1\\0\\0\\0\\1\\0", "\\".join(["0"] * 200_000)),
        ("0\\0\\0\\0\\0\\0", "0\\0\\1"),
        ("2\\0\\0\\0\\2\\0", "0\\0\\1"),
        ("1\\0\\0\\1\\0\\0", "0\\0\\1"),
    ],
)
def test_what_cannot_be_a_plane_is_none(tmp_path: Path, orientation: str | None, position: str | None) -> None:
    given = {"ImageOrientationPatient": orientation, "ImagePositionPatient": position}
    dataset = make_dataset()
    for keyword, text in given.items():
        if text is not None:
            # pydicom writes UT as it comes; read as implicit VR, it is the DS that the dictionary says.
            dataset.add_new(keyword, "UT", text)

    assert planes_in(tmp_path, to_bytes(dataset, ImplicitVRLittleEndian)) == ()


@pytest.mark.parametrize(
    "found",
    [
        None,
        "text",
        [[]],
        [[list(AXIAL)]],
        [[list(AXIAL), [0.0, 0.0, math.nan]]],
        [[list(AXIAL), [0.0, 0.0, 10**400]]],
        [[list(AXIAL), [0.0, 0.0, "1"]]],
        [[list(AXIAL), [0.0, 0.0, True]]],
        [[[1.0] * 6, [0.0, 0.0, 1.0]]],
        [[list(AXIAL), [0.0, 0.0, 1.0]]] * (MAX_PLANES + 1),
    ],
)
def test_child_is_not_believed_when_it_gives_no_planes(found: Any) -> None:
    assert planes_of_document(found) == ()


def test_planes_come_back_from_json_as_they_were() -> None:
    planes = (Plane(AXIAL, (0.1, 1e-7, -99.5)), None)

    assert planes_of_document([[list(AXIAL), [0.1, 1e-7, -99.5]], None]) == planes
