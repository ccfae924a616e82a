"""The embedded system's data folder, ports and addresses."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api.cli.embedded import choose_port, client_url
from api.cli.errors import StartError
from api.cli.folders import check_free_space, keep_token, kept_token, prepare_data_dir, sole_use


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_second_copy_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from api.cli.folders import sole_use\n"
        "with sole_use(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        with pytest.raises(StartError, match=f"in use by another copy of Overread, process {holder.pid};"):
            sole_use(tmp_path).__enter__()

        holder.kill()
    with sole_use(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_folders_are_private_and_leave_no_probe(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "data")

    assert {mode(tmp_path / "data" / name) for name in ("", "logs", "run")} == {0o700}
    assert not any((tmp_path / "data" / "run").iterdir())


def test_data_folder_is_refused_with_a_remedy_when_it_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StartError, match=r"cannot be used: Not a directory\. .*--data-dir"):
        prepare_data_dir(tmp_path / "file" / "data")


def test_full_disk_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"MiB left, fewer than the 1099511627776 MiB .* OVERREAD_MIN_FREE_BYTES"):
        check_free_space(tmp_path, 2**60)


def test_token_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    keep_token(tmp_path, "first")
    keep_token(tmp_path, "second")

    assert kept_token(tmp_path) == "second"
    assert mode(tmp_path / "admin-token") == 0o600


def test_no_token_is_found_when_there_is_no_folder(tmp_path: Path) -> None:
    assert kept_token(tmp_path / "nothing") is None


def test_busy_port_is_refused_with_a_remedy() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]

        with pytest.raises(StartError, match=rf"port {port}: Address already in use\. .*--port"):
            choose_port("127.0.0.1", port, wait_s=0.0)


def test_free_port_is_found_when_none_is_named() -> None:
    port = choose_port("127.0.0.1", 0)

    with socket.socket() as mine:
        mine.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484"),
        ("0.0.0.0", "http://127.0.0.1:8484"),
        ("::", "http://[::1]:8484"),
        ("pacs.example", "http://pacs.example:8484"),
    ],
)
def test_address_for_clients_is_one_they_can_reach(host: str, url: str) -> None:
    assert client_url(host, 8484) == url
