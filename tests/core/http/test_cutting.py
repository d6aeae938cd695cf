"""Cutting heads out of a stream: pieces, early refusals, and the time it takes."""

import pytest

from pico_core.http.cutting import HeadReader
from pico_core.http.message import MessageError
from tests.core.http.growth import grows_linearly
from tests.core.http.heads import GENEROUS, LIMITS, SMALL, status_of


def test_a_whole_head_is_returned_as_it_is() -> None:
    reader = HeadReader(LIMITS)
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    read = reader.receive(data)
    assert read == (data, b"")
    assert read[0] is data
    assert reader.receive(data + b"body") == (data, b"body")
    assert reader.pending_bytes == 0


def test_a_head_in_pieces_then_the_next_one() -> None:
    reader = HeadReader(LIMITS)
    assert reader.receive(b"GET / HT") is None
    assert reader.receive(b"TP/1.1\r\nHost: a\r") is None
    assert reader.pending_bytes == 24
    assert reader.receive(b"\n\r\nGET /2") == (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /2")
    assert reader.pending_bytes == 0
    assert reader.receive(b"GET /2") is None
    assert reader.receive(b" HTTP/1.1\r\n\r\n") == (b"GET /2 HTTP/1.1\r\n\r\n", b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),  # a TLS handshake
        (b"\x89\x89\x1cod\xe2\xb3", 400),
        (b"\rG", 400),
        (b" ", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"GET / HTTP/1.1\rH", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00", 400),
        (b"GET /\r\n", 400),  # HTTP/0.9
        (b"GET / HTTP/2.0\r\n", 505),
        (b"A" * 33, 501),
        (b"SSH-2.0-x\r\n", 400),
        (b"GET /" + b"a" * 65_579, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 65_536, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 174_761, 431),
    ],
)
def test_beginnings_that_cannot_become_a_request_are_refused_at_once(data: bytes, status: int) -> None:
    with pytest.raises(MessageError) as error:
        HeadReader(LIMITS).receive(data)
    assert status_of(error) == status


@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request_are_skipped(empty: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert HeadReader(LIMITS).receive(empty + head) == (head, b"")
    reader = HeadReader(LIMITS)
    for byte in empty:
        assert reader.receive(bytes([byte])) is None
        assert reader.pending_bytes == 0, "no request has begun"
    for byte in head[:-1]:
        assert reader.receive(bytes([byte])) is None
    assert reader.receive(b"\n" + empty) == (head, empty)


def test_an_empty_line_before_a_response_is_refused() -> None:
    with pytest.raises(MessageError):
        HeadReader(LIMITS, response=True).receive(b"\r\n")


def test_a_complete_head_over_the_limit_is_refused_whole_or_in_pieces() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: bbbbbbbbbbbbbbb\r\n" * 10 + b"\r\n"
    with pytest.raises(MessageError):
        HeadReader(SMALL).receive(head)
    reader = HeadReader(SMALL)
    assert reader.receive(head[:190]) is None
    with pytest.raises(MessageError):
        reader.receive(head[190:])


def test_a_reader_of_responses() -> None:
    reader = HeadReader(LIMITS, response=True)
    for byte in b"HTTP/1.1 200 OK\r\nA: b\r\n\r":
        assert reader.receive(bytes([byte])) is None
    assert reader.receive(b"\nrest") == (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"rest")


@pytest.mark.parametrize("data", [b"GET", b"HTTP/2", b"HTTP/1.1 20\r\n", b"HTTP/1.1 200 OK\r\nA: b\n"])
def test_beginnings_that_cannot_become_a_response_are_refused_at_once(data: bytes) -> None:
    with pytest.raises(MessageError) as error:
        HeadReader(LIMITS, response=True).receive(data)
    assert status_of(error) == 400


def test_a_dripping_head_costs_the_same_per_byte() -> None:
    def drip(size: int) -> None:
        reader = HeadReader(GENEROUS)
        reader.receive(b"GET / HTTP/1.1\r\nA: ")
        for _ in range(size):
            reader.receive(b"b")

    assert grows_linearly(drip, 8_000)
