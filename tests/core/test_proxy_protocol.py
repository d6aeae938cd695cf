"""PROXY headers, versions 1 and 2: what they say, and what is refused."""

from ipaddress import ip_address

import pytest

from pico_core.proxy_protocol import (
    MAX_LINE_BYTES,
    SIGNATURE,
    ProxyHeaderError,
    read_proxy_header,
)

REST = b"GET / HTTP/1.1\r\n"
TCP4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + b"\x13\x88\x1f\x40"
TCP6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + b"\x13\x88\x1f\x40"
MAPPED = ip_address("::ffff:192.0.2.7").packed + ip_address("::ffff:10.0.0.1").packed + bytes(4)


def binary(family: int, addresses: bytes, *, command: int = 0x21, tlvs: bytes = b"") -> bytes:
    body = addresses + tlvs
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 8000\r\n", "192.0.2.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 5000 0\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5000 8000\r\n", "192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN " + b"f" * (MAX_LINE_BYTES - 16) + b"\r\n", ""),
    (binary(0x11, TCP4), "192.0.2.7"),
    (binary(0x12, TCP4), "192.0.2.7"),
    (binary(0x21, TCP6), "2001:db8::7"),
    (binary(0x21, MAPPED), "192.0.2.7"),
    (binary(0x11, TCP4, tlvs=b"\x03\x00\x04\x00\x00\x00\x00\xea\xff\xff"), "192.0.2.7"),
    (binary(0x11, TCP4, tlvs=bytes(4_096 - 28)), "192.0.2.7"),
    (binary(0x31, bytes(216)), ""),
    (binary(0x00, b""), ""),
    (binary(0x00, b"", tlvs=b"\x04\x00\x01\x00"), ""),
    (binary(0x00, b"", command=0x20), ""),
    (binary(0x11, TCP4, command=0x20), ""),
    (binary(0x11, b"", command=0x20), ""),
    (binary(0x10, b"", command=0x20), ""),
    (binary(0xFF, TCP4, command=0x20), ""),
]


@pytest.mark.parametrize(("header", "host"), HEADERS)
def test_what_a_header_says(header: bytes, host: str) -> None:
    for rest in (b"", REST, SIGNATURE):
        read = read_proxy_header(header + rest)
        assert read is not None
        assert (read[0].host, read[1]) == (host, len(header))


@pytest.mark.parametrize(("header", "_host"), HEADERS)
def test_a_header_that_comes_in_pieces_is_waited_for(header: bytes, _host: str) -> None:
    assert all(read_proxy_header(header[:size]) is None for size in range(len(header)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no PROXY header"),
        (b"\x16\x03\x01", "no PROXY header"),
        (b"PROXX", "no PROXY header"),
        (b"proxy TCP4", "no PROXY header"),
        (b"\r\n\r\nG", "no PROXY header"),
        (b"PROXY \n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 8000\n", "malformed PROXY line"),
        (b"PROXY  TCP4 192.0.2.7 10.0.0.1 5000 8000\r\n", "malformed PROXY line"),
        (b"PROXY TCP5 192.0.2.7 10.0.0.1 5000 8000\r\n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 8000 1\r\n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 05000 8000\r\n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 +500 8000\r\n", "malformed PROXY line"),
        (b"PROXY UNKNOWN \x00\r\n", "malformed PROXY line"),
        (b"PROXY UNKNOWNS\r\n", "malformed PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 65536\r\n", "malformed port in a PROXY line"),
        (b"PROXY TCP4 192.0.2.07 10.0.0.1 5000 8000\r\n", "malformed address in a PROXY line"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.256 5000 8000\r\n", "malformed address in a PROXY line"),
        (b"PROXY TCP4 ::1 ::1 5000 8000\r\n", "malformed address in a PROXY line"),
        (b"PROXY TCP6 192.0.2.7 10.0.0.1 5000 8000\r\n", "malformed address in a PROXY line"),
        (b"PROXY UNKNOWN " + b"f" * (MAX_LINE_BYTES - 14), "PROXY line too long"),
        (binary(0x11, TCP4, command=0x11), "unknown version or command in a PROXY header"),
        (binary(0x11, TCP4, command=0x22), "unknown version or command in a PROXY header"),
        (binary(0x41, TCP4), "unknown address family in a PROXY header"),
        (binary(0x13, TCP4), "unknown address family in a PROXY header"),
        (binary(0x10, TCP4), "unknown address family in a PROXY header"),
        (binary(0x01, TCP4), "unknown address family in a PROXY header"),
        (binary(0x11, TCP4[:-1]), "PROXY header too short for its addresses"),
        (binary(0x21, TCP4), "PROXY header too short for its addresses"),
        (binary(0x31, TCP6), "PROXY header too short for its addresses"),
        (binary(0x11, TCP4, tlvs=bytes(4_096 - 27))[:16], "PROXY header too long"),
    ],
)
def test_what_is_not_a_header(data: bytes, reason: str) -> None:
    with pytest.raises(ProxyHeaderError, match=f"^{reason}$"):
        read_proxy_header(data)
