"""Networks of client addresses as a configuration has them."""

import ipaddress
from functools import lru_cache
from typing import TypeAlias

import msgspec

from pico_core.config.declare import Kind
from pico_core.config.values import quote, wrong

NETWORK = "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7, or private or loopback"

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Network(msgspec.Struct, frozen=True):
    """A network, or several under one name. ``str()`` is how it was written.

    ``parts`` are the version, the first and the last address of each.
    """

    text: str
    parts: tuple[tuple[int, int, int], ...]

    def __str__(self) -> str:
        return self.text

    def __contains__(self, address: IpAddress) -> bool:
        """Say whether an address belongs to it."""
        version, number = address.version, int(address)
        return any(version == each and first <= number <= last for each, first, last in self.parts)


NAMED = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "loopback": ("127.0.0.0/8", "::1/128"),
}
"""Private ones are those of RFC 1918 and RFC 4193."""


def network(text: str) -> Network:
    """Parse a network, an address alone, or a name of ``NAMED``."""
    parts = NAMED.get(text, (text,))
    try:
        networks = [ipaddress.ip_network(part) for part in parts]
        return Network(text, tuple((each.version, int(each[0]), int(each[-1])) for each in networks))
    except ValueError:
        pass
    try:
        meant = quote(str(ipaddress.ip_network(text, strict=False)))
    except ValueError:
        raise wrong(NETWORK, text) from None
    raise wrong(NETWORK, text, f"the address has bits beyond its network, write {meant}")


NETWORKS = Kind("NETWORK,...", NETWORK, network, many=True)


@lru_cache(4_096)
def client_address(host: str) -> IpAddress | None:
    """Return the address of a client as networks have it, ``None`` where ``host`` is not an IP address.

    An IPv4 address that a socket for both families writes as an IPv6 one (RFC 4291 section 2.5.5.2) is an IPv4 address.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
