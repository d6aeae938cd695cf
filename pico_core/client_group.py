"""The addresses that count as one client, wherever a limit is for each client address: one function for all."""

from functools import lru_cache
from ipaddress import IPv6Address

IPV6_PREFIX_BITS = 64
"""An IPv6 host may take any address of its network (RFC 4291, section 2.5.4), so the network is the client."""

_NETWORK_MASK = ((1 << IPV6_PREFIX_BITS) - 1) << (128 - IPV6_PREFIX_BITS)


@lru_cache(1024)
def client_group(host: str) -> str:
    """Return an IPv4 address whole, also where IPv6 carries it, and the network of another IPv6 address.

    A text that is not an address stands for itself.
    """
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) & _NETWORK_MASK)}/{IPV6_PREFIX_BITS}"
