"""Frames of WebSocket as they are written, against literal bytes (RFC 6455 section 5)."""

import pytest

from pico_core.errors import LocalProtocolError
from pico_core.pieces import Piece
from pico_core.websocket.decoding import FrameDecoder
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame, encode_pong
from pico_core.websocket.frame import PING
from tests.core.websocket.keys import Bits, flat
from tests.masks import ZeroMask


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (1, "8201"),
        (125, "827d"),
        (126, "827e007e"),
        (4_096, "827e1000"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_encodes_each_length(size: int, head: str) -> None:
    payload = bytes(size)
    assert flat(encode_frame([payload], size, None)) == bytes.fromhex(head) + payload
    masked = bytes.fromhex(head[:2]) + bytes([0x80 | bytes.fromhex(head)[1]]) + bytes.fromhex(head[4:])
    assert flat(encode_frame([payload], size, ZeroMask())) == masked + bytes(4) + payload
    ones = masked + b"\x01\x01\x01\x01" + b"\x01" * size
    assert flat(encode_frame([payload], size, Bits(0x01010101))) == ones


def test_small_pieces_leave_as_one() -> None:
    assert encode_frame([b"head", b"body"], 8, None) == b"\x82\x08headbody"
    assert encode_frame([b"head", b"body"], 8, ZeroMask()) == b"\x82\x88\x00\x00\x00\x00headbody"


def test_messages_below_16_kib_leave_as_one_even_with_a_large_piece() -> None:
    assert encode_frame([b"head", bytes(16_379)], 16_383, None) == b"\x82\x7e\x3f\xffhead" + bytes(16_379)


def test_large_pieces_stay_as_they_are() -> None:
    large = bytes(16_384)
    for entropy, head in ((None, b"\x82\x7e\x40\x08"), (ZeroMask(), b"\x82\xfe\x40\x08\x00\x00\x00\x00")):
        message = encode_frame([b"h", b"ead", large, b"ta", b"il"], 16_392, entropy)
        assert message == (head + b"head", large, b"tail")
        assert message[1] is large


def test_the_key_goes_on_over_all_pieces() -> None:
    pieces: list[Piece] = [b"abc", memoryview(bytes(range(256)) * 17), b"x" * 4_097, b"yz"]
    message = flat(encode_frame(pieces, sum(map(len, pieces)), Bits(0x11223344)))
    items = FrameDecoder(masked=True).receive(message)
    assert items == [b"".join(pieces)]


def test_encodes_control_frames() -> None:
    assert encode_control(PING, b"", None) == b"\x89\x00"
    assert encode_pong(b"Hello", Bits(0x37FA213D)) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert encode_close(1000, "bye", None) == b"\x88\x05\x03\xe8bye"
    assert encode_close(1005, "never sent", None) == b"\x88\x00"
    assert encode_close(1002, "ä" * 80, None) == b"\x88\x7c\x03\xea" + "ä".encode() * 61
    with pytest.raises(LocalProtocolError):
        encode_control(PING, bytes(126), None)
