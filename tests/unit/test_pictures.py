"""Pictures of heat maps lie where the network looked, whatever the frame's shape, and show frames as people expect."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api.pictures import MIN_COLUMNS, STRIP, Wanted, blend_in_child
from shared.config import Settings
from shared.dicom.display import display_values
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from shared.errors import DecodeError
from shared.heat_map_file import encode_maps
from tests.dicom_samples import make_dataset, to_bytes

LIMITS = ReadLimits.of_settings(Settings())
SIDE = 16


def picture(folder: Path, pixels: NDArray[Any], heat: NDArray[Any], *, frame: int = 1, resize: str) -> NDArray[Any]:
    """The picture of a map over a frame, without the strip of words, int (rows, columns, RGB)."""
    return whole_picture(folder, pixels, heat, frame=frame, resize=resize)[:-STRIP]


def strip(folder: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """The words under a frame."""
    return whole_picture(folder, pixels, np.zeros((4, 4)), frame=1, resize="stretch")[-STRIP:]


def whole_picture(
    folder: Path, pixels: NDArray[Any], heat: NDArray[Any], *, frame: int, resize: str, side: int = 160
) -> NDArray[Any]:
    (folder / "file").write_bytes(to_bytes(make_dataset(pixels, PatientName="Doe^Jane")))
    (folder / "maps").write_bytes(encode_maps([heat.astype(np.float16)]))
    wanted = Wanted(str(folder / "file"), frame, str(folder / "maps"), 0, resize, (SIDE, SIDE), side=side)
    ((_, png),) = blend_in_child(asdict(wanted) | {"limits": asdict(LIMITS), "raw": False})
    assert b"Doe" not in png
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), np.int64)


@pytest.mark.parametrize(
    ("resize", "cell", "rows", "columns"),
    [
        # 40 rows and 80 columns fill all of the map, or its middle 8 rows.
        ("stretch", (4, 4), slice(20, 25), slice(40, 50)),
        ("pad", (6, 4), slice(20, 30), slice(40, 50)),
    ],
)
def test_map_lies_where_the_network_saw_the_frame(
    tmp_path: Path, resize: str, cell: tuple[int, int], rows: slice, columns: slice
) -> None:
    heat = np.zeros((SIDE, SIDE))
    heat[cell] = 3.0

    made = picture(tmp_path, np.full((40, 80), 1000, np.uint16), heat, resize=resize)

    assert made.shape == (80, 160, 3)
    tint = made[:, :, 0] - made[:, :, 2]
    peak = np.unravel_index(tint.argmax(), tint.shape)
    assert rows.start <= peak[0] < rows.stop
    assert columns.start <= peak[1] < columns.stop
    assert tint[60:].max() == 0


def test_picture_without_anything_for_the_finding_is_the_frame(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))

    made = picture(tmp_path, pixels, np.full((4, 4), -1.0), resize="stretch")

    assert (made[:, :, 0] == made[:, :, 2]).all()
    assert made[80, 0, 0] < 10
    assert made[80, -1, 0] > 245


def test_words_are_whole_under_a_narrow_frame(tmp_path: Path) -> None:
    made = strip(tmp_path, np.zeros((64, 2), np.uint8))

    assert made.shape == (STRIP, MIN_COLUMNS, 3)
    whole = strip(tmp_path, np.zeros((64, 64), np.uint8))
    np.testing.assert_array_equal(made, whole[:, :MIN_COLUMNS])
    assert whole[:, MIN_COLUMNS - 4 :].max() == 0


def test_picture_is_of_the_frame_that_was_asked_for(tmp_path: Path) -> None:
    pixels = np.stack([np.eye(8, dtype=np.uint8) * 255, 255 - np.eye(8, dtype=np.uint8) * 255])

    first, second = (picture(tmp_path, pixels, np.zeros((2, 2)), frame=n, resize="stretch") for n in (1, 2))

    assert first[8, 8, 0] > 200
    assert second[8, 8, 0] < 50
    with pytest.raises(DecodeError, match="no frame 3"):
        picture(tmp_path, pixels, np.zeros((2, 2)), frame=3, resize="stretch")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [0.0, 0.5, 1.0]),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [1.0, 0.5, 0.0]),
        ({"WindowCenter": 150, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}, [0.0, 0.0, 1.0]),
        ({"WindowCenter": 100, "WindowWidth": 401}, [0.25125, 0.50125, 0.75125]),
        ({"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 100, "WindowWidth": 401}, [0.00125, 0.50125, 1]),
    ],
)
def test_frame_is_windowed_as_the_file_says(tmp_path: Path, attributes: dict[str, Any], expected: list[float]) -> None:
    pixels = np.array([[0, 100, 200, 200]], np.uint16)
    (tmp_path / "file").write_bytes(to_bytes(make_dataset(pixels, **attributes)))

    (frame,) = iter_frames(tmp_path / "file", LIMITS)

    np.testing.assert_allclose(display_values(frame)[0, :3], expected, atol=1e-6)


def test_wide_picture_has_the_key_of_its_colours_or_says_that_there_are_none(tmp_path: Path) -> None:
    def key(heat: NDArray[Any]) -> NDArray[Any]:
        whole = whole_picture(tmp_path, np.full((40, 80), 9, np.uint16), heat, frame=1, resize="stretch", side=512)
        return whole[-STRIP:, 256:]

    with_colours, without = key(np.eye(4)), key(-np.eye(4))

    for strip in (with_colours, without):
        assert strip.max() > 200, "words"
    tint = with_colours[:, :, 0] - with_colours[:, :, 2]
    assert tint.max() > 100, "the strongest colour"
    assert (without[:, :, 0] == without[:, :, 2]).all()
