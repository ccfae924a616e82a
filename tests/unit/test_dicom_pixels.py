"""Frames: the values that plain pydicom gives, with their units, or the named reason why there are none."""

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from shared.config import Settings
from shared.dicom.pixels import Frame, iter_frames, modality_values
from shared.dicom.read import ReadLimits
from shared.errors import DecodeError, PermanentError, UnsupportedTransferSyntaxError
from shared.reasons import Reason
from tests import dicom_samples as samples

LIMITS = ReadLimits.of_settings(Settings())
SHORT_GREY = np.array([[0, 1], [2, 3]], "uint8")


def frames_of(tmp_path: Path, data: bytes, limits: ReadLimits = LIMITS) -> list[Frame]:
    path = tmp_path / "instance"
    path.write_bytes(data)
    return list(iter_frames(path, limits))


def frame_of(tmp_path: Path, data: bytes) -> Frame:
    (frame,) = frames_of(tmp_path, data)
    return frame


def error_of(tmp_path: Path, data: bytes, limits: ReadLimits = LIMITS) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        frames_of(tmp_path, data, limits)
    return caught.value


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def lut_item(entries: int, first_mapped: int, bits: int, data: list[int] | bytes) -> Dataset:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US" if first_mapped >= 0 else "SS", [entries, first_mapped, bits])
    lut.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return lut


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32"])
def test_values_are_those_stored_when_the_coding_is_lossless(tmp_path: Path, dtype: str, syntax: str | None) -> None:
    pixels = (samples.ramp(8, 10).astype(np.int64) * 3 - 40).astype(dtype)
    data = samples.dicom_bytes(pixels, *([syntax] if syntax else []))

    frame = frame_of(tmp_path, data)

    assert frame.values.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frame.values, pixels)
    assert (frame.number, frame.photometric_interpretation) == (1, "MONOCHROME2")


def test_values_lose_the_unused_bits_when_fewer_are_stored(tmp_path: Path) -> None:
    pixels = np.array([[0xF001, 0x0FFF], [0xFFFF, 0x1000]], "uint16")

    frame = frame_of(tmp_path, samples.dicom_bytes(pixels, BitsStored=12, HighBit=11))

    np.testing.assert_array_equal(frame.values, pixels & 0x0FFF)
    assert frame.bits_stored == 12


def test_frames_come_in_order_when_there_are_several(tmp_path: Path) -> None:
    pixels = np.stack([samples.ramp() + 1000 * number for number in range(3)]).astype("uint16")

    plain = frames_of(tmp_path, samples.dicom_bytes(pixels))
    coded = frames_of(tmp_path, samples.rle_bytes(pixels))

    for frames in (plain, coded):
        assert [frame.number for frame in frames] == [1, 2, 3]
        np.testing.assert_array_equal([frame.values for frame in frames], pixels)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_is_pixel_by_pixel_when_planes_are_stored(tmp_path: Path, planar: int) -> None:
    pixels = np.arange(4 * 6 * 3, dtype="uint8").reshape(4, 6, 3)
    stored = pixels if planar == 0 else pixels.transpose(2, 0, 1)

    frame = frame_of(tmp_path, samples.dicom_bytes(pixels, PixelData=stored.tobytes(), PlanarConfiguration=planar))

    np.testing.assert_array_equal(frame.values, pixels)
    assert frame.photometric_interpretation == "RGB"


def test_colour_is_rgb_when_ybr_is_stored(tmp_path: Path) -> None:
    red = np.array([[[76, 85, 255]]], "uint8")

    frame = frame_of(tmp_path, samples.dicom_bytes(red, PhotometricInterpretation="YBR_FULL"))

    np.testing.assert_allclose(frame.values, [[[254, 0, 0]]], atol=1)
    assert frame.photometric_interpretation == "RGB"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_palette_gives_rgb_when_entries_have_16_bits(tmp_path: Path, syntax: str) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    colours = {"Red": [1, 256, 3, 65535], "Green": [10, 20, 30, 40], "Blue": [7, 7, 7, 7]}
    dataset = samples.make_dataset(SHORT_GREY + 10, PhotometricInterpretation="PALETTE COLOR")
    for colour, entries in colours.items():
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 11, 16])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", struct.pack(f"{order}4H", *entries))

    frame = frame_of(tmp_path, samples.to_bytes(dataset, syntax))

    indices = [[0, 0], [1, 2]]  # 10 lies below the first entry, 11
    np.testing.assert_array_equal(frame.values, np.stack([np.take(c, indices) for c in colours.values()], -1))
    assert (frame.photometric_interpretation, frame.bits_stored) == ("RGB", 16)


def test_palette_reaches_all_entries_when_pixels_are_wider_than_entries(tmp_path: Path) -> None:
    pixels = np.array([[0, 255], [256, 999]], "uint16")
    dataset = samples.make_dataset(pixels, PhotometricInterpretation="PALETTE COLOR")
    table = (np.arange(1000) // 4).astype("uint8")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [1000, 0, 8])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", table.tobytes())

    frame = frame_of(tmp_path, samples.to_bytes(dataset))

    np.testing.assert_array_equal(frame.values[..., 0], table[pixels])
    assert frame.bits_stored == 8


def test_palette_is_expanded_when_it_is_segmented(tmp_path: Path) -> None:
    dataset = samples.make_dataset(SHORT_GREY, PhotometricInterpretation="PALETTE COLOR")
    ramp = struct.pack("<HHHHHH", 0, 1, 100, 1, 3, 400)  # discrete: 100; linear: three entries up to 400
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, 16])
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", ramp)

    frame = frame_of(tmp_path, samples.to_bytes(dataset))

    np.testing.assert_array_equal(frame.values[..., 1], [[100, 200], [300, 400]])


def test_palette_is_refused_when_there_is_none(tmp_path: Path) -> None:
    error = error_of(tmp_path, samples.dicom_bytes(SHORT_GREY, PhotometricInterpretation="PALETTE COLOR"))

    assert error.recorded_reason == Reason.DECODE_FAILED


def test_modality_values_are_hounsfield_when_rescaled(tmp_path: Path) -> None:
    pixels = np.array([[-24, 0], [1024, 3071]], "int16")

    frame = frame_of(tmp_path, samples.dicom_bytes(pixels, RescaleSlope="2.5", RescaleIntercept="-1024"))

    values = modality_values(frame)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, pixels * 2.5 - 1024)


def test_modality_values_are_stored_values_when_nothing_is_said(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, samples.dicom_bytes())

    np.testing.assert_array_equal(modality_values(frame), samples.ramp())


@pytest.mark.parametrize("coded", ["numbers", "words", "bytes"])
def test_modality_values_follow_the_lut_when_there_is_one(tmp_path: Path, coded: str) -> None:
    entries = [5, 50, 250]
    data: Any = {"numbers": entries, "words": struct.pack("<3H", *entries), "bytes": bytes([*entries, 0])}[coded]
    dataset = samples.make_dataset(SHORT_GREY, RescaleSlope=9, RescaleIntercept=9)
    dataset.ModalityLUTSequence = [lut_item(3, 1, 8 if coded == "bytes" else 16, data)]

    frame = frame_of(tmp_path, samples.to_bytes(dataset))

    np.testing.assert_array_equal(modality_values(frame), [[5, 5], [50, 250]])


def test_modality_lut_is_refused_when_it_is_damaged(tmp_path: Path) -> None:
    dataset = samples.make_dataset(SHORT_GREY)
    dataset.ModalityLUTSequence = [lut_item(3, 0, 16, b"\0")]

    error = error_of(tmp_path, samples.to_bytes(dataset))

    assert error.recorded_reason == Reason.DECODE_FAILED
    assert "Modality LUT" in error.message


@pytest.mark.parametrize("slope", [0.0, math.nan, math.inf])
def test_modality_values_are_refused_when_the_slope_is_no_slope(tmp_path: Path, slope: float) -> None:
    frame = replace(frame_of(tmp_path, samples.dicom_bytes()), rescale_slope=slope)

    with pytest.raises(DecodeError, match="slope"):
        modality_values(frame)


def test_slope_is_not_guessed_when_it_cannot_be_read(tmp_path: Path) -> None:
    data = samples.dicom_bytes(RescaleSlope="1.23456").replace(b"1.23456 ", b"1,23456 ")

    frame = frame_of(tmp_path, data)

    assert math.isnan(frame.rescale_slope)


def test_window_is_the_first_when_there_are_several(tmp_path: Path) -> None:
    data = samples.dicom_bytes(WindowCenter=[40, 400], WindowWidth=[80, 2000], VOILUTFunction="SIGMOID")

    frame = frame_of(tmp_path, data)

    assert (frame.window_center, frame.window_width, frame.voi_lut_function) == (40, 80, "SIGMOID")


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 40}, {"WindowCenter": 40, "WindowWidth": 0}])
def test_window_is_none_when_it_cannot_be_used(tmp_path: Path, window: dict[str, int]) -> None:
    frame = frame_of(tmp_path, samples.dicom_bytes(**window))

    assert (frame.window_center, frame.window_width, frame.voi_lut_function) == (None, None, "LINEAR")


def test_voi_lut_is_given_when_there_is_one(tmp_path: Path) -> None:
    dataset = samples.make_dataset(SHORT_GREY)
    dataset.VOILUTSequence = [lut_item(2, 1, 12, [100, 4000])]

    frame = frame_of(tmp_path, samples.to_bytes(dataset))

    assert frame.voi_lut is not None
    assert frame.voi_lut.bits == 12
    np.testing.assert_array_equal(frame.voi_lut.apply(frame.values), [[100, 100], [4000, 4000]])


def test_each_frame_has_its_transforms_when_functional_groups_say_so(tmp_path: Path) -> None:
    dataset = samples.make_dataset(np.stack([SHORT_GREY, SHORT_GREY]), RescaleSlope=100, RescaleIntercept=100)
    shared_window = item(FrameVOILUTSequence=[item(WindowCenter=5, WindowWidth=10)])
    dataset.SharedFunctionalGroupsSequence = [shared_window]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=-slope)]) for slope in (2, 3)
    ]
    dataset.PerFrameFunctionalGroupsSequence[1].FrameVOILUTSequence = [item(WindowCenter=6, WindowWidth=12)]

    first, second = frames_of(tmp_path, samples.to_bytes(dataset))

    np.testing.assert_array_equal(modality_values(first), SHORT_GREY * 2.0 - 2)
    np.testing.assert_array_equal(modality_values(second), SHORT_GREY * 3.0 - 3)
    assert (first.window_center, second.window_center) == (5, 6)


def test_values_are_floats_when_float_pixels_are_stored(tmp_path: Path) -> None:
    pixels = np.array([[0.5, -1.25], [3e8, 0]], "float32")
    dataset = samples.make_dataset(pixels, PixelData=None, FloatPixelData=pixels.tobytes())

    frame = frame_of(tmp_path, samples.to_bytes(dataset))

    np.testing.assert_array_equal(modality_values(frame), pixels)


def test_error_says_no_pixel_data_when_there_is_none(tmp_path: Path) -> None:
    assert error_of(tmp_path, samples.dicom_bytes(PixelData=None)).recorded_reason == Reason.NO_PIXEL_DATA


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.53"])
def test_error_says_unsupported_when_no_decoder_reads_it(tmp_path: Path, syntax: str) -> None:
    error = error_of(tmp_path, samples.compressed_bytes(b"\xff\xd8", syntax))

    assert isinstance(error, UnsupportedTransferSyntaxError)
    assert error.recorded_reason == Reason.UNSUPPORTED_TRANSFER_SYNTAX


def test_error_says_unsupported_when_the_transfer_syntax_is_not_named(tmp_path: Path) -> None:
    bare = samples.without_file_meta(samples.dicom_bytes())

    assert error_of(tmp_path, bare).recorded_reason == Reason.UNSUPPORTED_TRANSFER_SYNTAX


@pytest.mark.parametrize("photometric", ["HSV", "CMYK", "YBR_PARTIAL_422", "UNHEARD OF", None])
def test_error_names_the_photometric_interpretation_when_it_is_not_known(
    tmp_path: Path, photometric: str | None
) -> None:
    pixels = np.zeros((2, 2, 3), "uint8")

    error = error_of(tmp_path, samples.dicom_bytes(pixels, PhotometricInterpretation=photometric))

    assert error.recorded_reason == Reason.UNSUPPORTED_PHOTOMETRIC_INTERPRETATION


def test_error_says_truncated_when_pixels_are_missing(tmp_path: Path) -> None:
    whole = samples.dicom_bytes()

    assert error_of(tmp_path, samples.dicom_bytes(NumberOfFrames=2)).recorded_reason == Reason.TRUNCATED
    assert error_of(tmp_path, samples.dicom_bytes(Rows=13)).recorded_reason == Reason.TRUNCATED
    assert error_of(tmp_path, whole[:-1]).recorded_reason == Reason.TRUNCATED


def test_error_says_truncated_when_frames_are_missing(tmp_path: Path) -> None:
    pixels = np.stack([samples.ramp(), samples.ramp()])

    error = error_of(tmp_path, samples.rle_bytes(pixels, NumberOfFrames=3))

    assert error.recorded_reason == Reason.TRUNCATED


@pytest.mark.parametrize("make", [samples.absurd_dimensions, samples.long_dimensions])
def test_error_says_too_large_when_the_claims_are_absurd(tmp_path: Path, make: Callable[[], bytes]) -> None:
    assert error_of(tmp_path, make()).recorded_reason == Reason.PIXELS_TOO_LARGE


def test_error_says_too_large_when_more_frames_come_than_claimed(tmp_path: Path) -> None:
    pixels = np.stack([samples.ramp()] * 4)
    limits = replace(LIMITS, max_pixel_bytes=3 * pixels[0].nbytes)

    error = error_of(tmp_path, samples.dicom_bytes(pixels, NumberOfFrames=1), limits)

    assert error.recorded_reason == Reason.PIXELS_TOO_LARGE


@pytest.mark.parametrize("name", ["jpeg_2000_garbage", "jpeg_ls_garbage", "jpeg_garbage", "rle_garbage"])
def test_error_says_decode_failed_when_the_codestream_is_garbage(tmp_path: Path, name: str) -> None:
    error = error_of(tmp_path, samples.hostile_files()[name])

    assert error.recorded_reason == Reason.DECODE_FAILED
