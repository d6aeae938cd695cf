"""Bodies: where they end, what is refused, and that large pieces are not copied."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import pytest

from pico_core.http.body import (
    LAST_CHUNK,
    BodyReader,
    ChunkedBody,
    EofBody,
    LengthBody,
    framed,
    request_body,
    response_body,
)
from pico_core.http.message import HeadLimits, MessageError
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.pieces import Piece
from tests.core.http.growth import grows_linearly

Read: TypeAlias = Callable[[BodyReader, bytes], tuple[bytes, bytes]]

LIMITS = HeadLimits()
BIG = bytes(range(256)) * 32  # 8 KiB


def payload(pieces: list[Piece]) -> bytes:
    return b"".join(pieces)


def read_whole(body: BodyReader, data: Piece) -> tuple[bytes, bytes]:
    pieces, rest = body.receive(data)
    return payload(pieces), rest


def read_byte_by_byte(body: BodyReader, data: bytes) -> tuple[bytes, bytes]:
    out, rest = b"", b""
    for position in range(len(data)):
        pieces, more = body.receive(data[position : position + 1])
        out += payload(pieces)
        rest += more
    return out, rest


# --- which body ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (b"", None),
        (b"Content-Length: 0\r\n", None),
        (b"Content-Length: 1\r\n", LengthBody),
        (b"Transfer-Encoding: chunked\r\n", ChunkedBody),
    ],
)
def test_request_bodies(fields: bytes, kind: type[BodyReader] | None) -> None:
    body = request_body(parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", LIMITS))
    assert body is None if kind is None else isinstance(body, kind)


@pytest.mark.parametrize(
    ("method", "head", "kind"),
    [
        (b"GET", b"200 OK\r\n", EofBody),
        (b"GET", b"200 OK\r\nContent-Length: 3\r\n", LengthBody),
        (b"GET", b"200 OK\r\nContent-Length: 0\r\n", None),
        (b"GET", b"200 OK\r\nTransfer-Encoding: chunked\r\n", ChunkedBody),
        (b"HEAD", b"200 OK\r\n", None),
        (b"HEAD", b"200 OK\r\nContent-Length: 3\r\n", None),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", None),
        (b"GET", b"100 Continue\r\n", None),
        (b"GET", b"101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n", None),
        (b"GET", b"204 No Content\r\n", None),
        (b"GET", b"304 Not Modified\r\nContent-Length: 3\r\n", None),
        (b"GET", b"304 Not Modified\r\nTransfer-Encoding: chunked\r\n", None),
        (b"GET", b"404 Not Found\r\n", EofBody),
    ],
)
def test_response_bodies(method: bytes, head: bytes, kind: type[BodyReader] | None) -> None:
    body = response_body(parse_response_head(b"HTTP/1.1 " + head + b"\r\n", LIMITS), method)
    assert body is None if kind is None else isinstance(body, kind)


# --- known length, and until the end ---------------------------------------------------------------------------------


def test_a_body_of_known_length() -> None:
    body = LengthBody(10)
    assert body.receive(b"") == ([], b"")
    assert body.receive(b"abc") == ([b"abc"], b"")
    assert (body.done, body.eof()) == (False, False)
    assert body.receive(b"defghijGET /") == ([b"defghij"], b"GET /")
    assert (body.done, body.eof(), body.trailers) == (True, True, b"")
    assert body.receive(b"more") == ([], b"more")


def test_a_piece_that_is_all_payload_is_the_same_object() -> None:
    for body in (LengthBody(len(BIG)), LengthBody(len(BIG) + 1), EofBody()):
        pieces, rest = body.receive(BIG)
        assert pieces[0] is BIG
        assert rest == b""


def test_a_large_part_is_a_view_and_a_small_one_a_copy() -> None:
    (piece,), rest = LengthBody(5000).receive(BIG)
    assert isinstance(piece, memoryview)
    assert piece.obj is BIG
    assert (bytes(piece), rest) == (BIG[:5000], BIG[5000:])
    (piece,), rest = LengthBody(4095).receive(BIG)
    assert isinstance(piece, bytes)


def test_views_may_come_in() -> None:
    view = memoryview(BIG)
    (piece,), rest = LengthBody(len(BIG)).receive(view)
    assert (piece is view, rest) == (True, b"")
    assert LengthBody(2).receive(view[:4]) == ([BIG[:2]], BIG[2:4])
    assert read_whole(ChunkedBody(), memoryview(b"3\r\nabc\r\n0\r\nA: b\r\n\r\nnext")) == (b"abc", b"next")
    body = ChunkedBody()
    assert body.receive(memoryview(b"3;a")) == ([], b"")
    assert body.receive(memoryview(b"=b\r\nabc\r")) == ([b"abc"], b"")
    assert body.receive(memoryview(b"\n0\r\n\r\n")) == ([], b"")
    assert body.receive(memoryview(b"x")) == ([], b"x")


def test_a_body_until_the_end_of_the_connection() -> None:
    body = EofBody()
    assert body.receive(b"abc") == ([b"abc"], b"")
    assert body.receive(b"") == ([], b"")
    assert body.done is False
    assert body.eof() is True
    assert (body.done, body.trailers) == (True, b"")


# --- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_whole, read_byte_by_byte])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", b"hello world"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"00A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5;a\r\nhello\r\n0;b=c\r\n\r\n", b"hello"),
        (b'5; some; parameters = stuff ; q="a \\"b\\" \xe4;\\\\"\r\nhello\r\n0\r\n\r\n', b"hello"),
    ],
)
def test_chunked_bodies(read: Read, data: bytes, expected: bytes) -> None:
    body = ChunkedBody()
    assert read(body, data + b"GET / HTTP/1.1") == (expected, b"GET / HTTP/1.1")
    assert (body.done, body.eof(), body.trailers) == (True, True, b"")
    assert body.receive(b"next") == ([], b"next")


@pytest.mark.parametrize(
    "data", [b"", b"5", b"5\r\nhel", b"5\r\nhello\r", b"5\r\nhello\r\n", b"0\r\n", b"0\r\nA: b\r\n"]
)
def test_truncated_bodies_are_not_done(data: bytes) -> None:
    body = ChunkedBody()
    body.receive(data)
    assert (body.done, body.eof()) == (False, False)


@pytest.mark.parametrize("read", [read_whole, read_byte_by_byte])
@pytest.mark.parametrize(
    "data",
    [
        b"\r\nhello\r\n",
        b"x\r\n",
        b"+5\r\nhello\r\n",
        b"-1\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\nhello world!!!!!\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\t;a\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5\r\r\nhello",
        b"0000000000000005\r\nhello\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"FFFFFFFFFFFFFFFF0\r\n",
        b"5;\r\nhello\r\n",
        b"5;a=\r\nhello\r\n",
        b"5;=a\r\nhello\r\n",
        b"5;a b\r\nhello\r\n",
        b"5;bad[=x\r\nhello\r\n",
        b"5;\x00a\r\nhello\r\n",
        b"5;a\rX\r\nhello\r\n",
        b"5;\nhello\r\n",
        b'5;a="b\r\nhello\r\n',
        b'5;a="b\\\r\nhello\r\n',
        b'5;a="b\x01"\r\nhello\r\n',
        b"5 a\r\nhello\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA: b\x00\r\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n",
        b"0\r\n\rX\r\n",
    ],
)
def test_malformed_chunked_bodies(read: Read, data: bytes) -> None:
    with pytest.raises(MessageError) as error:
        read(ChunkedBody(), data)
    assert error.value.status == 400


@pytest.mark.parametrize("read", [read_whole, read_byte_by_byte])
@pytest.mark.parametrize(
    "data",
    [
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5     \r\nhello\r\n0     \r\n\r\n",
        b"5\t;a \r\nhello\r\n0 ;b=c\r\n\r\n",
        b"5;a\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_sizes_of_a_response_may_be_filled_up_with_blanks(read: Read, data: bytes) -> None:
    assert read(ChunkedBody(padded=True), data + b"next") == (b"hello", b"next")


@pytest.mark.parametrize("data", [b" 5\r\n", b"5 5\r\n", b"5 \r\r\n", b"5 \n", b"5 \x00\r\n", b"5 ; \r\n", b"5 a\r\n"])
def test_other_blanks_in_a_response_are_refused(data: bytes) -> None:
    for read in (read_whole, read_byte_by_byte):
        with pytest.raises(MessageError):
            read(ChunkedBody(padded=True), data)


@pytest.mark.parametrize("data", [b"x", b" ", b"\r", b"5 ", b"5\r5", b"1\r\na1", b"1\r\na\r1", b"0123456789abcdef"])
def test_what_can_be_no_chunk_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(MessageError):
        ChunkedBody().receive(data)


def test_trailers_are_passed_on_but_for_those_that_steer() -> None:
    body = ChunkedBody()
    data = (
        b"1\r\na\r\n0\r\nX-Checksum: abc\r\nVary: *\r\nContent-Type: a/b\r\nAuthorization: x\r\nSet-Cookie: a\r\n"
        b"If-Match: x\r\nX_Piko_Endpoint: e\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n"
        b"X-Real-IP: 192.0.2.1\r\nx_real_ip: 192.0.2.1\r\nForwarded: for=x\r\nProxy: http://x\r\n"
        b"Content-Length: 5\r\ntransfer_encoding: chunked\r\nHOST: evil.example\r\n"
        b"grpc-status:\t0\r\n\r\nrest"
    )
    assert read_whole(body, data) == (b"a", b"rest")
    assert body.trailers == b"X-Checksum: abc\r\ngrpc-status:\t0\r\n"


def test_chunks_need_not_be_copied() -> None:
    data = b"2000\r\n" + BIG + b"\r\n3\r\nabc\r\n2000\r\n" + BIG + b"\r\n0\r\n\r\n"
    pieces, rest = ChunkedBody().receive(data)
    assert [type(piece) for piece in pieces] == [memoryview, bytes, memoryview]
    assert (payload(pieces), rest) == (BIG + b"abc" + BIG, b"")
    body = ChunkedBody()
    body.receive(b"4000\r\n")
    pieces, _ = body.receive(BIG)
    assert pieces[0] is BIG


def test_many_small_chunks_become_one_piece() -> None:
    pieces, _ = ChunkedBody().receive(b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
    assert pieces == [b"a" * 1000]


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_whole, read_byte_by_byte])
def test_a_chunk_line_has_a_bound(read: Read) -> None:
    assert read(ChunkedBody(), b"1;" + b"a" * 4092 + b"\r\nb") == (b"b", b"")
    with pytest.raises(MessageError):
        read(ChunkedBody(), b"1;" + b"a" * 4093 + b"\r\nb")


def test_extensions_must_not_be_the_bulk() -> None:
    signed = b"1000;chunk-signature=" + b"a" * 64 + b"\r\n" + BIG[:4096] + b"\r\n"
    body = ChunkedBody()
    for _ in range(1000):
        body.receive(signed)
    with pytest.raises(MessageError) as error:
        body.receive((b"1;" + b"a" * 1000 + b"\r\nb\r\n") * 20)
    assert error.value.reason == "chunk extensions too long"


def test_extensions_may_be_just_so_far_ahead_of_the_payload() -> None:
    body = ChunkedBody()
    longest, short = b"1;" + b"a" * 4092 + b"\r\nb\r\n", b"1;a\r\nb\r\n"
    assert read_whole(body, longest * 4 + short) == (b"bbbbb", b""), "16 KiB more than the payload"
    with pytest.raises(MessageError, match="chunk extensions too long"):
        body.receive(short)


@pytest.mark.parametrize("read", [read_whole, read_byte_by_byte])
def test_the_trailer_section_has_a_bound(read: Read) -> None:
    assert read(ChunkedBody(), b"0\r\n" + b"A: bbbb\r\n" * 909 + b"C: dd\r\n\r\nx") == (b"", b"x")
    for trailers in (b"A: bbbb\r\n" * 911 + b"\r\n", b"A: " + b"b" * 8192):
        with pytest.raises(MessageError):
            read(ChunkedBody(), b"0\r\n" + trailers)


def test_an_unfinished_line_is_not_waited_for_beyond_its_bound() -> None:
    with pytest.raises(MessageError):
        ChunkedBody().receive(b"5;" + b"a" * 4096)


ADVERSARIES: dict[str, Callable[[int], bytes]] = {
    "tiny chunks": lambda size: b"1\r\na\r\n" * (size // 6),
    "blanks in extensions": lambda size: b"1;a" + b" " * size + b"\r\nb",
    "trailers before much": lambda size: b"0\r\n" + b"A:\r\n" * 2000 + b"\r\n" + b"x" * size,
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_time_grows_no_faster_than_the_body(name: str) -> None:
    bodies = {size: ADVERSARIES[name](size) for size in (65_536, 262_144)}

    def read(size: int) -> None:
        with suppress(MessageError):
            ChunkedBody().receive(bodies[size])

    assert grows_linearly(read, 65_536)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_writing_chunks() -> None:
    pieces = framed([BIG, memoryview(BIG)[:4096], b"x"], last=False, trailers=b"")
    assert pieces[1] is BIG
    data = b"".join(pieces)
    assert data.startswith(b"3001\r\n")
    assert read_whole(ChunkedBody(), data + LAST_CHUNK) == (BIG + BIG[:4096] + b"x", b"")
    body = ChunkedBody()
    assert read_whole(body, b"".join(framed([], last=True, trailers=b"A: b\r\n")) + b"n") == (b"", b"n")
    assert body.trailers == b"A: b\r\n"


def test_no_bytes_make_no_chunk() -> None:
    assert framed([], last=False, trailers=b"") == []
    assert framed([], last=True, trailers=b"") == [LAST_CHUNK]
