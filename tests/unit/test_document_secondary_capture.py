"""A report's heat maps as DICOM Secondary Capture, with real files, real maps and the real limited children."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from api.documents.secondary_capture import make_secondary_captures
from api.documents.source import Source
from api.pictures import STRIP, PictureMaker, Wanted
from shared.config import Settings
from shared.errors import NotFoundError
from shared.heat_map_file import encode_maps
from shared.states import ReportOrigin, ReportStatus
from tests.dicom_samples import make_dataset, to_bytes
from tests.document_sources import (
    ENHANCED_CT,
    PATIENTS,
    evidence,
    instance,
    moved,
    package,
    review,
    signed,
    source,
    study,
    told_of_studies,
    unsaid,
)
from tests.validators import validated


@pytest.fixture(scope="module")
def pictures() -> Iterator[PictureMaker]:
    maker = PictureMaker(Settings())
    yield maker
    maker.close()


@pytest.fixture
def maps(tmp_path: Path) -> dict[int, Wanted]:
    """Two maps over the frames of one file, which are dark, then bright."""
    frames = np.stack([np.tile(np.arange(24, dtype=np.uint8), (15, 1)), np.full((15, 24), 200, np.uint8)])
    frames[1, 0, 0] = 0
    heat = np.zeros((4, 4), np.float16)
    heat[1, 2] = 2.0
    (tmp_path / "file").write_bytes(to_bytes(make_dataset(frames)))
    (tmp_path / "maps").write_bytes(encode_maps([heat, heat]))
    return {
        7 + at: Wanted(str(tmp_path / "file"), 1 + at, str(tmp_path / "maps"), at, "stretch", (16, 16), side=165)
        for at in range(2)
    }


def images(data: bytes) -> list[FileDataset]:
    """The instances in the zip, each named by its UID."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {name: pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    assert list(found) == [f"{one.SOPInstanceUID}.dcm" for one in found.values()]
    return list(found.values())


def of_two_studies(maps: dict[int, Wanted], **changes: object) -> Source:
    two = evidence(
        instance(1, [0.9], [0.95]), instance(2, [0.8], [0.1], study_row=2), studies=[study(1), study(2, day="20260301")]
    )
    return source(two, maps=maps, sop_class_uid=ENHANCED_CT, modality="MR", **changes)  # type: ignore[arg-type]


def test_each_heat_map_is_an_image_in_the_study_of_its_frame(maps: dict[int, Wanted], pictures: PictureMaker) -> None:
    first, second = images(make_secondary_captures(of_two_studies(maps), pictures))

    assert [one.StudyInstanceUID for one in (first, second)] == ["1.2.826.1", "1.2.826.2"]
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert (first.SOPClassUID, first.Modality) == ("1.2.840.10008.5.1.4.1.1.7", "MR")
    assert list(first.ImageType) == ["DERIVED", "SECONDARY"]
    assert first.BurnedInAnnotation == "YES"
    assert "sample version 3" in first.SeriesDescription
    assert "not for diagnostic use" in first.ImageComments
    assert "Lesion" in first.ImageComments
    references = [one.SourceImageSequence[0] for one in (first, second)]
    assert [one.ReferencedSOPInstanceUID for one in references] == ["1.3.6.1.1", "1.3.6.1.2"]
    assert [(one.ReferencedSOPClassUID, one.ReferencedFrameNumber) for one in references] == [
        (ENHANCED_CT, 2),
        (ENHANCED_CT, 1),
    ]


def test_pixels_are_those_of_the_picture_with_its_words(maps: dict[int, Wanted], pictures: PictureMaker) -> None:
    from PIL import Image

    of = of_two_studies(maps)

    found = images(make_secondary_captures(of, pictures))

    for one, wanted in zip(found, maps.values(), strict=True):
        with Image.open(io.BytesIO(pictures.make(wanted))) as png:
            expected = np.asarray(png.convert("RGB"))
        shown = one.pixel_array
        # An odd number of bytes: the picture is 103 rows and 165 columns, and the words.
        assert shown.shape == (103 + STRIP, 165, 3)
        np.testing.assert_array_equal(shown, expected)
        assert shown[-STRIP:].max() > 200
        tint = shown[:-STRIP, :, 0].astype(int) - shown[:-STRIP, :, 2]
        row, column = np.unravel_index(tint.argmax(), tint.shape)
        assert 103 * 0.25 <= row < 103 * 0.5
        assert 165 * 0.5 <= column < 165 * 0.75


@pytest.mark.parametrize("patient", PATIENTS.values(), ids=PATIENTS.keys())
def test_validator_finds_nothing_in_an_image(
    patient: dict[str, str], maps: dict[int, Wanted], pictures: PictureMaker, tmp_path: Path
) -> None:
    data = make_secondary_captures(of_two_studies(maps, patient=patient), pictures)

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            assert validated(archive.read(name), tmp_path, unsaid=unsaid(patient)) == []


def test_same_source_gives_the_same_images_and_another_version_others(
    maps: dict[int, Wanted], pictures: PictureMaker
) -> None:
    of = of_two_studies(maps)

    once, again, next_one = (make_secondary_captures(one, pictures) for one in (of, of, signed(of)))

    assert once == again
    uids = [{image.SOPInstanceUID for image in images(data)} for data in (once, next_one)]
    assert len(uids[0] | uids[1]) == 4


def test_single_frame_and_odd_modality_are_told_as_they_are(maps: dict[int, Wanted], pictures: PictureMaker) -> None:
    of = source(evidence(instance(1, [0.9, 0.8])), package("mass", "nodule"), maps=maps, modality="<b>")

    found = images(make_secondary_captures(of, pictures))

    assert [one.Modality for one in found] == ["OT", "OT"]
    assert all("ReferencedFrameNumber" not in one.SourceImageSequence[0] for one in found)
    assert [one.ImageComments.partition(". ")[2][:6] for one in found] == ["Mass, ", "Nodule"]
    assert len({one.SeriesInstanceUID for one in found}) == 1


def test_report_without_heat_maps_has_no_images_and_says_so(pictures: PictureMaker) -> None:
    with pytest.raises(NotFoundError, match="no heat map"):
        make_secondary_captures(source(), pictures)


def test_images_have_the_description_and_zone_of_their_study(
    maps: dict[int, Wanted], pictures: PictureMaker, tmp_path: Path
) -> None:
    of = told_of_studies(of_two_studies(maps), study_description="CT of the chest", timezone_offset="+0545")

    data = make_secondary_captures(of, pictures)

    for one in images(data):
        assert (one.StudyDescription, one.TimezoneOffsetFromUTC) == ("CT of the chest", "+0545")
        assert (one.ContentDate, one.ContentTime) == ("20260203", "095006.700000")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert validated(archive.read(archive.namelist()[0]), tmp_path) == []


def test_retracted_report_has_no_images_and_says_so(maps: dict[int, Wanted], pictures: PictureMaker) -> None:
    final = signed(of_two_studies(maps))
    retraction = review(signed=False, reason="Wrong patient.")
    retracted = moved(final, ReportStatus.RETRACTED, retraction, ReportOrigin.RETRACTION)

    with pytest.raises(NotFoundError, match="retracted"):
        make_secondary_captures(retracted, pictures)


def test_image_whose_bytes_are_gone_is_named(maps: dict[int, Wanted], pictures: PictureMaker, tmp_path: Path) -> None:
    (tmp_path / "maps").unlink()

    with pytest.raises(NotFoundError, match="Heat map 7"):
        make_secondary_captures(of_two_studies(maps), pictures)
