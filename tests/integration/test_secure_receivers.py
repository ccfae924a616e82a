"""Notices over TLS: the certificate must be good for the name, whatever address the name has."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.notices.post import Outcome, Poster
from shared.config import Settings
from tests.receiver import Receiver, quick, receiving
from tests.support import tool


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For `localhost` and no other name, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [
        tool("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def receiver(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with receiving() as made:
        asked: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: asked.append(name)
        made.socket = context.wrap_socket(made.socket, server_side=True)
        made.names = asked  # type: ignore[attr-defined]
        yield made


def post(settings: Settings, receiver: Receiver, host: str) -> Outcome:
    port = receiver.server_address[1]
    allowed = quick(settings, webhook_targets=f"{host}:{port}")
    return Poster(allowed).post(f"https://{host}:{port}/a", b"{}", {})


def test_notice_goes_to_a_receiver_whose_certificate_is_good(
    settings: Settings, receiver: Receiver, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))

    outcome = post(settings, receiver, "localhost")

    assert outcome == Outcome(204)
    assert receiver.names == ["localhost"]  # type: ignore[attr-defined]
    assert receiver.got[0].headers["Host"] == f"localhost:{receiver.server_address[1]}"


def test_certificate_for_another_name_is_refused(
    settings: Settings, receiver: Receiver, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))

    outcome = post(settings, receiver, "127.0.0.1")

    assert "certificate is not good" in outcome.error
    assert receiver.got == []


def test_certificate_of_an_unknown_authority_is_refused(settings: Settings, receiver: Receiver) -> None:
    outcome = post(settings, receiver, "localhost")

    assert "certificate is not good: self" in outcome.error
    assert receiver.got == []
