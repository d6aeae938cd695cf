"""The limits of a head, whole and in pieces, and the time that hostile heads take."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head, parse_response_head
from tests.core.http.growth import grows_linearly
from tests.core.http.heads import GENEROUS, LIMITS, SMALL, status_of


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


# --- time ---

ADVERSARIES: dict[str, Callable[[int], bytes]] = {
    "one long value": lambda size: b"A: " + b" \t" * (size // 2) + b"\x00",
    "blanks everywhere": lambda size: b"Transfer-Encoding:" + b" " * size,
    "a long name without colon": lambda size: b"a" * size,
    "a notable prefix": lambda size: b"transfer" + b"-" * size,
    "many short fields": lambda size: b"\r\n".join([b"Host: a"] * (size // 9)),
    "many connection options": lambda size: b"Connection: " + b"a," * (size // 2),
    "many fields about the client": lambda size: b"\r\n".join(b"X-Forwarded-%d: 1" % n for n in range(size // 22)),
    "many forwarded addresses": lambda size: b"\r\n".join([b"X-Forwarded-For: 192.0.2.1"] * (size // 29)),
    "many own fields": lambda size: b"\r\n".join([b"x-pico-a: b"] * (size // 13)),
    "codings": lambda size: b"Transfer-Encoding: " + b"chunked," * (size // 8),
    "expectations": lambda size: b"Expect: " + b"1" * size,
    "host": lambda size: b"Host: " + b"a." * (size // 2),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_time_grows_no_faster_than_the_head(name: str) -> None:
    heads = {size: b"GET / HTTP/1.1\r\n" + ADVERSARIES[name](size) + b"\r\n\r\n" for size in (65_536, 262_144)}

    def parse(size: int) -> None:
        with suppress(MessageError):
            parse_request_head(heads[size], GENEROUS)

    assert grows_linearly(parse, 65_536)
