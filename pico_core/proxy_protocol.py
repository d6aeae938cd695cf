"""The header in which a TCP proxy tells whose connection it passes on: HAProxy's PROXY protocol, versions 1 and 2.

Source: "The PROXY protocol", versions 1 and 2, Willy Tarreau, https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt

The header comes once, before all other bytes of a connection, and before TLS.
"""

import re
from ipaddress import IPv4Address, IPv6Address

import msgspec

from pico_core.bounds import HIGHEST_PORT
from pico_core.errors import RemoteProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first bytes of version 2 (section 2.2): no other protocol begins so."""

MAX_LINE_BYTES = 107
"""Of version 1 with its CRLF: the longest that can be (section 2.1)."""

MAX_HEADER_BYTES = 4_096
"""Of version 2. Addresses take 52 bytes; the rest is TLVs such as the name in a client's certificate."""

_BEGINS = b"PROXY "
_FIXED_BYTES = 16
_ADDRESSES_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}  # by family: none, IPv4, IPv6, UNIX (section 2.2)
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*+)?|(TCP[46]) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45})"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)


MISSING = "missing"
MALFORMED = "malformed"
UNSUPPORTED = "unsupported"
TOO_LONG = "too-long"
UNFINISHED = "unfinished"
LATE = "late"
HEADER_DEFECTS = (MISSING, MALFORMED, UNSUPPORTED, TOO_LONG, UNFINISHED, LATE)
"""Why a connection is closed that has to begin with a header: the labels of the metric. The last two are for ends."""


class ProxyHeaderError(RemoteProtocolError):
    """The bytes are not a header, for one of ``HEADER_DEFECTS``. Next: close the connection."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ProxyHeader(msgspec.Struct, frozen=True):
    """The client in a header. ``host`` is its IP address.

    ``host`` is empty where the header tells of none: the proxy speaks for itself, as in health checks (LOCAL), or its
    client has no IP address (UNKNOWN, UNSPEC, UNIX).
    """

    host: str


UNTOLD = ProxyHeader("")


def read_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Return the header that ``data`` begins with and its length in bytes, or ``None`` while it is unfinished.

    Raises ``ProxyHeaderError`` as soon as no continuation can make a header. So ``data`` is unfinished at most as long
    as ``MAX_HEADER_BYTES``.
    """
    if data.startswith(SIGNATURE):
        return _read_binary(data)
    if data.startswith(_BEGINS):
        return _read_line(data)
    if not begins_like_header(data):
        raise ProxyHeaderError(MISSING, "no PROXY header")
    return None


def begins_like_header(data: bytes) -> bool:
    """Say whether ``data``, which is not empty, may be the beginning of a header."""
    return SIGNATURE.startswith(data[: len(SIGNATURE)]) or _BEGINS.startswith(data[: len(_BEGINS)])


def _read_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\n", 0, MAX_LINE_BYTES) + 1
    if not end:
        if len(data) >= MAX_LINE_BYTES:
            raise ProxyHeaderError(TOO_LONG, "PROXY line too long")
        return None
    match = _LINE.fullmatch(data, 0, end)
    if match is None:
        raise ProxyHeaderError(MALFORMED, "malformed PROXY line")
    family, source, destination, *ports = match.groups()
    if family is None:
        return UNTOLD, end
    if any(int(port) > HIGHEST_PORT for port in ports):
        raise ProxyHeaderError(MALFORMED, "malformed port in a PROXY line")
    address_type = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        address_type(destination.decode())
        return ProxyHeader(_plain(address_type(source.decode()))), end
    except ValueError:
        raise ProxyHeaderError(MALFORMED, "malformed address in a PROXY line") from None


def _read_binary(data: bytes) -> tuple[ProxyHeader, int] | None:
    if len(data) < _FIXED_BYTES:
        return None
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    if version != 2 or command > 1:
        raise ProxyHeaderError(UNSUPPORTED, "unknown version or command in a PROXY header")
    if command and (family > 3 or transport > 2 or (not family) != (not transport)):  # with LOCAL it says nothing
        raise ProxyHeaderError(UNSUPPORTED, "unknown address family in a PROXY header")
    size = int.from_bytes(data[14:16], "big")
    if command and size < _ADDRESSES_BYTES[family]:
        raise ProxyHeaderError(MALFORMED, "PROXY header too short for its addresses")
    end = _FIXED_BYTES + size
    if end > MAX_HEADER_BYTES:
        raise ProxyHeaderError(TOO_LONG, "PROXY header too long")
    if len(data) < end:
        return None
    if not command or family not in (1, 2):
        return UNTOLD, end
    source = data[16:20] if family == 1 else data[16:32]
    return ProxyHeader(_plain(IPv4Address(source) if family == 1 else IPv6Address(source))), end


def _plain(address: IPv4Address | IPv6Address) -> str:
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)
