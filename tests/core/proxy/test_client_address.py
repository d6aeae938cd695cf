"""The address of the client behind trusted proxies, as a table."""

import tracemalloc

import pytest

from pico_core.config.networks import Networks, network
from pico_core.proxy.client_address import MAX_HOPS, client_address, forwarded_element, node_address
from tests.core.http.growth import grows_linearly

TRUSTED = Networks([network("10.0.0.0/8"), network("fd00::/8")])
PROXY = "10.0.0.1"

# X-Forwarded-For, Forwarded, the client
TABLE = [
    (b"", b"", PROXY),
    (b"192.0.2.7", b"", "192.0.2.7"),
    (b"203.0.113.9, 192.0.2.7", b"", "192.0.2.7"),
    (b"203.0.113.9, 192.0.2.7, 10.0.0.3,10.0.0.2", b"", "192.0.2.7"),
    (b"10.0.0.3, 10.0.0.2", b"", "10.0.0.3"),
    (b"2001:db8::7", b"", "2001:db8::7"),
    (b"[2001:DB8::7]:4711, fd00::1", b"", "2001:db8::7"),
    (b"192.0.2.7:4711", b"", "192.0.2.7"),
    (b"::ffff:192.0.2.7", b"", "192.0.2.7"),
    (b"203.0.113.9, ::ffff:10.0.0.2", b"", "203.0.113.9"),
    # an entry that is not an address ends the search
    (b"unknown", b"", PROXY),
    (b"203.0.113.9, unknown, 10.0.0.2", b"", "10.0.0.2"),
    (b"203.0.113.9,, 10.0.0.2", b"", "10.0.0.2"),
    (b"203.0.113.9,", b"", PROXY),
    (b",", b"", PROXY),
    (b"192.0.2.7 203.0.113.9", b"", PROXY),
    (b"192.0.2.07", b"", PROXY),
    (b"192.0.2.7:123456", b"", PROXY),
    (b"192.0.2.7\xb2", b"", PROXY),
    (b"1" * 60_000, b"", PROXY),
    # the longest address, however many blanks surround it
    (b" " * 100 + b"[2001:0db8:0000:0000:0000:0000:255.255.255.255]:65535\t", b"", "2001:db8::ffff:ffff"),
    # Forwarded is read where there is no X-Forwarded-For
    (b"192.0.2.7", b"for=203.0.113.9", "192.0.2.7"),
    (b"unknown", b"for=203.0.113.9", PROXY),
    (b"", b"for=192.0.2.7", "192.0.2.7"),
    (b"", b'For="192.0.2.7:4711";proto=https;by=10.0.0.1', "192.0.2.7"),
    (b"", b'proto=https; for="[2001:db8::7]:4711" ;host="a.example"', "2001:db8::7"),
    (b"", b"for=203.0.113.9, for=192.0.2.7,for=10.0.0.2", "192.0.2.7"),
    (b"", b"for=_hidden", PROXY),
    (b"", b"for=unknown, for=10.0.0.2", "10.0.0.2"),
    (b"", b"proto=https", PROXY),
    (b"", b"for=192.0.2.7;for=203.0.113.9", PROXY),
    (b"", b"for=", PROXY),
    (b"", b'for=", for=192.0.2.7', "192.0.2.7"),
    (b"", b'for="203.0.113.9, for=10.0.0.2', "10.0.0.2"),
    # what a client can bring into another parameter
    (b"", b'for=192.0.2.7;host="x;for=10.0.0.9;y"', "192.0.2.7"),
    (b"", b'for=192.0.2.7;host="x, for=203.0.113.9;y=z"', "192.0.2.7"),
    (b"", b'host="x, for=203.0.113.9";for=192.0.2.7', "192.0.2.7"),
    (b"", b'for=192.0.2.7;host="x\\", for=203.0.113.9"', PROXY),
    (b"", b'for=192.0.2.7;host="', PROXY),
    (b"", b"for=203.0.113.9;a=" + b";" * 60_000 + b", for=10.0.0.2", "10.0.0.2"),
]


@pytest.mark.parametrize(("forwarded_for", "forwarded", "client"), TABLE)
def test_the_client(forwarded_for: bytes, forwarded: bytes, client: str) -> None:
    assert client_address(PROXY, forwarded_for, forwarded, TRUSTED) == client


@pytest.mark.parametrize("form", [b"%b", b"for=%b"])
def test_a_bounded_number_of_proxies_is_looked_at(form: bytes) -> None:
    hops = [b"10.0.1.%d" % number for number in range(40)]
    field = b", ".join(form % hop for hop in hops)
    fields = (b"", field) if form == b"for=%b" else (field, b"")
    assert client_address(PROXY, *fields, TRUSTED) == hops[-(MAX_HOPS - 1)].decode()


@pytest.mark.parametrize(
    "piece", [b"10.0.0.2,", b",", b'"', b'"",', b"for=10.0.0.2,", b"for=10.0.0.2;", b"1", b"\\", b'a="']
)
def test_time_grows_no_faster_than_the_field(piece: bytes) -> None:
    fields = {size: piece * (size // len(piece)) for size in (65_536, 262_144)}
    assert grows_linearly(lambda size: client_address(PROXY, fields[size], b"", TRUSTED), 65_536)
    assert grows_linearly(lambda size: client_address(PROXY, b"", fields[size], TRUSTED), 65_536)


def test_the_element_that_is_appended() -> None:
    assert forwarded_element("192.0.2.7") == b"for=192.0.2.7"
    assert forwarded_element("2001:db8::7") == b'for="[2001:db8::7]"'


@pytest.mark.parametrize("size", [1_024, 1_025])
def test_a_longer_element_is_not_read(size: int) -> None:
    element = b"for=192.0.2.7;host=".ljust(size, b"x")
    assert client_address(PROXY, b"", element, TRUSTED) == ("192.0.2.7" if size == 1_024 else PROXY)


@pytest.mark.parametrize("size", [64, 65])
def test_a_longer_entry_is_not_remembered(size: int) -> None:
    """A client chooses the entries, and those seen last are kept."""
    tracemalloc.start()
    try:
        for number in range(4_096):
            assert node_address(b"%d-%d" % (size, number) + b"x" * (size - 3 - len(str(number)))) is None
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (kept_bytes > 4_096 * 64) is (size == 64)
