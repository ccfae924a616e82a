"""What engines compiled is kept under its digests: made once, made again when damaged, and not for ever."""

import os
import threading
import time
from pathlib import Path

import pytest

from worker.engines.artefacts import KEPT_S, kept


class Maker:
    """Writes a file, and counts how often."""

    def __init__(self, content: bytes = b"compiled") -> None:
        self.content = content
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "graph").write_bytes(self.content)


def test_artefact_is_made_once(tmp_path: Path) -> None:
    maker = Maker()

    folders = {kept(tmp_path / "cache", "a", maker) for _ in range(3)}

    assert folders == {tmp_path / "cache" / "a"}
    assert (tmp_path / "cache" / "a" / "graph").read_bytes() == b"compiled"
    assert maker.times == 1
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["changed", "more", "less", "seal"])
def test_artefact_is_made_again_when_it_is_not_as_it_was(tmp_path: Path, damage: str) -> None:
    maker, folder = Maker(), kept(tmp_path, "a", Maker())
    {
        "changed": lambda: (folder / "graph").write_bytes(b"compiler"),
        "more": lambda: (folder / "more").write_bytes(b""),
        "less": (folder / "graph").unlink,
        "seal": lambda: (folder / "sha256.json").write_text("{"),
    }[damage]()

    kept(tmp_path, "a", maker)

    assert maker.times == 1
    assert sorted(path.name for path in folder.iterdir()) == ["graph", "sha256.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_kept_when_making_fails(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"")
        raise MemoryError

    with pytest.raises(MemoryError):
        kept(tmp_path, "a", fail)

    assert list(tmp_path.iterdir()) == []


def test_one_result_stays_when_several_make_the_same(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)
    found: list[bytes] = []

    def make(folder: Path) -> None:
        barrier.wait(10)
        (folder / "graph").write_bytes(b"compiled")

    def run() -> None:
        found.append((kept(tmp_path, "a", make) / "graph").read_bytes())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [b"compiled"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_artefact_that_nobody_uses_is_removed_in_the_end(tmp_path: Path) -> None:
    for name in ("old", "used"):
        kept(tmp_path, name, Maker())
        long_ago = time.time() - KEPT_S - 60
        os.utime(tmp_path / name, (long_ago, long_ago))
    kept(tmp_path, "used", Maker())

    kept(tmp_path, "new", Maker())

    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]
