"""Whether a webhook may go where it wants to: on the operator's list, and to no private address unless that is set."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from shared.config import Settings
from shared.errors import InvalidRequestError
from shared.origins import Origin, allowed_origins, origin_of

# IPv4 addresses inside IPv6 ones, as a translator on the way makes of them (RFC 6052, 8215, 2765, 4291).
_TRANSLATED = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))
IPV4_BITS = 0xFFFFFFFF

PRIVATE = (
    "The target's address is not a public one; to send to private, loopback or link-local addresses set "
    "OVERREAD_WEBHOOK_PRIVATE=true."
)


def check_target(url: str, settings: Settings) -> Origin:
    """The origin of a target that may be sent to; raises InvalidRequestError, which says why not and what to do."""
    try:
        origin = origin_of(url)
    except ValueError as error:
        raise InvalidRequestError(f"The url cannot be a target: {error}.") from error
    allowed = allowed_origins(settings.webhook_targets)
    if not allowed:
        raise InvalidRequestError(
            "No target is allowed: OVERREAD_WEBHOOK_TARGETS is empty; have it name the hosts that may be sent to."
        )
    if origin not in allowed:
        raise InvalidRequestError(
            f"{origin} is not allowed; OVERREAD_WEBHOOK_TARGETS names {', '.join(sorted(map(str, allowed)))}."
        )
    try:
        address = ip_address(origin.host)
    except ValueError:
        return origin  # A name: its addresses are checked whenever something is sent.
    if not may_connect(address, private=settings.webhook_private):
        raise InvalidRequestError(PRIVATE)
    return origin


def may_connect(address: IPv4Address | IPv6Address, *, private: bool) -> bool:
    """Whether a notice may go to this address; `private`: also to private, loopback and link-local ones."""
    meant = _meant(address)
    if meant.is_multicast or meant.is_unspecified:
        return False
    is_site_local = isinstance(meant, IPv6Address) and meant.is_site_local
    is_near = meant.is_private or meant.is_loopback or meant.is_link_local or is_site_local
    return private if is_near else meant.is_global


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that one of IPv6 stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & IPV4_BITS)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address
