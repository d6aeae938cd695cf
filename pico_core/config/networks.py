"""Networks of a configuration: CIDR, single addresses, and the words ``private`` and ``loopback``."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import msgspec

from pico_core.config.values import wrong

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network

NETWORK = "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7, or private or loopback"

MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 as IPv6 sockets show it (RFC 4291 section 2.5.5.2)."""

_WORDS = {
    # RFC 1918 and RFC 4193. What a provider shares among its customers (RFC 6598) is not private to anybody.
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "loopback": ("127.0.0.0/8", "::1/128"),
}
_LOOK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
_ADDRESS_LOOK = re.compile(r"[0-9A-Fa-f:.]{2,45}")


class NamedNetwork(msgspec.Struct, frozen=True):
    """The meaning of one entry of a list: ``networks`` in CIDR. ``str()`` writes it as the user did."""

    text: str
    networks: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


class Networks:
    """A set of networks that says of an address whether it is in one of them."""

    __slots__ = ("_networks",)

    def __init__(self, named: Iterable[NamedNetwork] = ()) -> None:
        self._networks = tuple(ip_network(network) for each in named for network in each.networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: IpAddress) -> bool:
        return bool(self._networks) and any(address in network for network in self._networks)


def network(text: str) -> NamedNetwork:
    """Parse one entry: CIDR, an address for itself alone, ``private`` or ``loopback``. Raises ``ConfigError``."""
    if text in _WORDS:
        return NamedNetwork(text, _WORDS[text])
    if not _LOOK.fullmatch(text):
        raise wrong(NETWORK, text)
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise wrong(NETWORK, text) from None
    plain = ip_network(f"{IPv4Address(int(found[0]) & 0xFFFFFFFF)}/{found.prefixlen - 96}") if _mapped(found) else found
    if ip_address(text.partition("/")[0]) != found[0]:
        raise wrong(NETWORK, text, f"it has bits beyond its length, write '{found}'")
    return NamedNetwork(text, (str(plain),))


def _mapped(found: IpNetwork) -> bool:
    return isinstance(found, IPv6Network) and found.subnet_of(MAPPED)


@lru_cache(maxsize=4_096)
def address_of(text: str) -> IpAddress | None:
    """Return the IP address that ``text`` spells, or ``None``. IPv4 in IPv6 is IPv4; a zone (``%eth0``) is left out.

    The addresses seen last are remembered: balancers name the same clients again and again.
    """
    text = text.partition("%")[0]
    if not _ADDRESS_LOOK.fullmatch(text):
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
