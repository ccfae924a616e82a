"""Packages as a data scientist sends them: opened, verified, or refused with a message that helps."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidModelPackageError
from shared.model_package import ModelContract, accepts, load_contract, open_package
from tests.model_samples import accept_everything_package, contract_fields, zip_package

MAX_BYTES = 1024 * 1024


def load(**changes: Any) -> ModelContract:
    return load_contract(json.dumps(contract_fields(**changes)))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_contract_loads_and_round_trips_when_valid(task: str) -> None:
    contract = load(task=task)

    again = load_contract(contract.model_dump_json())

    assert again == contract
    assert json.loads(contract.model_dump_json())["schema"] == "overread.model/1"
    assert ModelContract.model_validate(contract.model_dump(mode="json")) == contract


FINDING = {"code": "a", "display": "A", "threshold": 0.5}
MIN_MAX = {"units": "stored", "intensity": {"kind": "min_max"}, "resize": "pad"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "overread.model/2"}, "schema: got 'overread.model/2'; input should be 'overread.model/1'"),
        ({"name": "My Model"}, "name: got 'My Model'"),
        ({"colour": "red"}, "colour: is not a field of model.json"),
        ({"findings": [FINDING | {"threshold": 1.5}]}, "findings.0.threshold: got 1.5; input should be less than"),
        ({"findings": [FINDING | {"threshold": "0.5"}]}, "findings.0.threshold: got '0.5'"),
        ({"findings": [{"code": "a", "display": "A"}]}, "findings.0.threshold: is missing"),
        ({"findings": [FINDING, FINDING | {"code": "b"}]}, "a binary model has exactly 1"),
        ({"task": "multiclass", "findings": [FINDING]}, "a multiclass model has 2 or more"),
        ({"task": "multilabel", "findings": [FINDING, FINDING]}, "each code must be there once"),
        ({"findings": [FINDING | {"background": True}]}, "marked as background"),
        ({"input": {"rows": 0, "columns": 32, "channels": 1}}, "input.rows: got 0"),
        ({"input": {"rows": 32, "columns": 32, "channels": 2}}, "input.channels: got 2"),
        (
            {"preprocess": MIN_MAX | {"intensity": {"kind": "window", "center": 0, "width": 0}}},
            "preprocess.intensity.window.width: got 0",
        ),
        ({"preprocess": MIN_MAX | {"intensity": {"kind": "log"}}}, "input tag 'log'"),
        ({"slices": {"select": {"kind": "some"}}}, "slices.select: got {'kind': 'some'}"),
        ({"slices": {"select": {"kind": "every_nth", "n": 1}}}, "slices.select.every_nth.n: got 1"),
        ({"slices": {"select": {"kind": "central_share", "share": 0}}}, "slices.select.central_share.share: got 0"),
        (
            {"preprocess": MIN_MAX | {"normalise": {"mean": [0, 0, 0], "std": [1, 1, 1]}}},
            "preprocess.normalise.mean: 3 numbers for 1 channels",
        ),
        ({"time_scope": {"kind": "window_days"}}, "time_scope.window_days.days: is missing"),
        ({"weights": {"file": "../w.keras", "sha256": "0" * 64}}, "weights.file: got '../w.keras'"),
        ({"weights": {"file": "weights.h5", "sha256": "0" * 64}}, "weights.file: got 'weights.h5'"),
        ({"weights": {"file": "weights.keras", "sha256": "abc"}}, "weights.sha256: got 'abc'"),
    ],
)
def test_contract_says_field_and_remedy_when_invalid(changes: dict[str, Any], words: str) -> None:
    text = json.dumps(contract_fields() | changes)

    with pytest.raises(InvalidModelPackageError) as caught:
        load_contract(text)

    assert words in caught.value.message
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', "[" * 100_000, b"\xff\xfe\x00", " " * (1024 * 1024 + 1)],
    ids=["empty", "cut", "list", "null", "text", "deep", "no utf-8", "large"],
)
def test_contract_is_refused_when_not_a_json_object(text: str | bytes) -> None:
    with pytest.raises(InvalidModelPackageError, match=r"model\.json"):
        load_contract(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_contract_is_refused_when_a_number_is_not_finite(number: str) -> None:
    text = json.dumps(contract_fields()).replace('"threshold": 0.5', f'"threshold": {number}')

    with pytest.raises(InvalidModelPackageError, match=r"findings\.0\.threshold"):
        load_contract(text)


CHEST_FILM = {
    "modality": "DX",
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
    "body_part_examined": "CHEST",
    "photometric_interpretation": "MONOCHROME2",
}


def test_accepts_gives_none_when_the_model_takes_anything() -> None:
    contract = load()

    assert accepts(contract, **CHEST_FILM) is None
    assert accepts(contract, **dict.fromkeys(CHEST_FILM, "")) is None


@pytest.mark.parametrize(
    ("field", "allowed", "came", "sentence"),
    [
        ("modalities", ["CR", "DX"], {}, None),
        ("body_parts", ["chest"], {}, None),
        ("modalities", ["CT"], {}, "The model takes modality CT; this instance has DX."),
        ("sop_class_uids", ["1.2.3"], {}, "takes SOP class 1.2.3; this instance has 1.2.840"),
        ("body_parts", ["HEAD", "NECK"], {}, "takes body part HEAD, NECK; this instance has CHEST"),
        ("photometric_interpretations", ["RGB"], {}, "this instance has MONOCHROME2"),
        ("modalities", ["CT"], {"modality": ""}, "this instance has none"),
        ("body_parts", ["CHEST"], {"body_part_examined": "Doe, Jane"}, "this instance has another value."),
    ],
)
def test_accepts_gives_a_sentence_when_the_instance_is_of_another_kind(
    field: str, allowed: list[str], came: dict[str, str], sentence: str | None
) -> None:
    contract = load(accepts={field: allowed})

    answer = accepts(contract, **(CHEST_FILM | came))

    assert (answer is None) if sentence is None else (answer is not None and sentence in answer)


def test_package_has_one_digest_when_zipped_in_any_way(tmp_path: Path) -> None:
    folder = accept_everything_package(tmp_path / "package")
    stored = zip_package(folder, tmp_path / "stored.zip")
    deflated = zip_package(folder, tmp_path / "deflated.zip", compression=zipfile.ZIP_DEFLATED)

    packages = [open_package(path, max_bytes=MAX_BYTES) for path in (folder, stored, deflated)]

    assert len({package.digest for package in packages}) == 1
    weights = (folder / "weights.keras").read_bytes()
    assert all(b"".join(package.stream(package.contract.weights)) == weights for package in packages)


def test_package_digest_differs_when_the_contract_differs(tmp_path: Path) -> None:
    first = accept_everything_package(tmp_path / "first")
    second = accept_everything_package(tmp_path / "second", licence="MIT")

    digests = {open_package(path, max_bytes=MAX_BYTES).digest for path in (first, second)}

    assert len(digests) == 2


@pytest.mark.parametrize("zipped", [False, True])
def test_weights_are_refused_when_their_digest_is_wrong(tmp_path: Path, zipped: bool) -> None:
    folder = accept_everything_package(tmp_path / "package")
    with (folder / "weights.keras").open("ab") as handle:
        handle.write(b"more")
    package = open_package(zip_package(folder, tmp_path / "p.zip") if zipped else folder, max_bytes=MAX_BYTES)

    with pytest.raises(InvalidModelPackageError, match="was changed after the contract was written"):
        list(package.stream(package.contract.weights))


@pytest.mark.parametrize("missing", ["model.json", "weights.keras"])
def test_directory_is_refused_when_a_file_is_missing(tmp_path: Path, missing: str) -> None:
    folder = accept_everything_package(tmp_path / "package")
    (folder / missing).unlink()

    with pytest.raises(InvalidModelPackageError, match=f"the package lacks {missing}"):
        open_package(folder, max_bytes=MAX_BYTES)


def test_zip_is_refused_when_the_weights_are_missing(tmp_path: Path) -> None:
    folder = accept_everything_package(tmp_path / "package")
    (folder / "weights.keras").unlink()

    with pytest.raises(InvalidModelPackageError, match=r"the package lacks weights\.keras, which model\.json names"):
        open_package(zip_package(folder, tmp_path / "p.zip"), max_bytes=MAX_BYTES)


def test_package_is_refused_when_larger_than_allowed(tmp_path: Path) -> None:
    folder = accept_everything_package(tmp_path / "package")
    archive = zip_package(folder, tmp_path / "p.zip")

    for path in (folder, archive):
        with pytest.raises(InvalidModelPackageError, match="more than the 1000 allowed"):
            open_package(path, max_bytes=1000)


def entries_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["weights.keras"],
        ["model.json", "weights.h5"],
        ["model.json", "weights.keras", "evil.py"],
        ["package/model.json", "package/weights.keras"],
        ["model.json", "../weights.keras"],
        ["model.json", "/etc/weights.keras"],
        ["model.json", "weights.keras/"],
    ],
    ids=["one", "h5", "three", "folder", "parent", "absolute", "directory"],
)
def test_zip_is_refused_when_its_entries_are_not_the_two_files(tmp_path: Path, names: list[str]) -> None:
    path = entries_zip(tmp_path / "p.zip", dict.fromkeys(names, b"{}"))

    with pytest.raises(InvalidModelPackageError, match="expected exactly"):
        open_package(path, max_bytes=MAX_BYTES)


def test_zip_is_refused_unlisted_when_it_holds_thousands_of_entries(tmp_path: Path) -> None:
    path = entries_zip(tmp_path / "p.zip", {f"{number}.json": b"" for number in range(3000)})

    with pytest.raises(InvalidModelPackageError, match="far more entries than a model has"):
        open_package(path, max_bytes=MAX_BYTES)


def test_zip_is_refused_when_an_entry_is_encrypted(tmp_path: Path) -> None:
    path = entries_zip(tmp_path / "p.zip", {"model.json": b"{}", "weights.keras": b""})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # APPNOTE 4.4.4: general purpose bit 0
    path.write_bytes(data)

    with pytest.raises(InvalidModelPackageError, match="is encrypted"):
        open_package(path, max_bytes=MAX_BYTES)


def test_zip_is_refused_when_its_directory_is_told_by_a_zip64_record(tmp_path: Path) -> None:
    path = entries_zip(tmp_path / "p.zip", {"model.json": b"{}", "weights.keras": b""})
    data = path.read_bytes()
    locator = b"PK\x06\x07" + bytes(16)
    path.write_bytes(data[:-22] + locator + data[-22:])

    with pytest.raises(InvalidModelPackageError, match="is a zip64"):
        open_package(path, max_bytes=MAX_BYTES)


def test_zip_is_refused_when_an_entry_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    entries_zip(path, {"model.json": b"{}", "weights.keras": b""})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model.json", "{}")

    with pytest.raises(InvalidModelPackageError, match="each once"):
        open_package(path, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("bomb", ["model.json", "weights.keras"])
def test_zip_is_refused_unread_when_it_is_a_bomb_of_a_few_kilobytes(tmp_path: Path, bomb: str) -> None:
    entries = {"model.json": b"{}", "weights.keras": b""} | {bomb: bytes(4 * 1024 * 1024)}
    path = entries_zip(tmp_path / "p.zip", entries)
    assert path.stat().st_size < 8 * 1024

    with pytest.raises(InvalidModelPackageError, match="more than 200 times"):
        open_package(path, max_bytes=1024 * MAX_BYTES)


def test_zip_is_refused_when_it_lies_about_a_size(tmp_path: Path) -> None:
    entries = {"model.json": b" " * 100_000, "weights.keras": b""}
    path = entries_zip(tmp_path / "p.zip", entries)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))

    with pytest.raises(InvalidModelPackageError, match="is damaged"):
        open_package(path, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_is_refused_when_compressed_in_an_unbounded_way(tmp_path: Path, compression: int) -> None:
    path = entries_zip(tmp_path / "p.zip", {"model.json": b"{}", "weights.keras": b""}, compression)

    with pytest.raises(InvalidModelPackageError, match="stored or deflated"):
        open_package(path, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("data", [b"", b"PK", b"\x89HDF\r\n\x1a\n", b"\x80\x04N.", bytes(1000)])
def test_package_is_refused_when_it_is_not_a_zip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(data)

    with pytest.raises(InvalidModelPackageError, match="not a plain zip"):
        open_package(path, max_bytes=MAX_BYTES)


def test_zip_is_refused_when_damaged_in_any_byte_of_its_directory(tmp_path: Path) -> None:
    folder = accept_everything_package(tmp_path / "package")
    path = zip_package(folder, tmp_path / "p.zip")
    data = path.read_bytes()
    original = open_package(path, max_bytes=MAX_BYTES)

    for position in range(data.rindex(b"PK\x01\x02"), len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            package = open_package(path, max_bytes=MAX_BYTES)
            weights = b"".join(package.stream(package.contract.weights))
        except InvalidModelPackageError:
            continue
        assert package.digest == original.digest
        assert weights == (folder / "weights.keras").read_bytes()
