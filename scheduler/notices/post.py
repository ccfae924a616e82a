"""One POST to a receiver that nobody trusts: a checked address, no redirects, no proxies, bounded time and answer."""

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

from shared.config import Settings
from shared.errors import InvalidRequestError
from shared.origins import Origin
from shared.targets import PRIVATE, check_target, may_connect

MAX_ANSWER_BYTES = 4096


@dataclass(frozen=True)
class Outcome:
    """The status of the answer, if there was one, and what went wrong, if something did."""

    status: int | None
    error: str = ""


class Poster:
    """Sends bodies to targets, as far as the settings allow."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = ssl.create_default_context()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Send it once; whatever goes wrong is an outcome, told without the words of the other side."""
        within_s = self._settings.webhook_timeout_s
        began_s = time.monotonic()
        try:
            # Checked again: the list may be another one since the webhook was added.
            origin = check_target(url, self._settings)
            with self._connect(origin) as plain, _cut_off(plain, within_s - (time.monotonic() - began_s)):
                status = self._exchange(plain, origin, url, (body, headers))
        except InvalidRequestError as error:
            return Outcome(None, error.message)
        except (OSError, HTTPException, UnicodeError) as error:
            took_s = time.monotonic() - began_s
            return Outcome(None, f"No answer within {within_s:g} s." if took_s >= within_s else _words(error))
        return Outcome(status, _complaint(status))

    def _connect(self, origin: Origin) -> socket.socket:
        """To an address that was checked: the name is looked up once, so that nobody can change it in between."""
        until_s = time.monotonic() + self._settings.webhook_timeout_s / 2
        addresses = [entry[4] for entry in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)]
        private = self._settings.webhook_private
        if not all(may_connect(ip_address(str(one[0]).partition("%")[0]), private=private) for one in addresses):
            raise InvalidRequestError(PRIVATE)
        return _first_that_answers(addresses, until_s)

    def _exchange(
        self, plain: socket.socket, origin: Origin, url: str, message: tuple[bytes, Mapping[str, str]]
    ) -> int:
        """The status of the answer; of its body no more than a little is read, and that dropped."""
        plain.settimeout(self._settings.webhook_timeout_s)
        is_plain = origin.scheme == "http"
        kind = HTTPConnection if is_plain else HTTPSConnection
        connection = kind(origin.host, origin.port)
        connection.sock = plain if is_plain else self._tls.wrap_socket(plain, server_hostname=origin.host)
        parts, (body, headers) = urlsplit(url), message
        try:
            connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
            answer = connection.getresponse()
            with suppress(OSError, HTTPException):
                answer.read(MAX_ANSWER_BYTES)
            return answer.status
        finally:
            connection.close()


def _first_that_answers(addresses: Sequence[Any], until_s: float) -> socket.socket:
    """Connected to one of the addresses, tried in their order; raises OSError."""
    failure: OSError = TimeoutError()
    for host, port, *_ in addresses:
        left_s = until_s - time.monotonic()
        if left_s <= 0.0:
            break
        try:
            return socket.create_connection((host, port), timeout=left_s)
        except OSError as error:
            failure = error
    raise failure


@contextmanager
def _cut_off(plain: socket.socket, after_s: float) -> Iterator[None]:
    """End the connection after so long, however slowly the other side drips: its socket's timeout is for each byte."""
    # A socket of its own for the same connection: TLS takes the other one over.
    with plain.dup() as same:

        def cut() -> None:
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = Timer(max(after_s, 0.0), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is not good: {error.verify_message}."
    if isinstance(error, socket.gaierror | UnicodeError):
        return "The host's name cannot be resolved."
    if isinstance(error, ConnectionRefusedError):
        return "Nobody listens there: the connection was refused."
    if isinstance(error, TimeoutError):
        return "The receiver cannot be reached: no connection in time."
    return f"The connection broke before there was an answer ({type(error).__name__})."


def _complaint(status: int) -> str:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    if status < HTTPStatus.BAD_REQUEST:
        return f"It answered {status}; redirects are not followed: have the url name the last place."
    return f"It answered {status}."
