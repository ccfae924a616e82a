"""The content store: bytes under their digest, written once, whole or not at all."""

import errno
import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageFullError, StorageUnavailableError
from shared.storage import CHUNK_BYTES, FOLDERS, ContentStore, SpooledBlob

DATA = b"some bytes of a file"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


def _files(store: ContentStore) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def _spooled(store: ContentStore, data: bytes = DATA) -> SpooledBlob:
    return store.put_file(io.BytesIO(data))


def test_bytes_lie_under_their_digest_when_they_are_put(store: ContentStore) -> None:
    blob = store.put(DATA)

    assert (blob.sha256, blob.size_bytes) == (DIGEST, len(DATA))
    assert store.exists(DIGEST)
    assert store.path(DIGEST) == store.root / "blobs" / DIGEST[:2] / DIGEST
    assert store.path(DIGEST).read_bytes() == DATA
    assert _files(store) == [store.path(DIGEST)]


def test_spooled_bytes_have_no_name_until_they_are_kept(store: ContentStore) -> None:
    blob = _spooled(store)

    assert not store.exists(DIGEST)
    assert blob.path.parent == store.root / "tmp"
    store.keep(blob)
    assert store.exists(DIGEST)
    assert not blob.path.exists()


def test_pieces_become_one_blob(store: ContentStore) -> None:
    with store.spool() as spool:
        for piece in (DATA[:5], memoryview(DATA)[5:9], DATA[9:]):
            spool.write(piece)

    assert spool.finish().sha256 == DIGEST


def test_large_file_is_copied_in_chunks(store: ContentStore) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 17)

    blob = _spooled(store, data)

    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert blob.path.read_bytes() == data


def test_second_keeping_changes_nothing(store: ContentStore) -> None:
    store.put(DATA)
    inode = store.path(DIGEST).stat().st_ino
    again = _spooled(store)

    store.keep(again)
    again.drop()
    again.drop()

    assert store.path(DIGEST).stat().st_ino == inode
    assert _files(store) == [store.path(DIGEST)]


def test_damaged_blob_is_replaced_when_its_bytes_come_again(store: ContentStore) -> None:
    store.put(DATA)
    store.path(DIGEST).write_bytes(DATA[:3])

    store.put(DATA)

    assert store.path(DIGEST).read_bytes() == DATA


def test_same_bytes_are_kept_once_when_threads_race(store: ContentStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda _: store.put(DATA).sha256, range(24)))

    assert set(digests) == {DIGEST}
    assert _files(store) == [store.path(DIGEST)]
    assert store.path(DIGEST).read_bytes() == DATA


def test_spool_leaves_nothing_when_its_block_fails(store: ContentStore) -> None:
    def fail() -> None:
        with store.spool() as spool:
            spool.write(DATA)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert _files(store) == []


def test_dropped_bytes_are_gone(store: ContentStore) -> None:
    blob = _spooled(store)

    blob.drop()

    assert _files(store) == []


def test_bytes_and_folder_reach_the_disk_before_keep_returns(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    blob = _spooled(store)
    monkeypatch.setattr(os, "fsync", watch)

    store.keep(blob)

    folder = store.path(DIGEST).parent
    # The folder is new, so its own entry must last too, before the bytes are named in it.
    assert synced == [folder.parent, blob.path, folder]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, StorageUnavailableError)],
)
def test_disk_trouble_has_a_name_when_bytes_are_written(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    blob = _spooled(store)
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(expected) as raised:
        store.keep(blob)

    assert str(store.root) not in str(raised.value)
    assert not store.exists(DIGEST)


def test_full_disk_is_told_and_leaves_nothing_when_it_fills_midway(tmp_path: Path) -> None:
    """/dev/full takes the place of the temporary file: every write to it fails as on a full disk."""
    store = ContentStore(tmp_path)

    def write() -> None:
        with store.spool() as spool, Path("/dev/full").open("wb", buffering=0) as full:
            os.dup2(full.fileno(), spool._file.fileno())
            spool.write(DATA)

    with pytest.raises(StorageFullError):
        write()

    assert _files(store) == []


def test_full_disk_is_told_and_leaves_nothing_when_it_shows_at_the_close(store: ContentStore) -> None:
    """As on a network disk, or over a quota: the last writes fail only when the file is closed."""
    spool = store.spool()
    spool.write(DATA)
    spool._file.close()
    spool._file = FailingFile()

    with pytest.raises(StorageFullError):
        spool.finish()

    assert _files(store) == []


def test_small_bytes_leave_nothing_when_they_cannot_be_kept(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StorageFullError):
        store.put(DATA)

    assert _files(store) == []


class FailingFile(io.BytesIO):
    def close(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_room_is_required_until_there_is_enough(store: ContentStore) -> None:
    with pytest.raises(StorageFullError, match="must stay free"):
        store.require_room(2 * store.free_bytes())

    store.require_room(store.free_bytes() // 2)


def test_store_cannot_be_made_when_its_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")

    with pytest.raises(StorageUnavailableError):
        ContentStore(tmp_path / "store")


def test_folders_are_for_the_owner_only(store: ContentStore) -> None:
    store.put(DATA)

    for folder in ("blobs", "tmp", f"blobs/{DIGEST[:2]}"):
        assert (store.root / folder).stat().st_mode & 0o077 == 0
    assert store.path(DIGEST).stat().st_mode & 0o077 == 0


def test_sweep_removes_only_what_no_living_request_owns(store: ContentStore) -> None:
    store.put(b"kept")
    old, young = _spooled(store, b"old"), _spooled(store, b"young")
    os.utime(old.path, (time.time() - 7200, time.time() - 7200))

    removed = store.sweep(older_than_s=3600, now_s=time.time())

    assert removed == 1
    assert not old.path.exists()
    assert young.path.exists()
    assert store.exists(hashlib.sha256(b"kept").hexdigest())


def test_free_bytes_are_those_of_the_disk(store: ContentStore) -> None:
    assert 0 < store.free_bytes() <= os.statvfs(store.root).f_blocks * os.statvfs(store.root).f_frsize


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_blob_is_old_until_its_bytes_come_again(store: ContentStore) -> None:
    store.put(DATA)
    _age(store.path(DIGEST), 7200)
    before = store.old_blobs(DIGEST[:2], 3600)

    store.put(DATA)

    assert before == [DIGEST]
    assert store.old_blobs(DIGEST[:2], 3600) == []


def test_blob_is_young_when_its_spooled_bytes_were_old(store: ContentStore) -> None:
    blob = _spooled(store)
    _age(blob.path, 7200)

    store.keep(blob)

    assert not store.is_old(DIGEST, 3600)


def test_only_blobs_are_listed_as_old(store: ContentStore) -> None:
    store.put(DATA)
    stranger = store.path(DIGEST).with_name("notes.txt")
    stranger.touch()
    for path in (store.path(DIGEST), stranger):
        _age(path, 7200)

    assert [name for folder in FOLDERS for name in store.old_blobs(folder, 3600)] == [DIGEST]
