"""Origins (RFC 6454): scheme, host and port of a URL; and the list of those that webhooks may go to."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
_PRINTABLE = re.compile(r"[!-~]+")


class Origin(NamedTuple):
    """Where requests go."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin_of(url: str) -> Origin:
    """The origin of a URL; raises ValueError with what is wrong with it."""
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise ValueError("it holds blanks, control characters or letters outside ASCII; write them as %XX")
    parts = urlsplit(url)
    if parts.scheme not in PORTS:
        raise ValueError("it does not begin with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a user name; leave that out, notices are signed")
    if parts.fragment:
        raise ValueError("it holds a fragment (#...), which no server gets; leave that out")
    host = parts.hostname or ""
    if not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise ValueError("it names no host")
    return Origin(parts.scheme, host, parts.port or PORTS[parts.scheme])


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True


def allowed_origins(setting: str) -> frozenset[Origin]:
    """The list that an operator wrote, separated by commas; what names no scheme is https. Raises ValueError."""
    entries = [entry.strip() for entry in setting.split(",") if entry.strip()]
    return frozenset(_entry(entry) for entry in entries)


def _entry(entry: str) -> Origin:
    url = entry if "://" in entry else f"https://{entry}"
    try:
        found = origin_of(url)
    except ValueError as error:
        raise ValueError(f"{entry!r} is no host and no origin: {error}") from error
    if urlsplit(url).path.strip("/") or urlsplit(url).query:
        raise ValueError(f"{entry!r} has a path; give the host or origin alone")
    return found
