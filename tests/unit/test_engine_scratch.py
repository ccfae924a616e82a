"""Temporary folders of engines: what a killed worker left is removed, what one holds is not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.engines.scratch import MIN_AGE_S, scratch_folder

HOLDER = """
import sys
from pathlib import Path
from worker.engines.scratch import scratch_folder
with scratch_folder() as folder:
    Path(folder, "weights").write_bytes(b"w")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def _make_old(folder: Path) -> None:
    made_at = folder.lstat().st_mtime - 2 * MIN_AGE_S
    os.utime(folder, (made_at, made_at), follow_symlinks=False)


def test_folder_of_a_killed_worker_is_removed_when_the_next_starts_and_a_held_one_is_kept(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        _make_old(folder)

        with scratch_folder():
            assert (folder / "weights").exists()

        holder.kill()
    assert (folder / "weights").exists()

    with scratch_folder() as own:
        assert list(tmp_path.iterdir()) == [Path(own)]
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_folder_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "weights").touch()
    (tmp_path / "overread-engine-link").symlink_to(tmp_path / "kept")
    (tmp_path / "overread-engine-file").touch()
    for name in ("kept", "overread-engine-link", "overread-engine-file"):
        _make_old(tmp_path / name)
    young = tmp_path / "overread-engine-young"
    young.mkdir()

    with scratch_folder():
        pass

    assert (tmp_path / "kept" / "weights").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "kept",
        "overread-engine-link",
        "overread-engine-file",
        "overread-engine-young",
    }
