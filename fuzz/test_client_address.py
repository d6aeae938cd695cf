"""PROXY headers and lists of addresses from anybody raise nothing undeclared and move no client."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from pico_core.config.networks import Networks, address_of, network
from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head
from pico_core.proxy.client_address import MAX_HOPS, client_address
from pico_core.proxy_protocol import MAX_HEADER_BYTES, SIGNATURE, ProxyHeaderError, read_proxy_header
from pico_core.server.proxies import TrustedProxies, fields_from_node, fields_from_proxy

TRUSTED = (network("10.0.0.0/8"), network("fd00::/8"))
NETWORKS = Networks(TRUSTED)
PROXIES = TrustedProxies(TRUSTED, sends_header=False)
PROXY = "10.0.0.1"

addresses = st.one_of(
    st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00::1", "192.0.2.7", "2001:db8::7"]), st.ip_addresses().map(str)
)

# --- PROXY headers ---

lines = st.builds(
    "PROXY {} {} {} {} {}\r\n".format,
    st.sampled_from(["TCP4", "TCP6", "UNKNOWN", "TCP", ""]),
    addresses,
    addresses,
    st.integers(-1, 70_000),
    st.integers(-1, 70_000),
).map(str.encode)
binaries = st.builds(
    lambda command, family, size, rest: SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + rest,
    st.sampled_from([0x20, 0x21, 0x11, 0x22]),
    st.sampled_from([0x00, 0x11, 0x12, 0x21, 0x31, 0x41, 0xFF]),
    st.one_of(st.integers(0, 300), st.integers(0, 65_535)),
    st.binary(max_size=400),
)
beginnings = st.sampled_from([SIGNATURE, b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN ", SIGNATURE + b"\x21\x11", b""])
streams = st.one_of(lines, binaries, st.builds(bytes.__add__, beginnings, st.binary(max_size=300)))


def outcome(data: bytes) -> tuple[str, int] | str | None:
    try:
        read = read_proxy_header(data)
    except ProxyHeaderError as error:
        return str(error)
    return None if read is None else (read[0].host, read[1])


@given(streams, st.binary(max_size=20))
def test_a_header_means_the_same_however_it_is_cut(stream: bytes, rest: bytes) -> None:
    whole = outcome(stream + rest)
    for size in range(1, len(stream + rest) + 1):
        read = outcome((stream + rest)[:size])
        if read is None:
            assert size < MAX_HEADER_BYTES
            continue
        assert read == whole or isinstance(read, str) is isinstance(whole, str) is True
        if isinstance(read, tuple):
            assert read[1] == size
            assert not read[0] or str(ip_address(read[0])) == read[0]
        break


# --- X-Forwarded-For and Forwarded ---

entries = st.one_of(
    addresses.map(str.encode),
    addresses.map(lambda each: f"[{each}]:80".encode() if ":" in each else f"{each}:80".encode()),
    st.sampled_from([b"unknown", b"_hidden", b"", b" ", b'"', b"\\", b"10.0.0.256", b"for=1"]),
    st.text(alphabet='0123456789abcdef:.[];,="\\ \t', max_size=30).map(str.encode),
)
elements = st.one_of(
    entries.map(b"for=%b".__mod__),
    entries.map(b'for="%b"'.__mod__),
    st.tuples(entries, entries).map(lambda pair: b'host="%b";for=%b' % pair),
    entries,
)
separators = st.sampled_from([b",", b", ", b" ,\t"])
lists = st.builds(bytes.join, separators, st.lists(entries, max_size=20))
forwardeds = st.builds(bytes.join, separators, st.lists(elements, max_size=20))


@given(lists, forwardeds)
def test_the_client_is_an_address(forwarded_for: bytes, forwarded: bytes) -> None:
    assert address_of(client_address(PROXY, forwarded_for, forwarded, NETWORKS)) is not None


@given(lists, forwardeds, addresses, st.integers(0, MAX_HOPS - 2), st.booleans())
def test_nothing_before_the_last_stranger_counts(
    forged: bytes, forged_elements: bytes, client: str, proxies: int, is_in_forwarded: bool
) -> None:
    """Whatever a client sends, the proxies append to it, and the first address that is not theirs is the client."""
    hops = [client, *["10.0.0.9"] * proxies]
    address = address_of(client)
    assert address is not None
    if address in NETWORKS:
        return
    if is_in_forwarded:
        forwarded = b", ".join(
            [
                forged_elements,
                *(b'for="[%b]"' % each.encode() if ":" in each else b"for=%b" % each.encode() for each in hops),
            ]
        )
        assert client_address(PROXY, b"", forwarded, NETWORKS) == str(address)
    else:
        forwarded_for = b", ".join([forged, *(each.encode() for each in hops)])
        assert client_address(PROXY, forwarded_for, forged_elements, NETWORKS) == str(address)


names = st.sampled_from(
    [
        b"X-Forwarded-For",
        b"x_forwarded_for",
        b"X-Real-IP",
        b"X_Real_IP",
        b"Forwarded",
        b"Proxy",
        b"X-Forwarded-Port",
        b"A",
    ]
)
values = st.one_of(lists, forwardeds).map(lambda value: value.replace(b"\x00", b""))
heads = st.lists(st.builds(b"%b: %b\r\n".__mod__, st.tuples(names, values)), max_size=6).map(
    lambda lines: b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(lines) + b"\r\n"
)


@given(heads)
def test_another_node_passes_on_what_the_first_one_found(head_bytes: bytes) -> None:
    head = parse_request_head(head_bytes, HeadLimits())
    client = PROXIES.client_behind(PROXY, head)
    fields = fields_from_proxy(PROXY, client, head, b"http")
    hop = b"GET / HTTP/1.1\r\n" + head.fields + b"x-pico-forward: true\r\n" + fields + b"\r\n"
    forwarded = parse_request_head(hop, HeadLimits())
    assert forwarded.fields == head.fields
    assert fields_from_node("192.0.2.20", forwarded, b"http") == fields
    assert PROXIES.client_behind_node("192.0.2.20", forwarded) == client
    assert b"_" not in fields.partition(b":")[0]
