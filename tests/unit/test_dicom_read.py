"""Headers: what is kept of a good file, and the named reason for every other."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pydicom.data
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from shared.config import Settings
from shared.dicom.read import Header, HeaderReader, ReadLimits, check_dimensions, read_header
from shared.errors import ChildCrashedError, InvalidDicomError, LimitExceededError, OverreadError, PermanentError
from shared.reasons import Reason
from tests import dicom_samples as samples

MIB = 1024 * 1024
LIMITS = ReadLimits.of_settings(Settings())
REASONS = {
    "empty": Reason.EMPTY_FILE,
    "text": Reason.NOT_DICOM,
    "noise": Reason.NOT_DICOM,
    "truncated": Reason.TRUNCATED,
    "deflate_bomb": Reason.INFLATED_TOO_LARGE,
    "nested_undefined": Reason.NESTED_TOO_DEEP,
    "nested_stated": Reason.NESTED_TOO_DEEP,
    "path_like_uids": Reason.INVALID_UID,
    "pe_preamble": Reason.PROGRAM_IN_PREAMBLE,
    "elf_preamble": Reason.PROGRAM_IN_PREAMBLE,
    "dicomdir": Reason.DICOMDIR,
    "without_uids": Reason.MISSING_UID,
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, data in samples.hostile_files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def reader() -> Iterator[HeaderReader]:
    reader = HeaderReader(Settings(parse_processes=1))
    yield reader
    reader.close()


def header_of(tmp_path: Path, data: bytes, limits: ReadLimits = LIMITS) -> Header:
    path = tmp_path / "instance"
    path.write_bytes(data)
    return read_header(path, limits)


def reason_of(tmp_path: Path, data: bytes, limits: ReadLimits = LIMITS) -> Reason:
    with pytest.raises(PermanentError) as caught:
        header_of(tmp_path, data, limits)
    return caught.value.recorded_reason


def test_header_holds_what_the_file_says_when_it_is_good(tmp_path: Path) -> None:
    data = samples.dicom_bytes(
        samples.ramp(12, 16),
        IssuerOfPatientID="HOSPITAL",
        PatientBirthDate="19700101",
        PatientSex="F",
        StudyTime="101112",
        AcquisitionDate="20260102",
        AcquisitionTime="101113.5",
        BodyPartExamined="CHEST",
        Manufacturer="ACME",
        StationName="CT1",
        StudyID="S7",
        AccessionNumber="A7",
        StudyDescription="CT of the chest",
        TimezoneOffsetFromUTC="+0100",
        Laterality="L",
        SeriesNumber=3,
        InstanceNumber=-7,
    )

    header = header_of(tmp_path, data)

    assert header == Header(
        study_instance_uid=samples.make_uid("study"),
        series_instance_uid=samples.make_uid("series"),
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id="P1",
        issuer_of_patient_id="HOSPITAL",
        patient_name="Doe^Jane",
        patient_birth_date="19700101",
        patient_sex="F",
        study_date="20260102",
        study_time="101112",
        study_id="S7",
        accession_number="A7",
        study_description="CT of the chest",
        timezone_offset="+0100",
        acquisition_at="20260102101113.5",
        modality="CT",
        body_part_examined="CHEST",
        laterality="L",
        manufacturer="ACME",
        station_name="CT1",
        photometric_interpretation="MONOCHROME2",
        rows=12,
        columns=16,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        number_of_frames=0,
        series_number=3,
        instance_number=-7,
        has_pixel_data=True,
        planes=(),
    )


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_header_is_the_same_when_the_transfer_syntax_differs(tmp_path: Path, syntax: str) -> None:
    uid = samples.make_uid("one instance")

    plain = header_of(tmp_path, samples.dicom_bytes(SOPInstanceUID=uid))
    coded = header_of(tmp_path, samples.dicom_bytes(SOPInstanceUID=uid, syntax=syntax))

    assert coded == replace(plain, transfer_syntax_uid=syntax)


def test_header_is_read_when_nothing_can_decode_the_pixels(tmp_path: Path) -> None:
    header = header_of(tmp_path, samples.compressed_bytes(b"\xff\xd8", "1.2.840.10008.1.2.4.55"))

    assert header.transfer_syntax_uid == "1.2.840.10008.1.2.4.55"
    assert header.has_pixel_data


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_header_names_the_encoding_found_when_there_is_no_file_meta(tmp_path: Path, syntax: str) -> None:
    bare = samples.without_file_meta(samples.dicom_bytes(syntax=syntax))

    header = header_of(tmp_path, bare)

    assert header.transfer_syntax_uid == syntax
    assert header.study_instance_uid == samples.make_uid("study")


def test_header_says_so_when_there_is_no_pixel_data(tmp_path: Path) -> None:
    header = header_of(tmp_path, samples.dicom_bytes(PixelData=None, Rows=None, Modality="SR"))

    assert not header.has_pixel_data
    assert header.rows == 0


def test_header_text_is_cleaned_and_cut_when_it_is_wild(tmp_path: Path) -> None:
    dataset = samples.make_dataset(PatientID="a\x00\x1b[31mb\u202ec", Manufacturer="M" * 500, PatientName="N" * 900)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.add_new("BodyPartExamined", "CS", ["CHEST", "ABDOMEN"])

    header = header_of(tmp_path, samples.to_bytes(dataset))

    assert header.patient_id == "a[31mbc"
    assert header.manufacturer == "M" * 64
    assert header.patient_name == "N" * 324
    assert header.body_part_examined == "CHEST"


def test_header_text_is_decoded_when_a_character_set_is_named(tmp_path: Path) -> None:
    dataset = samples.make_dataset(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎", StationName="Röntgen 1")

    header = header_of(tmp_path, samples.to_bytes(dataset))

    assert (header.patient_name, header.station_name) == ("山田^太郎", "Röntgen 1")


def test_header_number_fits_a_column_when_it_is_absurd(tmp_path: Path) -> None:
    header = header_of(tmp_path, samples.long_dimensions())

    assert (header.rows, header.columns) == (2**31 - 1, 2**31 - 1)


def test_header_takes_the_instances_uid_from_file_meta_when_the_data_set_lacks_it(tmp_path: Path) -> None:
    header = header_of(tmp_path, samples.dicom_bytes(SOPInstanceUID=None))

    assert header.sop_instance_uid == samples.make_uid("none")


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_reader_gives_the_reason_when_a_file_is_hostile(
    hostile: Path, reader: HeaderReader, name: str, reason: Reason
) -> None:
    rss_bytes = psutil.Process().memory_info().rss
    began = time.monotonic()

    with pytest.raises(PermanentError) as caught:
        reader.read(hostile / name)

    assert caught.value.recorded_reason == reason
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - rss_bytes < 20 * MIB


def test_reader_gives_the_header_when_the_one_before_was_hostile(
    hostile: Path, reader: HeaderReader, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    good.write_bytes(samples.dicom_bytes())

    with pytest.raises(LimitExceededError):
        reader.read(hostile / "nested_undefined")

    assert reader.read(good) == read_header(good, LIMITS)


def test_reader_refuses_the_answer_when_the_child_makes_one_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = asdict(header_of(tmp_path, samples.dicom_bytes()))
    lies = ({"rows": "12"}, {"patient_name": "N" * 325}, {"more": 1}, {"has_pixel_data": 1})
    monkeypatch.setattr("shared.dicom.read.HEADER_TARGET", "tests.sandbox_targets:say_what_the_file_says")
    reader = HeaderReader(Settings(parse_processes=1))

    with closing(reader):
        for lie in ({}, *lies):
            answer = tmp_path / "answer"
            answer.write_text(json.dumps(true | lie))
            if not lie:
                assert asdict(reader.read(answer)) == true
                continue
            with pytest.raises(ChildCrashedError) as caught:
                reader.read(answer)
            assert caught.value.recorded_reason == Reason.PARSE_CRASHED
        answer.write_text((json.dumps(true) + "\n") * 3)
        with pytest.raises(ChildCrashedError, match="single"):
            reader.read(answer)


@pytest.mark.parametrize("undefined_length", [True, False])
def test_nesting_is_counted_when_it_is_near_the_limit(tmp_path: Path, *, undefined_length: bool) -> None:
    at_limit = samples.nested_sequences(LIMITS.max_nesting, undefined_length=undefined_length)
    beyond = samples.nested_sequences(LIMITS.max_nesting + 1, undefined_length=undefined_length)

    assert header_of(tmp_path, at_limit).patient_id == "P1"
    assert reason_of(tmp_path, beyond) == Reason.NESTED_TOO_DEEP


def test_inflating_stops_when_the_limit_is_reached(tmp_path: Path) -> None:
    image = samples.dicom_bytes(samples.ramp(512, 512), DeflatedExplicitVRLittleEndian)

    assert header_of(tmp_path, image).rows == 512
    assert reason_of(tmp_path, image, replace(LIMITS, max_inflated_bytes=100_000)) == Reason.INFLATED_TOO_LARGE
    assert reason_of(tmp_path, image[:-400]) == Reason.TRUNCATED


def test_file_is_refused_when_it_is_larger_than_allowed(tmp_path: Path) -> None:
    assert reason_of(tmp_path, samples.dicom_bytes(), replace(LIMITS, max_file_bytes=1000)) == Reason.TOO_LARGE


def test_file_is_refused_when_its_bytes_are_gone(tmp_path: Path) -> None:
    with pytest.raises(InvalidDicomError) as caught:
        read_header(tmp_path / "gone", LIMITS)

    assert caught.value.recorded_reason == Reason.BLOB_MISSING


def test_every_cut_of_a_file_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    data = samples.dicom_bytes(samples.ramp(4, 4))
    reasons: list[Reason] = []

    for length in (*range(140), *range(140, len(data), 3), *range(len(data) - 33, len(data))):
        try:
            assert not header_of(tmp_path, data[:length]).has_pixel_data, "cut between two attributes"
        except PermanentError as error:
            reasons.append(error.recorded_reason)

    assert set(reasons) == {Reason.EMPTY_FILE, Reason.NOT_DICOM, Reason.TRUNCATED, Reason.MISSING_UID}
    assert set(reasons[-33:]) == {Reason.TRUNCATED}, "cut in the pixel data"


def test_every_fault_is_named_when_bytes_are_changed(tmp_path: Path) -> None:
    chance = random.Random(2)
    good = samples.nested_sequences(5) + samples.noise(200)

    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(128, len(data))] = chance.randrange(256)
        try:
            header_of(tmp_path, bytes(data))
        except OverreadError as error:
            assert isinstance(error, PermanentError)  # noqa: PT017 - any other class would be a fault of ours


def test_nothing_is_said_of_the_patient_when_a_file_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = samples.dicom_bytes(PatientName="Secret^Name", PatientID="SECRET", StudyInstanceUID="1.2.SECRET")

    with pytest.raises(InvalidDicomError) as caught:
        header_of(tmp_path, data)

    assert "SECRET" not in repr((caught.value.args, caught.value.context)).upper()
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("claims", "is_refused"),
    [
        ({"rows": 65535, "columns": 65535, "number_of_frames": 10_000}, True),
        ({"rows": 16384, "columns": 16384, "bits_allocated": 16}, False),
        ({"rows": 16384, "columns": 16385, "bits_allocated": 16}, True),
        ({"rows": 1024, "columns": 1024, "bits_allocated": 8, "samples_per_pixel": 3, "number_of_frames": 682}, False),
        ({"rows": 1024, "columns": 1024, "bits_allocated": 8, "samples_per_pixel": 3, "number_of_frames": 683}, True),
    ],
)
def test_dimensions_are_refused_when_they_claim_too_much(
    tmp_path: Path, claims: dict[str, int], *, is_refused: bool
) -> None:
    header = replace(header_of(tmp_path, samples.dicom_bytes()), **claims)

    if not is_refused:
        check_dimensions(header, LIMITS)
        return
    with pytest.raises(LimitExceededError) as caught:
        check_dimensions(header, LIMITS)
    assert caught.value.recorded_reason == Reason.PIXELS_TOO_LARGE


def test_headers_of_pydicoms_own_files_are_read_or_refused_by_name(reader: HeaderReader) -> None:
    folder = Path(pydicom.data.__file__).parent
    refused: dict[Reason, set[str]] = {}

    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".dcm", ""}:
            try:
                reader.read(path)
            except PermanentError as error:
                refused.setdefault(error.recorded_reason, set()).add(path.name)

    assert refused.keys() <= {Reason.MISSING_UID, Reason.TRUNCATED, Reason.NOT_DICOM, Reason.DICOMDIR}
    assert refused[Reason.TRUNCATED] == {"MR_truncated.dcm", "rtplan_truncated.dcm"}
    assert refused[Reason.NOT_DICOM] == {"no_meta.dcm", "README"}
