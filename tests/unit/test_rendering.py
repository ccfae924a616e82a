"""Rendered frames show what a window says, in the size that a viewport says, and name nobody."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from api.dicomweb.parameters import viewport_of, window_of
from api.dicomweb.renderer import Picture, PictureCache
from api.dicomweb.rendering import JPEG, PNG, THUMBNAIL_SIDE, Region, Viewport, Wanted, render_in_child
from shared.config import Settings
from shared.dicom.display import Window
from shared.dicom.parse import ReadLimits
from shared.errors import DecodeError, InvalidRequestError, NotFoundError
from tests.dicom_samples import dicom_bytes

LIMITS = vars(ReadLimits.of_settings(Settings()))
# Modality units of these stored values, behind slope 2 and intercept -1000: -1000, -800, ... 1000.
STEPS = np.tile(np.arange(0, 1001, 100, dtype=np.uint16), (8, 1))
UNITS = {"RescaleSlope": 2, "RescaleIntercept": -1000}


def render(folder: Path, data: bytes, frame: int = 1, media_type: str = PNG, **wanted: Any) -> tuple[Any, Any]:
    """The picture as int (rows, columns) or (rows, columns, 3), and the window it is said to be shown in."""
    # Another file under the same path would be another under the same digest.
    path = folder / f"{abs(hash(data))}"
    path.write_bytes(data)
    document = Wanted(str(path), frame, media_type, **wanted).document()
    ((meta, picture),) = render_in_child({"limits": LIMITS, "wanted": json.loads(json.dumps(document))})
    assert b"Doe" not in picture
    with Image.open(io.BytesIO(picture)) as image:
        assert image.get_format_mimetype() == media_type
        return np.asarray(image, np.int64), meta["window"]


def by_the_standard(values: NDArray[Any], window: Window) -> NDArray[Any]:
    """The formulas of PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, with output 0 to 255."""
    center, width, shape = window
    if shape == "SIGMOID":
        return 255 / (1 + np.exp(-4 * (values - center) / width))
    if shape == "LINEAR":
        inside = ((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
        return np.where(values <= center - 0.5 - (width - 1) / 2, 0, np.clip(inside, 0, 255))
    return np.clip(((values - center) / width + 0.5) * 255, 0, 255)


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 2000),
        Window(40, 400),
        Window(-600, 1500, "LINEAR_EXACT"),
        Window(100, 0.5, "LINEAR_EXACT"),
        Window(0, 900, "SIGMOID"),
        Window(-199.5, 1),
    ],
)
def test_window_gives_the_grey_of_the_standards_formulas(tmp_path: Path, window: Window) -> None:
    data = dicom_bytes(STEPS, **UNITS, WindowCenter=5, WindowWidth=10)

    shown, said = render(tmp_path, data, window=window)

    assert np.abs(shown - by_the_standard(STEPS * 2.0 - 1000, window)).max() <= 1
    assert said == window


def test_frame_is_shown_in_its_own_window_and_says_it(tmp_path: Path) -> None:
    data = dicom_bytes(STEPS, **UNITS, WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")

    shown, said = render(tmp_path, data)

    assert said == Window(40, 400, "SIGMOID")
    assert np.abs(shown - by_the_standard(STEPS * 2.0 - 1000, said)).max() <= 1


def test_frame_without_a_window_is_shown_from_smallest_to_largest(tmp_path: Path) -> None:
    shown, said = render(tmp_path, dicom_bytes(STEPS, **UNITS))
    again, _ = render(tmp_path, dicom_bytes(STEPS, **UNITS), window=said)

    assert (shown.min(), shown.max(), said) == (0, 255, Window(0, 2000, "LINEAR_EXACT"))
    np.testing.assert_array_equal(again, shown)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"WindowWidth": 0.5}, Window(40, 0.5, "LINEAR_EXACT")),
        ({"WindowWidth": 300, "VOILUTFunction": "NONSENSE"}, Window(40, 300)),
    ],
)
def test_window_that_is_said_can_be_asked_for(tmp_path: Path, attributes: dict[str, Any], expected: Window) -> None:
    _, said = render(tmp_path, dicom_bytes(STEPS, **UNITS, WindowCenter=40, **attributes))

    assert window_of(",".join(map(str, said))) == said == expected


def test_monochrome1_is_dark_where_its_values_are_large(tmp_path: Path) -> None:
    window = Window(0, 1000, "LINEAR_EXACT")

    shown, _ = render(tmp_path, dicom_bytes(STEPS, **UNITS, PhotometricInterpretation="MONOCHROME1"), window=window)

    assert np.abs(255 - shown - by_the_standard(STEPS * 2.0 - 1000, window)).max() <= 1


def test_colour_is_left_as_it_is_whatever_the_window(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:2, :, 0], pixels[2:, :, 1], pixels[0, 0] = 255, 128, (10, 20, 30)

    shown, said = render(tmp_path, dicom_bytes(pixels), window=Window(0, 10))

    np.testing.assert_array_equal(shown, pixels)
    assert said is None


def test_frame_that_was_asked_for_is_shown(tmp_path: Path) -> None:
    data = dicom_bytes(np.stack([np.full((4, 4), level, np.uint8) for level in (10, 90, 250)]))
    window = Window(128, 256, "LINEAR_EXACT")

    levels = [render(tmp_path, data, frame, window=window)[0][0, 0] for frame in (3, 1, 2)]

    np.testing.assert_allclose(levels, [249, 10, 90], atol=1)
    with pytest.raises(DecodeError, match="no frame 4"):
        render(tmp_path, data, 4)


@pytest.mark.parametrize(
    ("viewport", "shape"),
    [
        (None, (8, 11)),
        (Viewport(110, 800), (80, 110)),
        (Viewport(4096, 4), (4, 6)),
        (Viewport(1, 1), (1, 1)),
        (Viewport(40, 40, Region(1, 2, 4, 2)), (20, 40)),
    ],
)
def test_viewport_is_filled_as_far_as_the_shape_allows(
    tmp_path: Path, viewport: Viewport | None, shape: tuple[int, int]
) -> None:
    for media_type in (JPEG, PNG):
        assert render(tmp_path, dicom_bytes(STEPS), media_type=media_type, viewport=viewport)[0].shape == shape


def test_region_of_a_viewport_shows_that_part(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    pixels[5:10, 10:20] = 255

    inside, _ = render(tmp_path, dicom_bytes(pixels), viewport=Viewport(50, 50, Region(10, 5, 10, 5)))

    assert inside.shape == (25, 50)
    assert inside[10:-10, 10:-10].min() == 255
    assert inside.mean() > 230, "what lies beside it is only in how it is smoothed"


def test_thumbnail_is_of_no_file_with_burnt_in_text(tmp_path: Path) -> None:
    small = Viewport(THUMBNAIL_SIDE, THUMBNAIL_SIDE)

    for said in (None, "NO", "nonsense"):
        data = dicom_bytes(STEPS, BurnedInAnnotation=said)
        assert render(tmp_path, data, viewport=small, is_thumbnail=True)[0].shape == (93, 128)
    with pytest.raises(NotFoundError, match="burnt into its pixels"):
        render(tmp_path, dicom_bytes(STEPS, BurnedInAnnotation="YES"), viewport=small, is_thumbnail=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("40,400,LINEAR", Window(40, 400)),
        ("-0.5,1e-3,linear-exact", Window(-0.5, 0.001, "LINEAR_EXACT")),
        ("0,0.5,SIGMOID", Window(0, 0.5, "SIGMOID")),
    ],
)
def test_window_is_read_as_the_standard_writes_it(given: str, expected: Window) -> None:
    assert window_of(given) == expected


@pytest.mark.parametrize(
    "given",
    ["", "1", "1,2", "1,2,CUBIC", "1,0.9,LINEAR", "1,0,SIGMOID", "1,-5,LINEAR_EXACT", "nan,5,LINEAR", "1,inf,LINEAR",
     "1e999,5,LINEAR", "one,2,LINEAR", "1,2,LINEAR,3"],
)  # fmt: skip
def test_window_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"window: .* came, expected center,width,shape"):
        window_of(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("512,256", Viewport(512, 256)),
        ("512,256,,,,", Viewport(512, 256)),
        ("5,5,10,0", Viewport(5, 5, Region(10, 0, 70, 40))),
        ("5,5,,,8,4", Viewport(5, 5, Region(0, 0, 8, 4))),
        ("5,5,0.5,0.5,79.5,39.5", Viewport(5, 5, Region(0.5, 0.5, 79.5, 39.5))),
    ],
)
def test_viewport_is_read_as_the_standard_writes_it(given: str, expected: Viewport) -> None:
    assert viewport_of(given, rows=40, columns=80) == expected


@pytest.mark.parametrize(
    "given",
    ["", "5", "0,5", "5,4097", "5,99999999999", "-5,5", "5.5,5", "5,5,0,0,81,40", "5,5,0,0,0,0", "5,5,79.5", "5,5,-1",
     "5,5,nan", "5,5,0,0,1,1,1", "5,5,x", "5,5,0,0,-8,4", "²,5"],
)  # fmt: skip
def test_viewport_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"viewport: .* came, expected vw,vh"):
        viewport_of(given, rows=40, columns=80)


def test_cache_forgets_what_was_not_used_for_longest() -> None:
    cache, wanted = PictureCache(max_bytes=100), [Wanted(f"{n}", 1, PNG) for n in range(4)]
    for one in wanted[:2]:
        cache.put(one, Picture(bytes(40), None))
    cache.get(wanted[0])

    cache.put(wanted[2], Picture(bytes(50), None))
    assert [cache.get(one) is not None for one in wanted] == [True, False, True, False]
    cache.put(wanted[3], Picture(bytes(101), None))
    assert [cache.get(one) for one in wanted] == [None] * 4


def test_tag_is_of_the_bytes_and_of_every_parameter() -> None:
    plain = Wanted("/a/0f", 1, PNG)
    others = [
        Wanted("/a/0e", 1, PNG),
        Wanted("/a/0f", 2, PNG),
        Wanted("/a/0f", 1, JPEG),
        Wanted("/a/0f", 1, PNG, Window(1, 2)),
        Wanted("/a/0f", 1, PNG, viewport=Viewport(1, 2)),
        Wanted("/a/0f", 1, PNG, is_thumbnail=True),
    ]

    assert plain.tag == Wanted("/elsewhere/0f", 1, PNG).tag
    assert len({one.tag for one in (plain, *others)}) == 7
