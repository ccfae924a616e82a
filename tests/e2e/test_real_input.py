"""Real files of many scanners, codings and kinds of damage in one submission: each gets a prediction or a reason."""

import io
import sqlite3
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cohorts import zipped
from tests.model_samples import accept_everything_package, zip_package
from tests.support import DATA_FOLDER, shared_file
from tests.system import System, running_system

SOURCES = ("transfer-syntaxes.zip", "ct-contrast.zip", "pydicom-data.zip")

# Plain pydicom decodes these, and we do not: without their UIDs they belong to no study, so they are not stored.
# Reviewed one by one: twelve name no Study or Series Instance UID, one has hashes for UIDs.
REFUSED_THOUGH_DECODABLE = {
    "HTJ2KLossless_08_RGB.dcm": "missing_uid",
    "HTJ2K_08_RGB.dcm": "missing_uid",
    "JLSL_08_07_0_1F.dcm": "missing_uid",
    "JLSL_16_15_1_1F.dcm": "missing_uid",
    "JLSL_RGB_ILV0.dcm": "missing_uid",
    "JLSL_RGB_ILV1.dcm": "missing_uid",
    "JLSL_RGB_ILV2.dcm": "missing_uid",
    "JLSN_RGB_ILV0.dcm": "missing_uid",
    "JPEGLSNearLossless_08.dcm": "missing_uid",
    "JPEGLSNearLossless_16.dcm": "missing_uid",
    "SC_rgb_jls_lossy_line.dcm": "missing_uid",
    "SC_rgb_jls_lossy_sample.dcm": "missing_uid",
    "bad_sequence.dcm": "invalid_uid",
}

# The independent script: plain pydicom with every plugin that is installed, nothing of ours.
SCRIPT = """
import sys, warnings, zipfile, io
import numpy as np, pydicom
warnings.simplefilter("ignore")
for line in sys.stdin.read().splitlines():
    source, name = line.split("|", 1)
    data = zipfile.ZipFile(source).read(name)
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        array = dataset.pixel_array
        frames = int(dataset.get("NumberOfFrames") or 1)
    except Exception:
        frames = 0
    print(frames, name, sep="|")
"""


def _entries(source: Path) -> list[str]:
    with zipfile.ZipFile(source) as archive:
        return [info.filename for info in archive.infolist() if not info.is_dir()]


def _decodable(sources: list[Path]) -> dict[str, int]:
    """Frames that the independent script decodes of each file."""
    lines = "\n".join(f"{source}|{name}" for source in sources for name in _entries(source))
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=lines, capture_output=True, text=True, check=True)
    return {name: int(frames) for frames, name in (line.split("|", 1) for line in done.stdout.splitlines())}


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    return [shared_file(DATA_FOLDER / name) for name in SOURCES]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("package")
    with running_system() as running:
        running.add_model(zip_package(accept_everything_package(folder / "model"), folder / "model.zip"))
        yield running


@pytest.fixture(scope="module")
def submitted(system: System, sources: list[Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The finished job of all three zips in one multipart body, and its items."""
    parts = [("files", (source.name, source.read_bytes(), "application/zip")) for source in sources]
    answer = system.http.post("/api/v1/jobs", files=parts, timeout=300.0)
    assert answer.status_code == 202, answer.text
    job = system.finished(answer.json()["id"], timeout_s=240.0)
    return job, system.pages(f"/api/v1/jobs/{job['id']}/items")


def _predictions(system: System) -> dict[str, list[tuple[int, str]]]:
    with sqlite3.connect(system.data_dir / "overread.sqlite") as database:
        rows = database.execute("SELECT blob_sha256, frame, probabilities FROM prediction").fetchall()
    database.close()
    found: dict[str, list[tuple[int, str]]] = {}
    for blob, frame, probabilities in rows:
        found.setdefault(blob, []).append((frame, probabilities))
    return found


def test_every_file_ends_as_a_prediction_or_a_named_reason(
    system: System, sources: list[Path], submitted: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    job, items = submitted
    decodable = _decodable(sources)

    counts = job["counts"]
    assert counts["done"] + counts["failed"] == counts["total"] == len(items)
    assert counts["pending"] == counts["cancelled"] == 0
    assert all(item["reason"] and item["reason_text"] for item in items if item["state"] == "failed")
    crashes = [item for item in items if item["reason"] in ("decode_crashed", "decode_timeout", "worker_crashed")]
    assert crashes == []

    # Files with equal bytes are one item, under the first of their names.
    by_name = {item["name"].split("/", 1)[1]: item for item in items}
    refused = {}
    for name, frames in decodable.items():
        item = by_name.get(name)
        if item is None or item["frames"] == frames:
            continue
        refused[Path(name).name] = item["reason"]
    assert refused == {name: reason for name, reason in REFUSED_THOUGH_DECODABLE.items() if name in refused}
    assert sum(item["frames"] for item in items) == sum(len(frames) for frames in _predictions(system).values())
    expected = sum(frames for name, frames in decodable.items() if name in by_name)
    lost = sum(frames for name, frames in decodable.items() if Path(name).name in refused)
    assert sum(item["frames"] for item in items) == expected - lost


def test_no_file_is_dropped_silently(
    sources: list[Path], submitted: tuple[dict[str, Any], list[dict[str, Any]]], system: System
) -> None:
    _, items = submitted
    shown = {item["sha256"] for item in items if item["sha256"]}
    digests = set()
    for source in sources:
        with zipfile.ZipFile(source) as archive:
            digests |= {_sha256(archive.read(name)) for name in _entries(source)}

    without_bytes = [item for item in items if not item["sha256"]]

    assert len(digests - shown) <= len(without_bytes)


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_files_that_share_a_uid_but_not_bytes_are_all_kept_and_flagged(
    submitted: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    _, items = submitted

    uids = Counter(item["sop_instance_uid"] for item in items if item["sop_instance_uid"])
    shared = [item for item in items if uids[item["sop_instance_uid"]] > 1]

    assert max(uids.values()) >= 10
    assert all(item["conflict"] for item in shared)
    assert not any(item["conflict"] for item in items if item["sop_instance_uid"] and item not in shared)


def test_one_image_in_its_lossless_codings_gives_one_prediction_each_time(
    system: System, submitted: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    lossless = {
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.5",
    }
    _, items = submitted
    images = {
        item["sha256"]
        for item in items
        if item["name"].startswith("transfer-syntaxes.zip/") and "CTImage" in item["name"]
    }
    with sqlite3.connect(system.data_dir / "overread.sqlite") as database:
        syntaxes = dict(database.execute("SELECT blob_sha256, transfer_syntax_uid FROM instance").fetchall())
    database.close()
    blobs = {blob for blob in images if syntaxes[blob] in lossless}

    predictions = {blob: frames for blob, frames in _predictions(system).items() if blob in blobs}

    assert len(blobs) >= 7
    assert set(predictions) == blobs
    assert len({str(frames) for frames in predictions.values()}) == 1


def test_text_and_damaged_zip_are_named_beside_good_neighbours(system: System, sources: list[Path]) -> None:
    with zipfile.ZipFile(sources[1]) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dcm"))
        good = archive.read(name)
    inner = io.BytesIO()
    zipfile.ZipFile(inner, "w").close()

    body = zipped(
        [("good.dcm", good), ("notes.txt", b"not an image"), ("cut.dcm", good[:700]), ("a.zip", b"PK\x03\x04x")]
    )
    job = system.submit(body, label="mixed")

    job = system.finished(job["id"])
    items = {item["name"]: item["reason"] for item in system.pages(f"/api/v1/jobs/{job['id']}/items")}
    assert items == {"good.dcm": None, "notes.txt": "not_dicom", "cut.dcm": "truncated", "a.zip": "nested_archive"}
