"""Cutting heads out of a stream: limits, pieces, early refusals, and the time it takes."""

import time
from contextlib import suppress

import pytest

from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head, parse_response_head
from tests.core.http.heads import LIMITS, SMALL, status_of

# --- limits ---


def refusal_in_one_piece(data: bytes, limits: HeadLimits) -> int:
    try:
        read = HeadReader(limits).receive(data)
        assert read is not None
        parse_request_head(read[0], limits)
    except MessageError as error:
        return error.status
    return 0


def refusal_byte_by_byte(data: bytes, limits: HeadLimits) -> int:
    reader = HeadReader(limits)
    try:
        for position in range(len(data)):
            read = reader.receive(data[position : position + 1])
        assert read is not None
        parse_request_head(read[0], limits)
    except MessageError as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 49 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"GET /" + b"a" * 50 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"M" * 32 + b" /" + b"a" * 49 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 57 + b"\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 58 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 4 + b"\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 5 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"A: " + b"b" * 55 + b"\r\n") * 2 + b"A: " + b"b" * 48 + b"\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"A: " + b"b" * 55 + b"\r\n") * 2 + b"A: " + b"b" * 49 + b"\r\n\r\n", 431),
    ],
)
def test_limits_are_inclusive_and_do_not_depend_on_the_pieces(head: bytes, status: int) -> None:
    assert refusal_in_one_piece(head, SMALL) == status
    assert refusal_byte_by_byte(head, SMALL) == status


def test_a_head_that_was_not_cut_by_the_reader_is_measured_too() -> None:
    with pytest.raises(MessageError) as error:
        parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: bbbbbbbbbbbbbbb\r\n" * 10 + b"\r\n", SMALL)
    assert status_of(error) == 431


def test_ten_thousand_fields_and_fields_of_100_kb_are_refused() -> None:
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-H-%d: value\r\n" % n for n in range(10_000)) + b"\r\n"
    assert refusal_in_one_piece(many, LIMITS) == 431
    for line in (b"X-Big: " + b"B" * 100_000, b"A" * 100_000 + b": b"):
        assert refusal_in_one_piece(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", LIMITS) == 431
    assert refusal_in_one_piece(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS) == 414


def test_an_overlong_reason_phrase_is_refused() -> None:
    with pytest.raises(MessageError):
        parse_response_head(b"HTTP/1.1 200 " + b"a" * 51 + b"\r\n\r\n", SMALL)


# --- the reader ---


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
        (b"\r\n", 400),
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
def test_hopeless_beginnings_are_refused_at_once(data: bytes, status: int) -> None:
    with pytest.raises(MessageError) as error:
        HeadReader(LIMITS).receive(data)
    assert status_of(error) == status


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
def test_hopeless_beginnings_of_responses(data: bytes) -> None:
    with pytest.raises(MessageError) as error:
        HeadReader(LIMITS, response=True).receive(data)
    assert status_of(error) == 400


# --- time ---

ADVERSARIES = {
    "one long value": lambda size: b"A: " + b" \t" * (size // 2) + b"\x00",
    "blanks everywhere": lambda size: b"Transfer-Encoding:" + b" " * size,
    "a long name without colon": lambda size: b"a" * size,
    "a notable prefix": lambda size: b"transfer" + b"-" * size,
    "many short fields": lambda size: b"\r\n".join([b"Host: a"] * (size // 9)),
    "many connection options": lambda size: b"Connection: " + b"a," * (size // 2),
    "many forwarded addresses": lambda size: b"\r\n".join([b"X-Forwarded-For: 192.0.2.1"] * (size // 29)),
    "many own fields": lambda size: b"\r\n".join([b"x-pico-a: b"] * (size // 13)),
    "codings": lambda size: b"Transfer-Encoding: " + b"chunked," * (size // 8),
    "expectations": lambda size: b"Expect: " + b"1" * size,
    "host": lambda size: b"Host: " + b"a." * (size // 2),
}
GENEROUS = HeadLimits(max_head_bytes=1 << 24, max_target_bytes=1 << 24, max_field_bytes=1 << 24, max_fields=1 << 24)


def seconds_to_parse(lines: bytes) -> float:
    head = b"GET / HTTP/1.1\r\n" + lines + b"\r\n\r\n"
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        with suppress(MessageError):
            parse_request_head(head, GENEROUS)
        best = min(best, time.perf_counter() - started)
    return best


@pytest.mark.parametrize("name", ADVERSARIES)
def test_time_grows_no_faster_than_the_head(name: str) -> None:
    # Four times the bytes: four times the time if it is linear, sixteen times if it is quadratic.
    make = ADVERSARIES[name]
    assert seconds_to_parse(make(262_144)) < 9 * seconds_to_parse(make(65_536)) + 0.001


def test_a_dripping_head_costs_the_same_per_byte() -> None:
    def seconds_to_drip(size: int) -> float:
        reader = HeadReader(GENEROUS)
        reader.receive(b"GET / HTTP/1.1\r\nA: ")
        started = time.perf_counter()
        for _ in range(size):
            reader.receive(b"b")
        return time.perf_counter() - started

    assert min(seconds_to_drip(32_000) for _ in range(3)) < 9 * min(seconds_to_drip(8_000) for _ in range(5))
