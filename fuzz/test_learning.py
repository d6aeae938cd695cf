"""Whatever heads follow each other on a connection, what was learnt from them changes nothing of what is read.

The sequences are mutations of one head, because only heads that are alike are read without a parser.
"""

from collections.abc import Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.recent import RequestReader, ResponseReader
from pico_core.http.writing import request_bytes, response_bytes
from pico_core.proxy.endpoint import endpoint_of

LIMITS = HeadLimits(max_head_bytes=6_000, max_target_bytes=300, max_field_bytes=4_000, max_fields=12)

REQUEST_LINES = (
    b"User-Agent: a browser",
    b"Cookie: a=1",
    b"Content-Type: text/plain",
    b"Content-Length: 5",
    b"Connection: keep-alive",
    b"Connection: cookie, x-request-id",
    b"X-Request-Id: 1234",
    b"Authorization: Bearer a",
    b"X-Forwarded-For: 192.0.2.7",
    b"x-forwarded-host: e1",
    b"X-Forwarded-Proto: https",
    b"Forwarded: for=192.0.2.7",
    b"X-Real-IP: 192.0.2.7",
    b"X-Pico-Endpoint: e2",
    b"X-Pico-Forward: true",
    b"X-Pico-Tenant-Id: t",
    b"TE: trailers",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"X-Pico-Request-ID: 0123456789abcdef",
)
RESPONSE_LINES = (
    b"Date: Mon, 23 Nov 2026 05:00:00 GMT",
    b"Vary: Accept",
    b"Content-Type: text/plain",
    b"Content-Length: 5",
    b"Connection: keep-alive",
    b"Transfer-Encoding: chunked",
    b'ETag: "1"',
    b"Set-Cookie: a=1",
    b"X-Pico-Failure: busy",
    b"X-Pico-Error: e",
    b"Upgrade: h",
    b"Keep-Alive: timeout=5",
)
VALUES = st.one_of(
    st.sampled_from(
        [b"", b" ", b" 7", b"\t8 ", b" 5", b" 12345678901234567890", b" 5, 5", b" 5\t", b" +5", b" a\x00b"]
    ),
    st.sampled_from([b" \x7f", b" a\rb", b" a\nb", b" \xc3\xa9", b" \x80\xa0", b" close", b" keep-alive", b" upgrade"]),
    st.sampled_from(
        [b" Cookie, close", b" chunked", b" true", b" x-pico-error", b" e9.example.com", b" b, c", b" [::1]"]
    ),
    st.sampled_from([b" e9.example.com:80", b" 0123456789abcdee"]),
    st.sampled_from([b" " + b"x" * 65, b" " + b"y" * 3_990, b" " + b"z" * 5_000]),
    st.binary(max_size=6).map(b" ".__add__),
)
REQUEST_STARTS = (
    b"GET / HTTP/1.1",
    b"POST /a?b=1 HTTP/1.1",
    b"HEAD /c HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.2",
    b"GET http://h/ HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT /x HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET /" + b"p" * 300 + b" HTTP/1.1",
    b"GET /\x01 HTTP/1.1",
    b"GET  /",
)
RESPONSE_STARTS = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 503 x",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 x",
    b"HTTP/1.1 426 x",
    b"HTTP/1.1 200",
    b"HTTP/1.1 20",
)
MAY_DIFFER = frozenset(
    b"host user-agent cookie content-type content-length x-request-id authorization x-forwarded-for x-forwarded-host"
    b" x-pico-request-id date server etag set-cookie vary".split()
)
ANY_LINE = st.sampled_from(
    REQUEST_LINES + RESPONSE_LINES + (b"bad", b"a b: c", b" folded", b"Content_Length: 3", b": x")
)
Mutation = Callable[[list[bytes]], list[bytes]]


def with_value(lines: list[bytes], at: int, value: bytes) -> list[bytes]:
    at %= len(lines)
    return [*lines[:at], lines[at].partition(b":")[0] + b":" + value, *lines[at + 1 :]]


def with_name(lines: list[bytes], at: int, change: Callable[[bytes], bytes]) -> list[bytes]:
    at %= len(lines)
    name, colon, value = lines[at].partition(b":")
    return [*lines[:at], change(name) + colon + value, *lines[at + 1 :]]


def rearranged(lines: list[bytes], at: int, kind: str) -> list[bytes]:
    at %= len(lines)
    if kind == "remove":
        return [*lines[:at], *lines[at + 1 :]] or lines
    if kind == "repeat":
        return [*lines[: at + 1], *lines[at:]]
    return [*lines[at:], *lines[:at]]


numbers = st.integers(0, 20)
mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(lambda at, value: lambda lines: with_value(lines, at, value), numbers, VALUES),
    st.builds(
        lambda at, number: lambda lines: with_value(lines, at, b" %d" % number), numbers, st.integers(0, 10**18 - 1)
    ),
    st.builds(
        lambda at, change: lambda lines: with_name(lines, at, change),
        numbers,
        st.sampled_from([bytes.lower, bytes.upper, b"X-".__add__, lambda name: name.replace(b"-", b"_"), bytes.title]),
    ),
    st.builds(
        lambda at, kind: lambda lines: rearranged(lines, at, kind),
        numbers,
        st.sampled_from(["remove", "repeat", "turn"]),
    ),
    st.builds(lambda at, line: lambda lines: [*lines[:at], line, *lines[at:]], numbers, ANY_LINE),
)


@st.composite
def sequences(draw: st.DrawFn, starts: tuple[bytes, ...], always: bytes, known: tuple[bytes, ...]) -> list[bytes]:
    """Return heads that are mutations of one; in most of them only a few values differ."""
    lines = [always, *draw(st.lists(st.sampled_from(known), max_size=7, unique=True))]
    usual_start = starts[0] if draw(st.booleans()) else draw(st.sampled_from(starts))
    places = draw(st.lists(numbers, min_size=1, max_size=3))
    heads = []
    for number in range(draw(st.integers(3, 9))):
        for at in places:
            if lines[at % len(lines)].partition(b":")[0].lower() in MAY_DIFFER:
                lines = with_value(lines, at, b" e%d.a" % number if at % len(lines) == 0 else b" %d" % number)
        mutated = lines
        if number > 1:
            kind = draw(st.integers(0, 5))
            if kind < 2:
                mutated = with_value(lines, draw(st.sampled_from(places)), draw(VALUES))
            elif kind == 2:
                mutated = draw(mutations)(lines)
                lines = mutated if draw(st.booleans()) else lines
        start = draw(st.sampled_from(starts)) if draw(st.integers(0, 5)) == 0 else usual_start
        heads.append(b"\r\n".join([start, *mutated, b"", b""]))
    return heads


Reader = RequestReader | ResponseReader


def read(reader: Reader, data: bytes) -> object:
    """Return what a reader makes of a head, completed as the proxy does it; or why it is refused."""
    try:
        found = reader.read(data)
        if found is None:
            return None
        head, rest = found
        if isinstance(head, ResponseHead):
            return head, response_bytes(head, b"A: b\r\n"), rest
        try:
            endpoint = endpoint_of(head)
        except MessageError as error:
            endpoint = error.reason
        written = request_bytes(head, b"A: b\r\n")
        return replace(head), endpoint, written, rest
    except MessageError as error:
        return error.status, error.reason


def check(heads: list[bytes], rest: bytes, reader_of: Callable[[], Reader]) -> None:
    """Read the heads with a memory and without; one that refused a head is replaced."""
    reader = reader_of()
    accepted: list[bytes] = []
    for head in heads:
        expected = read(reader_of(), head + rest)
        assert read(reader, head + rest) == expected
        if isinstance(expected, tuple) and len(expected) > 2:
            accepted.append(head)
            continue
        reader = reader_of()
        for each in accepted:
            read(reader, each)


@given(sequences(REQUEST_STARTS, b"Host: e1.example.com", REQUEST_LINES), st.sampled_from([b"", b"body\r\n\r\n"]))
def test_requests(heads: list[bytes], rest: bytes) -> None:
    check(heads, rest, partial(RequestReader, LIMITS))


@given(sequences(RESPONSE_STARTS, b"Server: s", RESPONSE_LINES), st.sampled_from([b"", b"body\r\n\r\n"]))
def test_responses(heads: list[bytes], rest: bytes) -> None:
    check(heads, rest, partial(ResponseReader, LIMITS))
