"""The address of the client, where proxies stand between it and this node.

Every proxy on the way appends the address that it was connected from, so the list is read from its right end, over the
proxies that are trusted. The client can have made up what is left of the first address that is not trusted.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from pico_core.config.networks import IpAddress, Networks, address_of

MAX_HOPS = 16
"""How many addresses are looked at, that of the connection included: a request passes four or five proxies at most."""

MAX_NODE_BYTES = 64
"""Of one entry. A longer one is not an address: the longest has 53, IPv6 in brackets with a port."""

MAX_ELEMENT_BYTES = 1_024
"""Of one element of Forwarded; its longest part is a host. A longer one is not an address."""

# The value of X-Forwarded-For's entries and of Forwarded's ``for``: an address, some with a port. A name or "unknown"
# is not an address.
_NODE = re.compile(rb"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})")
# An element of Forwarded, read from its end: bytes are reversed. Neither commas nor semicolons end a quoted string.
# A backslash may not come, since only from the left can be told what it quotes; no address needs one.
_REVERSED_ELEMENT = re.compile(rb"((?>(?:[^\",\\]+|\"[^\"\\]*\")*))(,|\Z)")
_PAIR = re.compile(rb"(?>(?:[^\";]+|\"[^\"]*\")+)")


def client_address(peer: str, forwarded_for: bytes, forwarded: bytes, trusted: Networks) -> str:
    """Return the address of the client of a request, as ``peer``, which is trusted, tells it.

    ``forwarded_for`` is X-Forwarded-For and ``forwarded`` is Forwarded (RFC 7239), which is read only where the first
    is absent: nearly all proxies write the first, and many pass the client's own Forwarded on. An entry that is not an
    address ends the search, and the client is then the last one found.
    """
    nodes = _listed(forwarded_for) if forwarded_for else _elements(forwarded)
    client = peer
    for node, _ in zip(nodes, range(MAX_HOPS - 1), strict=False):
        found = node_address(node)
        if found is None:
            break
        address, client = found
        if address not in trusted:
            break
    return client


def _listed(forwarded_for: bytes) -> Iterator[bytes]:
    entries = forwarded_for.rsplit(b",", MAX_HOPS)
    return reversed(entries[1:] if len(entries) > MAX_HOPS else entries)


def _elements(forwarded: bytes) -> Iterator[bytes]:
    """Return the ``for`` of each element of Forwarded, the last one first; empty where an element has none."""
    backwards = forwarded[::-1]
    at = 0
    while at < len(backwards):
        match = _REVERSED_ELEMENT.match(backwards, at)
        if match is None:
            return
        yield _for_of(match[1][::-1])
        at = match.end()


def _for_of(element: bytes) -> bytes:
    """Return the value of ``for``; empty where there is none, or more than one (RFC 7239 section 4)."""
    if len(element) > MAX_ELEMENT_BYTES:
        return b""
    pairs: list[bytes] = [pair.strip(b" \t") for pair in _PAIR.findall(element)]
    values = [pair[4:] for pair in pairs if pair[:4].lower() == b"for="]
    if len(values) != 1:
        return b""
    value = values[0]
    return value[1:-1] if value[:1] == b'"' == value[-1:] else value


def node_address(node: bytes) -> tuple[IpAddress, str] | None:
    """Return the address in an entry such as ``192.0.2.7``, ``192.0.2.7:4711``, ``2001:db8::1`` or ``[2001:db8::1]``.

    The text is its usual spelling. ``None`` where the entry is something else.
    """
    node = node.strip(b" \t")
    return _read_node(node) if len(node) <= MAX_NODE_BYTES else None


@lru_cache(maxsize=4_096)
def _read_node(node: bytes) -> tuple[IpAddress, str] | None:
    """Remember the entries seen last, as ``address_of`` does: to write an address as text costs two microseconds."""
    match = _NODE.fullmatch(node)
    address = None if match is None else address_of((match[1] or match[2] or match[3]).decode("ascii"))
    return None if address is None else (address, str(address))


def forwarded_element(peer: str) -> bytes:
    """Return the element that a proxy adds to Forwarded for the address it was connected from (RFC 7239 section 6)."""
    return b'for="[%b]"' % peer.encode() if ":" in peer else b"for=%b" % peer.encode()
