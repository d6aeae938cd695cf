"""Readers with a memory give the same results as those without, whatever came before and however it is cut."""

import pytest

from pico_core.http.message import HeadLimits
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.http.recent import RequestReader, ResponseReader
from pico_core.http.writing import request_bytes, response_bytes
from tests.core.http.reading import outcome, plain

LIMITS = HeadLimits()
FIELDS = b"Host: e.example.com\r\nUser-Agent: test\r\nx-pico-endpoint: e\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
REST = b"behind the head"

REQUESTS = (
    b"GET / HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.1\r\n" + FIELDS,
    b"POST /other?q=1 HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.0\r\n" + FIELDS,
    b"GET / HTTP/1.2\r\n" + FIELDS,
    b"GET http://e.example.com/absolute HTTP/1.1\r\n" + FIELDS,
    b"OPTIONS * HTTP/1.1\r\n" + FIELDS,
    b"CONNECT /x HTTP/1.1\r\n" + FIELDS,
    b"TRACE / HTTP/1.1\r\n" + FIELDS,
    b"GET /a b HTTP/1.1\r\n" + FIELDS,
    b"GET /#fragment HTTP/1.1\r\n" + FIELDS,
    b"get / HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.1\r\nX: GET / HTTP/1.1\r\n" + FIELDS,
    b"GET /x HTTP/1.1\r\nHost: e.example.com\r\nContent-Length: 5\r\n\r\n",
    b"PUT /y HTTP/1.1\r\nHost: e.example.com\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: e.example.com\r\nX: " + bytes(b"x" * 4_096) + b"\r\n\r\n",
)


@pytest.mark.parametrize("before", REQUESTS)
@pytest.mark.parametrize("head", REQUESTS)
def test_requests_are_read_as_without_memory(before: bytes, head: bytes) -> None:
    for pieces in ([head], [head + REST], [head[:9], head[9:]], [head[:-2], head[-2:] + REST]):
        reader = RequestReader(LIMITS)
        outcome(reader.read, before)
        assert outcome(reader.read, *pieces) == outcome(plain(parse_request_head, LIMITS), *pieces)


def test_a_remembered_head_does_not_widen_the_limits() -> None:
    limits = HeadLimits(max_head_bytes=400, max_target_bytes=100)
    for size in (50, 95, 96, 97, 100, 101, 102, 200, 300, 400):
        reader = RequestReader(limits)
        outcome(reader.read, REQUESTS[0])
        head = b"GET /%b HTTP/1.1\r\n%b" % (b"x" * (size - 1), FIELDS)
        assert outcome(reader.read, head) == outcome(plain(parse_request_head, limits), head)


RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.2 404 Not Found\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"nonsense\r\n\r\n",
)


@pytest.mark.parametrize("before", RESPONSES)
@pytest.mark.parametrize("head", RESPONSES)
def test_responses_are_read_as_without_memory(before: bytes, head: bytes) -> None:
    for pieces in ([head], [head + REST], [head[:9], head[9:]], [head[:-2], head[-2:] + REST]):
        reader = ResponseReader(LIMITS)
        outcome(reader.read, before)
        assert outcome(reader.read, *pieces) == outcome(plain(parse_response_head, LIMITS), *pieces)


def test_a_head_given_new_framing_is_another_one() -> None:
    reader = ResponseReader(LIMITS)
    for _ in range(3):
        read = reader.read(b"HTTP/1.1 200 OK\r\nServer: s\r\n\r\n")
        assert read is not None
        head = read[0]
        assert response_bytes(head, b"") == b"HTTP/1.1 200 OK\r\nServer: s\r\n\r\n"
        assert b"chunked" in response_bytes(head.with_chunks(chunked=True), b"")
        assert b"chunked" not in response_bytes(head, b"Connection: close\r\n")
        assert head.with_chunks(chunked=False) is head


def test_what_is_filled_in_later_is_taken_over_with_the_fields() -> None:
    reader = RequestReader(LIMITS)
    first = reader.read(REQUESTS[0])
    assert first is not None
    head = first[0]
    head.endpoint_id = "e"
    assert request_bytes(head, b"") == b"GET / HTTP/1.1\r\nHost: e.example.com\r\nUser-Agent: test\r\n\r\n"
    second = reader.read(REQUESTS[2])
    assert second is not None
    assert (second[0].endpoint_id, second[0].onward) == ("e", head.onward)
    assert request_bytes(second[0], b"") == (
        b"POST /other?q=1 HTTP/1.1\r\nHost: e.example.com\r\nUser-Agent: test\r\n\r\n"
    )


def test_heads_that_differ_are_compared_as_a_whole_again_once_they_repeat() -> None:
    """Then they share what was parsed, and what is written for the next hop."""
    for more in (b"", b"X-Pico-Request-ID: 0123456789abcdef\r\n"):
        reader = RequestReader(LIMITS)

        def fields_of(value: bytes, more: bytes = more, reader: RequestReader = reader) -> bytes:
            read = reader.read(b"GET / HTTP/1.1\r\nHost: e\r\nCookie: %b\r\n%b\r\n" % (value, more))
            assert read is not None
            return read[0].fields

        for value in (b"a", b"b", b"c", b"d", b"e", b"e"):
            assert fields_of(value) == b"Host: e\r\nCookie: %b\r\n" % value
        assert fields_of(b"e") is fields_of(b"e")
        assert fields_of(b"f") is not fields_of(b"f")


def test_lengths_that_differ_are_not_a_repetition() -> None:
    reader = RequestReader(LIMITS)
    heads = [
        b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: %d\r\n\r\n" % number for number in (1, 2, 3, 4, 4, 4, 5, 4)
    ]
    for head in heads:
        assert outcome(reader.read, head) == outcome(plain(parse_request_head, LIMITS), head)


@pytest.mark.parametrize("size", [4_096, 4_097])
def test_longer_heads_are_not_remembered(size: int) -> None:
    """What is remembered is shared by the heads of a connection, and so is found by its identity."""
    start = b" HTTP/1.1\r\nHost: e.example.com\r\nX: "
    requests = RequestReader(LIMITS)
    first, second = (requests.read(b"GET /" + start.ljust(size - 4, b"x") + b"\r\n\r\n") for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first[0].fields is second[0].fields) is (size == 4_096)
    responses = ResponseReader(LIMITS)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ".ljust(size - 4, b"x") + b"\r\n\r\n"
    one, other = (responses.read(head) for _ in range(2))
    assert one is not None
    assert other is not None
    assert (one[0] is other[0]) is (size == 4_096)
