"""What a receiver of notices may try: private addresses, slow and endless answers; it costs a bounded time only."""

import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from scheduler.notices.post import Poster
from shared.config import Settings
from shared.errors import InvalidRequestError
from shared.targets import check_target
from tests.receiver import Receiver, quick, receiving

QUICKLY_S = 1.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def post(settings: Settings, url: str) -> tuple[int | None, str]:
    outcome = Poster(settings).post(url, b"{}", {"Content-Type": "application/json"})
    return outcome.status, outcome.error


def test_private_address_is_refused_unless_it_is_allowed(settings: Settings, receiver: Receiver) -> None:
    port = receiver.server_address[1]
    names = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    allowed = quick(settings, receiver, webhook_targets=",".join(names))
    careful = allowed.model_copy(update={"webhook_private": False})

    refused = [post(careful, name) for name in names]
    sent = [post(allowed, name) for name in names]

    assert [status for status, _ in refused] == [None, None]
    assert all("OVERREAD_WEBHOOK_PRIVATE" in error for _, error in refused)
    assert sent == [(204, "")] * 2
    assert len(receiver.got) == 2


def test_name_is_looked_up_once_and_that_address_connected_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name that answers with a public address when it is checked and with a private one afterwards."""
    asked: list[str] = []
    connected: list[Any] = []

    def look_up(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8" if len(asked) == 1 else "127.0.0.1", port))]

    def connect(address: Any, **_: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    careful = settings.model_copy(update={"webhook_targets": "rebinds.test"})

    assert post(careful, "https://rebinds.test/") == (None, "Nobody listens there: the connection was refused.")
    assert (asked, connected) == (["rebinds.test"], [("8.8.8.8", 443)])


def test_name_of_which_one_address_is_private_is_refused(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.server_address[1]
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    careful = quick(settings, receiver, webhook_targets=f"http://two.test:{port}", webhook_private=False)

    assert "not a public one" in post(careful, f"http://two.test:{port}/")[1]


def test_host_header_names_the_host_and_proxies_of_the_environment_are_ignored(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.server_address[1]
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert post(quick(settings, receiver, webhook_targets=f"http://localhost:{port}"), f"http://localhost:{port}/a?b=c")
    assert receiver.got[0].headers["Host"] == f"localhost:{port}"
    assert receiver.got[0].path == "/a?b=c"


def _drips(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(1000):
        handler.wfile.write(b"HTTP/1.1 200 OK"[:1])
        handler.wfile.flush()
        time.sleep(0.05)


def _says_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(1)


def _continues_for_ever(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("behaviour", [_drips, _says_nothing, _continues_for_ever])
def test_receiver_that_never_ends_its_answer_is_cut_off(
    settings: Settings, receiver: Receiver, behaviour: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    receiver.instead = behaviour
    began_s = time.monotonic()

    outcome = post(quick(settings, receiver, webhook_timeout_s=QUICKLY_S), receiver.url)

    assert outcome == (None, "No answer within 1 s.")
    assert time.monotonic() - began_s < 4 * QUICKLY_S


def test_answer_of_gigabytes_is_not_read(settings: Settings, receiver: Receiver) -> None:
    sent = [0]

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
        for _ in range(100_000):
            handler.wfile.write(b"x" * 65536)
            sent[0] += 65536

    receiver.instead = flood
    began_s = time.monotonic()

    assert post(quick(settings, receiver), receiver.url) == (200, "")
    assert time.monotonic() - began_s < 5.0
    # What the sockets' buffers hold, and no more.
    assert sent[0] < 64 * 1024 * 1024


def test_endless_headers_and_nonsense_are_an_outcome(settings: Settings, receiver: Receiver) -> None:
    def headers(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 100_000)

    for instead in (headers, lambda handler: handler.wfile.write(b"\x00" * 1000), lambda _: None):
        receiver.instead = instead
        status, error = post(quick(settings, receiver), receiver.url)
        assert status is None
        assert error.startswith("The connection broke")


def test_receiver_that_is_not_there_is_told_in_words(settings: Settings) -> None:
    with receiving() as gone:
        away = quick(settings, gone, webhook_targets=f"{gone.url.removesuffix('/notices')},http://nowhere.invalid")

    assert post(away, gone.url) == (None, "Nobody listens there: the connection was refused.")
    assert post(away, "http://nowhere.invalid/") == (None, "The host's name cannot be resolved.")


@pytest.mark.parametrize(
    ("url", "targets", "says"),
    [
        ("https://ris.example/x", "", "OVERREAD_WEBHOOK_TARGETS is empty"),
        ("https://ris.example/x", "pacs.example", "names https://pacs.example"),
        ("http://ris.example/x", "ris.example", "http://ris.example is not allowed"),
        ("https://ris.example:8443/x", "ris.example", "is not allowed"),
        ("https://ris.example@evil.example/", "ris.example", "a user name"),
        ("https://ris.example\\@evil.example/", "ris.example", "blanks, control characters"),
        ("https://evil.example/https://ris.example", "ris.example", "is not allowed"),
        ("https://ris.example.evil.example/", "ris.example", "is not allowed"),
        ("ftp://ris.example/", "ris.example", "https:// or http://"),
        ("https:///x", "ris.example", "names no host"),
        ("https://ris.example:99999/", "ris.example", "cannot be a target"),
        ("https://[::ffff:10.0.0.1]/", "https://[::ffff:10.0.0.1]", "not a public one"),
        ("https://169.254.169.254/", "169.254.169.254", "not a public one"),
        ("https://[64:ff9b::7f00:1]/", "https://[64:ff9b::7f00:1]", "not a public one"),
        ("https://[64:ff9b:1::7f00:1]/", "https://[64:ff9b:1::7f00:1]", "not a public one"),
        ("https://[::127.0.0.1]/", "https://[::127.0.0.1]", "not a public one"),
        ("https://[::ffff:0:127.0.0.1]/", "https://[::ffff:0:127.0.0.1]", "not a public one"),
        ("https://[fec0::1]/", "https://[fec0::1]", "not a public one"),
        ("https://0.0.0.0/", "0.0.0.0", "not a public one"),
    ],
)
def test_target_is_refused_in_words(settings: Settings, url: str, targets: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says.replace(".", r"\.")):
        check_target(url, settings.model_copy(update={"webhook_targets": targets}))


@pytest.mark.parametrize(
    ("url", "targets"),
    [
        ("https://ris.example/x?y=1", "pacs.example, ris.example"),
        ("https://RIS.example:443/", "ris.example"),
        ("https://ris.example:8443/", "ris.example:8443"),
        ("http://ris.example:8080/", "http://ris.example:8080/"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
    ],
)
def test_target_on_the_list_is_allowed(settings: Settings, url: str, targets: str) -> None:
    check_target(url, settings.model_copy(update={"webhook_targets": targets}))


@pytest.mark.parametrize("targets", ["https://ris.example/path", "*.example", "ris example", "file:///etc"])
def test_setting_that_names_no_origin_is_refused_at_start(targets: str) -> None:
    with pytest.raises(ValueError, match=r"has a path|no host"):
        Settings(webhook_targets=targets)


def test_lease_shorter_than_two_timeouts_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="webhook_lease_s is 10"):
        Settings(webhook_lease_s=10.0)
