"""Stored bytes become network inputs in limited children; what fails, fails alone and by name."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.uid import MPEG2MPML, JPEG2000Lossless

from api.cli.phantoms import write_cohort
from shared.config import Settings, load_settings
from shared.dicom.parse import ReadLimits
from shared.dicom.pixels import iter_frames
from shared.errors import ChildCrashedError, DecodeError, LimitExceededError, OverreadError
from shared.model_package import ModelContract, load_contract
from shared.reasons import Reason
from shared.sandbox import Reply
from tests.dicom_samples import (
    absurd_dimensions,
    compressed_bytes,
    dicom_bytes,
    make_dataset,
    ramp,
    rle_bytes,
    to_bytes,
)
from tests.model_samples import contract_fields
from worker.inference.decode import Decoder, _received
from worker.inference.preprocess import to_input

SIDE = 16


def make_contract(side: int = SIDE, channels: int = 1) -> ModelContract:
    return load_contract(json.dumps(contract_fields(side=side, channels=channels)))


CONTRACT = make_contract()


@pytest.fixture(scope="module")
def service_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(data_dir=tmp_path_factory.mktemp("data"), max_pixel_bytes=64 * 1024 * 1024)


@pytest.fixture(scope="module")
def decoder(service_settings: Settings) -> Iterator[Decoder]:
    with Decoder(service_settings) as decoder:
        yield decoder


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def saved(data: bytes) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        path.write_bytes(data)
        return path

    return saved


def multi_frame(frames: int, side: int = 8, **attributes: Any) -> bytes:
    pixels = np.arange(frames * side * side, dtype=np.uint16).reshape(frames, side, side) % 4096
    return dicom_bytes(pixels, **attributes)


def floating(values: NDArray[np.float32]) -> bytes:
    """A multi-frame file of floating point pixels."""
    dataset = make_dataset(
        PixelData=None, NumberOfFrames=len(values), BitsAllocated=32, FloatPixelData=values.tobytes()
    )
    dataset.Rows, dataset.Columns = values.shape[1:]
    for absent in ("BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[absent]
    return to_bytes(dataset)


def test_frames_equal_those_of_this_process_when_the_child_decodes(
    decoder: Decoder, service_settings: Settings, tmp_path: Path
) -> None:
    truths = write_cohort(tmp_path, patients=6, seed=1)

    for truth in truths:
        path = tmp_path / truth.path
        here = [to_input(frame, CONTRACT) for frame in iter_frames(path, ReadLimits.of_settings(service_settings))]
        [(number, values)] = decoder.frames(path, CONTRACT)

        assert number == 1
        assert values.dtype == np.float32
        assert_array_equal(values, here[0])


def test_lossless_codings_give_the_identical_input(decoder: Decoder) -> None:
    names = ("MR_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian")
    paths = [Path(str(get_testdata_file(f"{name}.dcm", download=False))) for name in names]

    plain, *others = (values for path in paths for _, values in decoder.frames(path, CONTRACT))

    assert np.ptp(plain) > 0.5
    for other in others:
        assert_array_equal(other, plain)


def test_multi_frame_gives_its_frames_in_order(decoder: Decoder, save: Callable[[bytes], Path]) -> None:
    values = np.linspace(0, 1, 5 * 64, dtype=np.float32).reshape(5, 8, 8)
    fields = contract_fields(side=8)
    fields["preprocess"]["intensity"] = {"kind": "none"}

    frames = list(decoder.frames(save(floating(values)), load_contract(json.dumps(fields))))

    assert [number for number, _ in frames] == [1, 2, 3, 4, 5]
    assert_array_equal(np.stack([frame[:, :, 0] for _, frame in frames]), values)


def test_decoder_works_on_when_its_iterator_is_closed_early(decoder: Decoder, save: Callable[[bytes], Path]) -> None:
    frames = decoder.frames(save(multi_frame(200, side=32)), make_contract(side=64))
    next(frames)
    frames.close()  # type: ignore[attr-defined]

    assert len(list(decoder.frames(save(multi_frame(3)), CONTRACT))) == 3


def test_frames_before_a_bad_one_are_given(decoder: Decoder, save: Callable[[bytes], Path]) -> None:
    values = np.zeros((3, 8, 8), np.float32)
    values[2, 0, 0] = np.nan
    frames = decoder.frames(save(floating(values)), CONTRACT)

    assert [next(frames)[0], next(frames)[0]] == [1, 2]
    with pytest.raises(DecodeError, match="finite") as caught:
        next(frames)
    assert caught.value.recorded_reason == Reason.DECODE_FAILED


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"", OverreadError, Reason.EMPTY_FILE),
        (b"not DICOM" * 200, OverreadError, Reason.NOT_DICOM),
        (dicom_bytes(PixelData=None), DecodeError, Reason.NO_PIXEL_DATA),
        (dicom_bytes(PixelData=bytes(100)), DecodeError, Reason.TRUNCATED),
        (dicom_bytes(RescaleSlope="1e300", RescaleIntercept="0"), DecodeError, Reason.DECODE_FAILED),
        (absurd_dimensions(), LimitExceededError, Reason.PIXELS_TOO_LARGE),
        (compressed_bytes(b"rubbish" * 20, JPEG2000Lossless), DecodeError, Reason.DECODE_FAILED),
        (compressed_bytes(b"rubbish" * 20, MPEG2MPML), DecodeError, Reason.UNSUPPORTED_TRANSFER_SYNTAX),
    ],
)
def test_failure_has_its_reason_and_leaves_the_next_file_unharmed(
    decoder: Decoder, save: Callable[[bytes], Path], data: bytes, error: type[OverreadError], reason: Reason
) -> None:
    with pytest.raises(error) as caught:
        list(decoder.frames(save(data), CONTRACT))

    assert getattr(caught.value, "recorded_reason", None) == reason
    assert len(list(decoder.frames(save(dicom_bytes(ramp())), CONTRACT))) == 1


def test_missing_blob_has_its_reason(decoder: Decoder, tmp_path: Path) -> None:
    with pytest.raises(OverreadError) as caught:
        list(decoder.frames(tmp_path / "gone", CONTRACT))

    assert getattr(caught.value, "recorded_reason", None) == Reason.BLOB_MISSING


def test_reason_is_timeout_when_decoding_takes_too_long(tmp_path: Path, save: Callable[[bytes], Path]) -> None:
    path = save(multi_frame(50))

    with (
        Decoder(load_settings(data_dir=tmp_path, decode_timeout_s=0.001)) as hasty,
        pytest.raises(ChildCrashedError) as caught,
    ):
        list(hasty.frames(path, CONTRACT))

    assert caught.value.recorded_reason == Reason.DECODE_TIMEOUT


def test_reason_is_memory_when_a_frame_needs_more_than_allowed(tmp_path: Path, save: Callable[[bytes], Path]) -> None:
    side = 8192
    path = save(
        to_bytes(make_dataset(np.zeros((1, 1), np.uint16), Rows=side, Columns=side, PixelData=bytes(2 * side**2)))
    )
    settings = load_settings(data_dir=tmp_path, child_memory_bytes=800 * 1024 * 1024)

    with Decoder(settings) as small, pytest.raises(ChildCrashedError) as caught:
        list(small.frames(path, CONTRACT))

    assert caught.value.recorded_reason == Reason.DECODE_OUT_OF_MEMORY


def test_reason_is_crashed_when_each_child_is_killed(tmp_path: Path, save: Callable[[bytes], Path]) -> None:
    path, good = save(multi_frame(300, side=32)), save(multi_frame(2))
    others = set(psutil.Process().children())

    with Decoder(load_settings(data_dir=tmp_path)) as decoder:
        frames = decoder.frames(path, make_contract(side=64))
        with pytest.raises(ChildCrashedError) as caught:
            [[child.kill() for child in set(psutil.Process().children()) - others] for _ in frames]

        assert caught.value.recorded_reason == Reason.DECODE_CRASHED
        assert caught.value.context["evidence"] == {"signal": "SIGKILL", "tries": 2, "log": ""}
        assert len(list(decoder.frames(good, CONTRACT))) == 2


def test_one_child_serves_many_files_good_and_bad(tmp_path: Path, save: Callable[[bytes], Path]) -> None:
    good, bad = save(multi_frame(2)), save(dicom_bytes(PixelData=None))
    others = set(psutil.Process().children())

    with Decoder(load_settings(data_dir=tmp_path)) as decoder:
        seen = set()
        for _ in range(5):
            list(decoder.frames(good, CONTRACT))
            with pytest.raises(DecodeError):
                list(decoder.frames(bad, CONTRACT))
            seen |= set(psutil.Process().children()) - others

    assert len(seen) == 1


def test_each_thread_gets_its_own_contracts_frames(decoder: Decoder, save: Callable[[bytes], Path]) -> None:
    path = save(multi_frame(3))
    contracts = [make_contract(side, channels) for side in (4, 9, 16) for channels in (1, 3)] * 4

    def shapes(contract: ModelContract) -> set[tuple[int, ...]]:
        return {values.shape for _, values in decoder.frames(path, contract)}

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(shapes, contracts))

    assert found == [{(c.input.rows, c.input.columns, c.input.channels)} for c in contracts]


@pytest.mark.parametrize(
    ("meta", "values"),
    [
        ({"frame": 2}, np.zeros((SIDE, SIDE))),
        ({}, np.zeros((SIDE, SIDE))),
        ({"frame": 1}, np.zeros((SIDE, SIDE + 1))),
        ({"frame": 1}, np.full((SIDE, SIDE), np.nan)),
    ],
    ids=["another frame", "no number", "another shape", "not finite"],
)
def test_reply_is_not_believed_when_it_is_not_the_next_frame(meta: dict[str, Any], values: NDArray[Any]) -> None:
    reply = Reply(meta, values.astype("<f4").tobytes())

    with pytest.raises(ChildCrashedError) as caught:
        _received(reply, 1, CONTRACT)

    assert caught.value.recorded_reason == Reason.DECODE_CRASHED


def test_child_imports_neither_tensorflow_nor_keras() -> None:
    program = (
        "import sys, worker.inference.decode; print([n for n in ('tensorflow', 'keras', 'h5py') if n in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("coded", [dicom_bytes, rle_bytes], ids=["uncompressed", "RLE"])
def test_wanted_frames_are_those_of_the_whole_instance(
    decoder: Decoder, save: Callable[[bytes], Path], coded: Callable[..., bytes]
) -> None:
    pixels = np.stack([np.roll(ramp(), number) for number in range(6)])
    path = save(coded(pixels))

    whole = dict(decoder.frames(path, CONTRACT))
    some = list(decoder.frames(path, CONTRACT, (2, 3, 6)))

    assert [number for number, _ in some] == [2, 3, 6]
    for number, values in some:
        assert_array_equal(values, whole[number])


def test_wanted_frame_that_is_not_there_has_its_reason(decoder: Decoder, save: Callable[[bytes], Path]) -> None:
    path = save(rle_bytes(np.stack([ramp()] * 3)))

    with pytest.raises(DecodeError) as caught:
        list(decoder.frames(path, CONTRACT, (1, 9)))

    assert caught.value.recorded_reason in (Reason.TRUNCATED, Reason.DECODE_FAILED)
