"""Addresses as gossip writes them: ``10.0.0.1:8003``, ``[fd00::1]:8003``.

Piko writes an IPv6 address without brackets. Both ways are read.
"""

from ipaddress import ip_address
from typing import TypeAlias

from pico_core.bounds import HIGHEST_PORT

HostPort: TypeAlias = tuple[str, int]
"""A host, as ``plain_host`` writes it where it is an IP address, and a port."""


def plain_host(host: str) -> str:
    """Return an IP address in its one short form, IPv4 inside IPv6 as IPv4; anything else in lower case."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped if mapped is not None else address)


def is_literal(host: str) -> bool:
    """Return whether ``host`` is an IP address that a datagram can be sent to."""
    try:
        return not ip_address(host.partition("%")[0]).is_unspecified
    except ValueError:
        return False


def means_own_host(host: str) -> bool:
    """Return whether every host takes ``host`` for itself: a loopback or unspecified address, or ``localhost``."""
    try:
        address = ip_address(plain_host(host))
    except ValueError:
        return host.lower() == "localhost"
    return address.is_loopback or address.is_unspecified


def tells_own_host(addr: str) -> bool:
    """Return whether ``addr``, with its port, leads only programs of the same host to the one that tells it."""
    address = split_address(addr)
    return address is not None and means_own_host(address[0])


def split_address(text: str, default_port: int | None = None) -> HostPort | None:
    """Return host and port, or ``None`` if ``text`` is not an address; with a default, the port may be missing."""
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]") and default_port is not None:
        return plain_host(text[1:-1]), default_port
    if not colon or (default_port is not None and ":" in host and not host.endswith("]")):
        return (plain_host(text), default_port) if default_port is not None and text else None
    if not (port.isascii() and port.isdigit() and 0 < len(port) < 6 and 0 < int(port) <= HIGHEST_PORT):
        return None
    host = host.removeprefix("[").removesuffix("]")
    return (plain_host(host), int(port)) if host else None


def literal_address(text: str) -> HostPort | None:
    """Return host and port if a datagram can be sent there, ``None`` for a name: it would have to be resolved first."""
    address = split_address(text)
    return address if address is not None and is_literal(address[0]) else None


def source_matches(addr: str, host: str) -> bool:
    """Return whether ``addr``, which the sender gives as its own, is where its message came from."""
    address = split_address(addr)
    return address is not None and (address[0] == plain_host(host) or not is_literal(address[0]))
