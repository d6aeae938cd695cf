"""WebSocket frames under any cut, against garbage, and against another implementation (wsproto)."""

import contextlib
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage

from fuzz.cuts import cut
from pico_core.http.proxy_connect import ProxyConnect, ProxyError
from pico_core.pieces import Piece
from pico_core.websocket.decoding import CloseReceived, FrameDecoder, FrameError, Item, Ping, Pong
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame, encode_pong
from pico_core.websocket.frame import PING
from pico_core.websocket.handshake import ClientHandshake, HandshakeError, accept_handshake
from pico_core.websocket.masking import rotated
from pico_core.websocket.refusal import FIELD, Refusal, read_refusal
from tests.core.memory import reachable_bytes
from tests.core.websocket.keys import Keys, flat

MAX_WAITING_BYTES = 130
"""Bytes that may wait for their rest: a masked control frame of which one byte is missing."""


PAYLOADS = st.one_of(st.binary(max_size=300), st.integers(4_000, 70_000).map(bytes))
KEYS = st.one_of(st.none(), st.integers(0, 2**32 - 1))
CUTS = st.lists(st.integers(1, 200), max_size=40)


def decode(decoder: FrameDecoder, pieces: list[bytes]) -> list[object]:
    """All that came, with neighbouring payload joined and a failure as its code."""
    result: list[object] = []

    def add(items: list[Item]) -> None:
        for item in items:
            if isinstance(item, (bytes, memoryview)):
                if result and isinstance(result[-1], bytes):
                    result[-1] += bytes(item)
                else:
                    result.append(bytes(item))
            else:
                result.append(item)

    for piece in pieces:
        try:
            add(decoder.receive(piece))
        except FrameError as error:
            add(error.items)
            result.append(error.code)
    return result


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bool, bytes]:
    """The bytes of one side: whether it masks, and some frames."""
    start = draw(KEYS)
    keys = None if start is None else Keys(start)
    data = b""
    for kind in draw(st.lists(st.sampled_from(("data", "data", "ping", "pong", "raw")), max_size=8)):
        if kind == "data":
            payload = draw(PAYLOADS)
            data += flat(encode_frame([payload], len(payload), keys))
        elif kind == "ping":
            data += encode_control(PING, draw(st.binary(max_size=125)), keys)
        elif kind == "pong":
            data += encode_pong(draw(st.binary(max_size=125)), keys)
        else:
            data += draw(st.binary(max_size=20))
    if draw(st.booleans()):
        data += encode_close(draw(st.sampled_from((1000, 1005, 4000))), draw(st.text(max_size=60)), keys)
    return keys is not None, data


@given(conversations(), CUTS)
def test_any_cut_gives_the_same(conversation: tuple[bool, bytes], sizes: list[int]) -> None:
    masked, data = conversation
    whole = decode(FrameDecoder(masked=masked), [data] if data else [])
    assert decode(FrameDecoder(masked=masked), cut(data, sizes)) == whole


@given(st.booleans(), st.lists(st.binary(min_size=1, max_size=400), max_size=20))
def test_garbage_ends_in_a_frame_error_or_in_nothing(masked: bool, pieces: list[bytes]) -> None:
    decoder = FrameDecoder(masked=masked)
    numbers_bytes = 64  # a key of its own, and a length above the numbers that Python shares
    room_bytes = reachable_bytes(decoder) + MAX_WAITING_BYTES + numbers_bytes
    for item in decode(decoder, pieces):
        assert isinstance(item, (bytes, Ping, Pong, CloseReceived, int))
    assert reachable_bytes(decoder) <= room_bytes


@given(st.lists(PAYLOADS, min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_wsproto_understands_our_frames(pieces: list[Piece], start: int) -> None:
    size = sum(map(len, pieces))
    for kind, keys in ((ConnectionType.SERVER, Keys(start)), (ConnectionType.CLIENT, None)):
        other = Connection(kind)
        other.receive_data(flat(encode_frame(pieces, size, keys)))
        events = list(other.events())
        assert all(isinstance(event, BytesMessage) for event in events)
        assert b"".join(bytes(event.data) for event in events if isinstance(event, BytesMessage)) == b"".join(pieces)


@given(st.lists(st.tuples(PAYLOADS, st.booleans()), max_size=6), st.booleans(), CUTS)
def test_we_understand_the_frames_of_wsproto(
    messages: list[tuple[bytes, bool]], masked: bool, sizes: list[int]
) -> None:
    other = Connection(ConnectionType.CLIENT if masked else ConnectionType.SERVER)
    data = b"".join(other.send(BytesMessage(data=payload, message_finished=last)) for payload, last in messages)
    expected = b"".join(payload for payload, _ in messages)
    assert decode(FrameDecoder(masked=masked), cut(data, sizes)) == ([expected] if expected else [])


@given(st.binary(min_size=4, max_size=4), st.integers(0, 2**20))
def test_a_rotated_key_is_the_key_from_there_on(key: bytes, offset: int) -> None:
    assert rotated(key, offset) == bytes(key[(offset + i) % 4] for i in range(4))


@given(st.binary(max_size=400))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
def test_no_request_head_breaks_the_server_handshake(head: bytes) -> None:
    try:
        outcome = accept_handshake(head)
    except HandshakeError as error:
        outcome = b"HTTP/1.1 %d" % error.status
    assert outcome[:12] in (b"HTTP/1.1 101", b"HTTP/1.1 400", b"HTTP/1.1 405", b"HTTP/1.1 426")


@given(
    st.sampled_from((b"", b"HTTP/1.1 101 X\r\n", b"HTTP/1.1 401 X\r\nContent-Length: 30\r\n\r\n{")), st.binary(), CUTS
)
def test_no_answer_breaks_the_client_handshake(start: bytes, rest: bytes, sizes: list[int]) -> None:
    client = ClientHandshake("host", "/", [], random.Random(1))
    with contextlib.suppress(HandshakeError):
        for piece in cut(start + rest, sizes):
            assert client.receive(piece) is None
    with pytest.raises(HandshakeError):
        client.receive_eof()


@given(
    st.sampled_from((b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 407 X\r\n", b"HTTP/1.1 100 X\r\n\r\n")), st.binary(), CUTS
)
def test_no_answer_breaks_the_request_to_a_proxy(start: bytes, rest: bytes, sizes: list[int]) -> None:
    connect = ProxyConnect("host:1", "")
    outcome = "the connection is open"
    try:
        if not any(connect.receive(piece) is not None for piece in cut(start + rest, sizes)):
            connect.receive_eof()
    except ProxyError as error:
        outcome = str(error)
    assert outcome
    assert outcome.isprintable()


@given(st.integers(100, 999), st.binary(), st.binary())
@example(401, b"final", b"[" * 100_000)
@example(401, b"", b'{"error":"invalid token"}')
def test_every_refusal_is_read(status: int, mark: bytes, body: bytes) -> None:
    refusal, _ = read_refusal(status, [(FIELD, mark)], body)
    assert (refusal is Refusal.FINAL) is (mark.strip() == b"final" or (status == 401 and b"invalid token" in body))
