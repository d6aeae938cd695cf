"""h11 as the oracle: we refuse what it refuses, and read alike what both accept. Each stricter rule has its reason."""

import random
from collections.abc import Iterable

import h11
import pytest

from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead, split_fields
from pico_core.http.parsing import parse_request_head, parse_response_head

LIMITS = HeadLimits()


def h11_request(data: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def h11_response(data: bytes) -> h11.Response | h11.InformationalResponse | None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    upgrade = [("host", "a"), ("connection", "upgrade"), ("upgrade", "x")]
    connection.send(h11.Request(method="GET", target="/", headers=upgrade))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Response | h11.InformationalResponse) else None


def our_request(data: bytes) -> RequestHead | MessageError:
    try:
        return parse_request_head(data, LIMITS)
    except MessageError as error:
        return error


def our_response(data: bytes) -> ResponseHead | MessageError:
    try:
        return parse_response_head(data, LIMITS)
    except MessageError as error:
        return error


STRICTER_REQUESTS = {
    "a bare LF is a line end to some readers and part of a value to others": [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
    ],
    "folding is obsolete, and readers disagree on what it means": [b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"],
    "control characters are not text (RFC 9110 section 5.5)": [
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7fc\r\n\r\n",
    ],
    "a repeated length is a sign of two authors, even if they agree": [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
    ],
    "a length beyond 10^18 fits no file, and overflows somewhere": [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000000000\r\n\r\n"
    ],
    "both framings at once is how requests are smuggled": [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    ],
    "HTTP/1.0 has no chunks (RFC 9112 section 6.1)": [b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    "gateways behind us read '_' as '-'": [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer--Encoding: chunked\r\n\r\n",
    ],
    "Host decides the route, so it must be a host (RFC 9112 section 3.2)": [
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ],
    "a target has one of four forms (RFC 9112 section 3.2)": [
        b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "a fragment is never sent (RFC 9112 section 3.2)": [b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"],
    "we speak HTTP/1 only": [b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"],
    "we are not a forward proxy, and mirror nothing": [
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "no method is that long": [b"M" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n"],
    "an unknown expectation cannot be met (RFC 9110 section 10.1.1)": [
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"
    ],
    "of two contradicting values, two readers may take different ones": [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-pico-endpoint: a\r\nx-piko-endpoint: b\r\n\r\n",
    ],
    "memory and time are bounded": [b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 1000 + b"\r\n"],
}

STRICTER_RESPONSES = {
    "the same line ends and text as in requests": [
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 \x01\r\n\r\n",
    ],
    "the same framing as in requests": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    "a switch must name the new protocol": [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    "we speak HTTP/1 only": [b"HTTP/2.0 200 OK\r\n\r\n"],
}


@pytest.mark.parametrize("why", STRICTER_REQUESTS)
def test_where_we_are_stricter_in_requests(why: str) -> None:
    for data in STRICTER_REQUESTS[why]:
        assert h11_request(data) is not None
        assert isinstance(our_request(data), MessageError)


@pytest.mark.parametrize("why", STRICTER_RESPONSES)
def test_where_we_are_stricter_in_responses(why: str) -> None:
    for data in STRICTER_RESPONSES[why]:
        assert h11_response(data) is not None
        assert isinstance(our_response(data), MessageError)


# --- mutations -------------------------------------------------------------------------------------------------------

LINES = [
    b"Host: a.example",
    b"Content-Length: 12",
    b"Transfer-Encoding: chunked",
    b"Connection: keep-alive, X-Hop",
    b"Connection: close",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"X-Hop: 1",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"X-Forwarded-For: 192.0.2.1",
    b"x-piko-endpoint: e",
    b"X_Piko_Endpoint: f",
    b"Accept: */*",
    b"Cookie: a=b; c=\xe4",
    b"Content-Type: text/plain",
    b"User-Agent:\tx\ty ",
    b"Empty:",
]
REQUEST_LINES = [
    b"GET /a?b HTTP/1.1",
    b"GET / HTTP/1.2",
    b"POST / HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"PUT http://a.example/x HTTP/1.1",
]
STATUS_LINES = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/1.0 404 Not Found",
    b"HTTP/1.1 204",
    b"HTTP/1.1 304 ",
    b"HTTP/1.1 101 S",
]
SPICE = [bytes([n]) for n in range(256)] + [
    b"\r\n",
    b"\r\n ",
    b"\n",
    b" :",
    b": ",
    b",",
    b", ",
    b"HTTP/1.1",
    b"chunked",
]


def mutated(source: random.Random, start_lines: list[bytes]) -> bytes:
    lines = source.sample(LINES, source.randint(0, 6))
    if source.random() < 0.7 and LINES[0] not in lines:
        lines.insert(0, LINES[0])
    head = b"\r\n".join([source.choice(start_lines), *lines]) + b"\r\n\r\n"
    for _ in range(source.choice((0, 1, 1, 1, 2, 3))):
        at = source.randrange(len(head))
        match source.randrange(4):
            case 0:
                head = head[:at] + source.choice(SPICE) + head[at:]
            case 1:
                head = head[:at] + head[at + source.randint(1, 3) :]
            case 2:
                head = head[:at] + source.choice(SPICE) + head[at + 1 :]
            case _:
                head = head[:at] + head[at : at + 1].swapcase() + head[at + 1 :]
    return head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def check_fields(ours: bytes, theirs: Iterable[tuple[bytes, bytes]]) -> None:
    """Every field we pass on is one that h11 saw, in the same order."""
    remaining = iter(theirs)
    for pair in split_fields(ours):
        assert pair in remaining


def check_framing(ours: RequestHead | ResponseHead, theirs: Iterable[tuple[bytes, bytes]]) -> None:
    found = dict(theirs)
    assert ours.chunked is (found.get(b"transfer-encoding") == b"chunked")
    assert ours.content_length == int(found.get(b"content-length", b"-1"))


@pytest.mark.parametrize("seed", range(20))
def test_mutated_requests(seed: int) -> None:
    source = random.Random(seed)
    accepted = 0
    for _ in range(200):
        data = mutated(source, REQUEST_LINES)
        ours, theirs = our_request(data), h11_request(data)
        if isinstance(ours, MessageError):
            continue
        if any(byte >= 0x80 for byte in ours.target):  # passed on as it came; h11 wants it percent-encoded
            continue
        assert theirs is not None, data
        accepted += 1
        assert ours.method == theirs.method
        assert theirs.target.endswith(ours.target)
        assert b"1.%d" % ours.minor_version == min(theirs.http_version, b"1.1")
        check_fields(ours.fields, theirs.headers)
        check_framing(ours, theirs.headers)
    assert accepted > 20


@pytest.mark.parametrize("seed", range(20))
def test_mutated_responses(seed: int) -> None:
    source = random.Random(seed)
    accepted = 0
    for _ in range(200):
        data = mutated(source, STATUS_LINES)
        ours, theirs = our_response(data), h11_response(data)
        if isinstance(ours, MessageError):
            continue
        lost_framing = not ours.keep_alive and not ours.chunked and ours.content_length < 0
        if ours.status in (101, 204, 304) and lost_framing:  # it has no body, so doubtful lengths are dropped
            continue
        assert theirs is not None, data
        accepted += 1
        assert (ours.status, ours.reason) == (theirs.status_code, bytes(theirs.reason))
        check_fields(ours.fields, theirs.headers)
        if ours.status >= 200 and ours.status != 204:  # those have no body, and lose the fields that announce one
            check_framing(ours, theirs.headers)
    assert accepted > 20
