"""A frame becomes the network's input exactly as the model package says."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from shared.dicom.lookup import Lookup
from shared.dicom.pixels import Frame
from shared.errors import DecodeError
from shared.model_package import ModelContract, load_contract
from shared.reasons import Reason
from tests.model_samples import contract_fields
from worker.inference.preprocess import to_input

NONE = {"kind": "none"}
MIN_MAX = {"kind": "min_max"}
DICOM_WINDOW = {"kind": "dicom_window"}


def window(center: float, width: float) -> dict[str, Any]:
    return {"kind": "window", "center": center, "width": width}


def contract(
    intensity: dict[str, Any] = NONE, *, rows: int = 2, columns: int = 2, channels: int = 1, **preprocess: Any
) -> ModelContract:
    steps = {"units": "modality", "intensity": intensity, "resize": "stretch", "normalise": None} | preprocess
    shape = {"rows": rows, "columns": columns, "channels": channels}
    return load_contract(json.dumps(contract_fields(input=shape, preprocess=steps)))


def frame(values: Any, photometric: str = "MONOCHROME2", *, dtype: str = "int16", **facts: Any) -> Frame:
    pixels = np.array(values, dtype)
    bits = facts.pop("bits_stored", pixels.dtype.itemsize * 8)
    return Frame(number=1, values=pixels, photometric_interpretation=photometric, bits_stored=bits, **facts)


CT = frame([[-1000, 0], [40, 400]])


def test_input_is_float32_of_the_contracts_shape_and_contiguous() -> None:
    result = to_input(CT, contract(MIN_MAX, rows=5, columns=3, channels=3))

    assert result.shape == (5, 3, 3)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous


def test_values_are_rescaled_when_units_are_modality() -> None:
    stored = frame([[0, 1], [2, 3]], rescale_slope=2.0, rescale_intercept=-1024.0)

    assert to_input(stored, contract())[:, :, 0].tolist() == [[-1024, -1022], [-1020, -1018]]


def test_values_are_not_rescaled_when_units_are_stored() -> None:
    stored = frame([[0, 1], [2, 3]], rescale_slope=2.0, rescale_intercept=-1024.0)

    assert to_input(stored, contract(units="stored"))[:, :, 0].tolist() == [[0, 1], [2, 3]]


def test_modality_lut_is_applied_when_the_frame_has_one() -> None:
    stored = frame([[0, 1], [2, 3]], modality_lut=Lookup(0, np.array([10, 20, 40, 80], np.uint16), 16))

    assert to_input(stored, contract())[:, :, 0].tolist() == [[10, 20], [40, 80]]


def test_window_maps_center_to_half_and_clips_at_its_edges() -> None:
    values = frame([[-160, 40], [140, 1000]])

    assert_allclose(to_input(values, contract(window(40, 400)))[:, :, 0], [[0, 0.5], [0.75, 1]])


def test_min_max_spans_zero_to_one() -> None:
    assert_allclose(to_input(CT, contract(MIN_MAX))[:, :, 0], [[0, 1000 / 1400], [1040 / 1400, 1]])


def test_min_max_gives_zeros_when_all_pixels_are_the_same() -> None:
    assert not to_input(frame([[7, 7], [7, 7]]), contract(MIN_MAX)).any()


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5)
        ("LINEAR", 100, [(40 - 49.5) / 99 + 0.5, (50 - 49.5) / 99 + 0.5, (60 - 49.5) / 99 + 0.5]),
        ("LINEAR_EXACT", 100, [0.4, 0.5, 0.6]),
        ("SIGMOID", 100, [1 / (1 + np.exp(0.4)), 0.5, 1 / (1 + np.exp(-0.4))]),
        ("LINEAR", 1, [0, 1, 1]),
        ("SOMETHING", 100, [(40 - 49.5) / 99 + 0.5, (50 - 49.5) / 99 + 0.5, (60 - 49.5) / 99 + 0.5]),
    ],
)
def test_dicom_window_follows_the_files_voi_lut_function(function: str, width: float, expected: list[float]) -> None:
    values = frame([[40, 50, 60]], window_center=50.0, window_width=float(width), voi_lut_function=function)

    result = to_input(values, contract(DICOM_WINDOW, rows=1, columns=3))

    assert_allclose(result.ravel(), expected, rtol=1e-6)


def test_dicom_window_is_linear_exact_when_its_width_is_below_one() -> None:
    values = frame([[0.0, 0.5]], dtype="float32", window_center=0.5, window_width=0.5)

    assert_allclose(to_input(values, contract(DICOM_WINDOW, rows=1)).ravel(), [0, 0.5])


def test_dicom_window_speaks_of_modality_units_also_when_units_are_stored() -> None:
    facts: dict[str, Any] = {
        "rescale_slope": 10.0,
        "window_center": 20.0,
        "window_width": 40.0,
        "voi_lut_function": "LINEAR_EXACT",
    }

    result = to_input(frame([[0, 1], [2, 4]], **facts), contract(DICOM_WINDOW, units="stored"))

    assert_allclose(result[:, :, 0], [[0, 0.25], [0.5, 1]])


def test_dicom_window_uses_the_voi_lut_when_the_file_has_both() -> None:
    lut = Lookup(10, np.array([0, 255, 51], np.uint8), 8)
    values = frame([[9, 10], [11, 12]], voi_lut=lut, window_center=0.0, window_width=1.0)

    assert_allclose(to_input(values, contract(DICOM_WINDOW))[:, :, 0], [[0.0, 0.0], [1.0, 0.2]])


def test_dicom_window_is_min_max_when_the_file_has_no_window() -> None:
    assert_array_equal(to_input(CT, contract(DICOM_WINDOW)), to_input(CT, contract(MIN_MAX)))


@pytest.mark.parametrize("intensity", [MIN_MAX, DICOM_WINDOW, window(100, 50)])
def test_monochrome1_is_one_minus_monochrome2_when_scaled(intensity: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"window_center": 100.0, "window_width": 90.0}
    values = [[80, 100], [110, 130]]

    inverse, plain = (
        to_input(frame(values, photometric, **facts), contract(intensity))
        for photometric in ("MONOCHROME1", "MONOCHROME2")
    )

    assert_allclose(inverse, 1 - plain, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "bits_stored", "values", "expected"),
    [
        ("uint8", 8, [0, 255], [255, 0]),
        ("uint16", 12, [0, 4000], [4095, 95]),
        ("int16", 12, [-2048, 5], [2047, -6]),
        ("float32", 32, [1.0, 3.0], [3.0, 1.0]),
    ],
)
def test_monochrome1_counts_from_the_other_end_of_its_bits_when_unscaled(
    dtype: str, bits_stored: int, values: list[float], expected: list[float]
) -> None:
    inverse = frame([values], "MONOCHROME1", dtype=dtype, bits_stored=bits_stored)

    assert to_input(inverse, contract(rows=1, units="stored")).ravel().tolist() == expected
    halved = frame([values], "MONOCHROME1", dtype=dtype, bits_stored=bits_stored, rescale_slope=0.5)
    assert to_input(halved, contract(rows=1)).ravel().tolist() == [value / 2 for value in expected]


RGB = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]


def test_colour_becomes_luminance_when_the_network_has_one_channel() -> None:
    result = to_input(frame(RGB, "RGB", dtype="uint8"), contract(window(127.5, 255)))

    assert_allclose(result[:, :, 0], [[0.299, 0.587], [0.114, 1]], rtol=1e-5)


@pytest.mark.parametrize("intensity", [window(127.5, 255), DICOM_WINDOW, MIN_MAX])
def test_colour_stays_colour_when_the_network_has_three_channels(intensity: dict[str, Any]) -> None:
    tinted = [[[255, 0, 51], [0, 255, 0]], [[0, 102, 255], [255, 255, 204]]]
    colour = frame(tinted, "RGB", dtype="uint8", window_center=5.0, window_width=1.0, rescale_slope=3.0)

    assert_allclose(to_input(colour, contract(intensity, channels=3)), np.array(tinted) / 255, atol=1e-6)


def test_grey_is_repeated_when_the_network_has_three_channels() -> None:
    three, one = (to_input(CT, contract(MIN_MAX, channels=channels)) for channels in (3, 1))

    assert_array_equal(three, np.repeat(one, 3, axis=2))


def test_stretch_is_bilinear_with_antialiasing() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (31, 17)).astype(np.float32)

    result = to_input(frame(values, dtype="float32"), contract(rows=8, columns=12))

    expected = np.asarray(Image.fromarray(values).resize((12, 8), Image.Resampling.BILINEAR))
    assert_array_equal(result[:, :, 0], expected)
    assert abs(result.mean() - values.mean()) < 0.02


def test_pad_keeps_the_aspect_ratio_and_centres_on_black() -> None:
    bright = frame(np.full((4, 8), 9), window_center=4.0, window_width=2.0)

    result = to_input(bright, contract(window(4, 2), rows=8, columns=8, resize="pad"))[:, :, 0]

    assert_array_equal(result[2:6], 1)
    assert not result[:2].any()
    assert not result[6:].any()


def test_pad_fills_with_the_smallest_value_when_unscaled() -> None:
    result = to_input(frame([[-1000, 400]]), contract(rows=4, columns=2, resize="pad"))[:, :, 0]

    assert result.tolist() == [[-1000, -1000], [-1000, 400], [-1000, -1000], [-1000, -1000]]


def test_pad_fills_with_black_when_monochrome1() -> None:
    dark = frame(np.zeros((1, 2)), "MONOCHROME1")

    result = to_input(dark, contract(window(4, 2), resize="pad"))[:, :, 0]

    assert result.tolist() == [[1, 1], [0, 0]]


def test_pad_leaves_a_line_when_one_side_vanishes() -> None:
    result = to_input(frame(np.ones((1, 900))), contract(rows=4, columns=4, resize="pad"))[:, :, 0]

    assert result.tolist() == [[1] * 4] * 4


def test_normalise_is_done_channel_by_channel() -> None:
    steps = contract(MIN_MAX, channels=3, normalise={"mean": [0.0, 0.5, 1.0], "std": [1.0, 0.5, 0.25]})

    result = to_input(frame([[0, 1], [0, 1]]), steps)

    assert result[0].tolist() == [[0, -1, -4], [1, 1, 0]]


@pytest.mark.parametrize("intensity", [NONE, MIN_MAX, DICOM_WINDOW, window(0, 10)])
@pytest.mark.parametrize(
    "unusable",
    [
        frame([[np.nan, 1], [2, 3]], dtype="float32"),
        frame([[1, np.inf], [2, 3]], dtype="float32"),
        frame([[1, 2], [3, 4]], rescale_slope=1e300),
        frame([[1, 2], [3, 4]], rescale_slope=float("nan")),
    ],
    ids=["nan", "inf", "slope overflows", "slope is nan"],
)
def test_input_is_refused_with_a_sentence_when_not_finite(unusable: Frame, intensity: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=r"(?i)slope") as caught:
        to_input(unusable, contract(intensity))

    assert caught.value.recorded_reason == Reason.DECODE_FAILED


def test_input_is_refused_when_the_range_itself_overflows() -> None:
    with pytest.raises(DecodeError, match="finite"):
        to_input(frame([[-3e38, 3e38]], dtype="float32"), contract(MIN_MAX, rows=1))


def test_frame_is_left_as_it_was() -> None:
    before = CT.values.copy()

    to_input(CT, contract(MIN_MAX))

    assert_array_equal(CT.values, before)


grey_frames = arrays(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32]), array_shapes(min_dims=2, max_dims=2, max_side=40)
)


@settings(max_examples=60, deadline=None)
@given(grey_frames, st.sampled_from(["stretch", "pad"]), st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
def test_scaled_input_stays_within_zero_and_one(values: Any, resize: str, photometric: str) -> None:
    result = to_input(
        frame(values, photometric, dtype=values.dtype.str), contract(MIN_MAX, rows=7, columns=5, resize=resize)
    )

    assert result.shape == (7, 5, 1)
    assert -1e-6 <= result.min() <= result.max() <= 1 + 1e-6
