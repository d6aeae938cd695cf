"""Handshakes and frames of WebSocket, against literal bytes (RFC 6455 and a capture of a Go peer)."""

import base64

import pytest
from websockets.utils import apply_mask as slow_apply_mask

from pico_core.errors import LocalProtocolError, RemoteProtocolError
from pico_core.websocket import masking
from pico_core.websocket.decoding import CloseReceived, FrameDecoder, FrameError, Item, Ping, Pong
from pico_core.websocket.encoding import encode_close, encode_frame, encode_ping, encode_pong
from pico_core.websocket.handshake import ClientHandshake, HandshakeError, accept_handshake
from pico_core.websocket.masking import ZeroMask


class Bits:
    """Entropy that gives the numbers it was made with, one after the other."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def getrandbits(self, k: int, /) -> int:
        number = self.numbers.pop(0)
        assert number < 2**k
        return number


# --- server handshake ---

GO_REQUEST = (
    b"GET /piko/v1/upstream/my-endpoint HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8001\r\n"
    b"User-Agent: Go-http-client/1.1\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Upgrade: websocket\r\n"
    b"\r\n"
)


def test_accepts_the_handshake_of_a_go_agent() -> None:
    answer = accept_handshake(GO_REQUEST)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: eH9tvi9/SXjIsi7bZTj5zLSjk/I=\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_agrees_to_no_extension_and_no_subprotocol() -> None:
    offers = b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    answer = accept_handshake(GO_REQUEST[:-2] + offers).lower()
    assert b"extensions" not in answer
    assert b"sec-websocket-protocol" not in answer


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Version: 13", b"Version: 8", 426),
        (b"Sec-WebSocket-Version: 13\r\n", b"", 400),
        (b"GET ", b"POST ", 400),
        (b"HTTP/1.1", b"HTTP/1.0", 400),
        (b"Connection: Upgrade\r\n", b"", 400),
        (b"Connection: Upgrade\r\n", b"Connection: \xff\r\n", 400),
        (b"Upgrade: websocket", b"Upgrade: h2c", 400),
        (b"Host: 127.0.0.1:8001\r\n", b"", 400),
        (b"Host: 127.0.0.1:8001", b"Host: xn--0", 400),
        (b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n", b"", 400),
        (b"XfZxmHWucX6g6LU4W/v5bg==", b"short==", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nSec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nContent-Length: 5\r\n", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nbad header\r\n", 400),
        (b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nx: " + b"y" * 16_384 + b"\r\n", 400),
        (b"Upgrade: websocket\r\n\r\n", b"Upgrade: websocket\r\n", 400),
    ],
)
def test_refuses_other_requests(old: bytes, new: bytes, status: int) -> None:
    assert old in GO_REQUEST
    with pytest.raises(HandshakeError) as caught:
        accept_handshake(GO_REQUEST.replace(old, new, 1))
    assert caught.value.status == status
    assert caught.value.reason
    assert isinstance(caught.value, RemoteProtocolError)


# --- client handshake ---

KEY = b"XfZxmHWucX6g6LU4W/v5bg=="
KEY_BITS = int.from_bytes(base64.b64decode(KEY), "big")
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Accept: eH9tvi9/SXjIsi7bZTj5zLSjk/I=\r\n"
    b"\r\n"
)


def new_handshake() -> ClientHandshake:
    headers = [(b"Authorization", b"Bearer t")]
    return ClientHandshake("127.0.0.1:8001", "/piko/v1/upstream/my-endpoint", headers, Bits(KEY_BITS))


def test_asks_with_the_key_from_entropy() -> None:
    assert new_handshake().request_bytes() == (
        b"GET /piko/v1/upstream/my-endpoint HTTP/1.1\r\n"
        b"Host: 127.0.0.1:8001\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: XfZxmHWucX6g6LU4W/v5bg==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Authorization: Bearer t\r\n"
        b"\r\n"
    )


def test_both_handshakes_fit_together() -> None:
    client = new_handshake()
    assert client.receive(accept_handshake(client.request_bytes())) == b""


def test_returns_what_follows_the_accepted_handshake() -> None:
    assert new_handshake().receive(ACCEPTED + b"\x82\x01x") == b"\x82\x01x"
    long = bytes(100_000)
    assert new_handshake().receive(ACCEPTED + long) == long


def test_waits_for_the_whole_answer_and_skips_interim_ones() -> None:
    client = new_handshake()
    answer = b"HTTP/1.1 103 Early Hints\r\n\r\n" + ACCEPTED
    for at in range(len(answer) - 1):
        assert client.receive(answer[at : at + 1]) is None
    assert client.receive(answer[-1:] + b"rest") == b"rest"


@pytest.mark.parametrize("name", ["127.0.0.1\r\nx: y", "127.0.0.1\n"])
def test_puts_nothing_into_a_request_that_breaks_it(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        ClientHandshake(name, "/", [], Bits(0))
    with pytest.raises(LocalProtocolError):
        ClientHandshake("host", "/" + name, [], Bits(0))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"eH9tvi9/SXjIsi7bZTj5zLSjk/I=", b"AAAAvi9/SXjIsi7bZTj5zLSjk/I="),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
    ],
)
def test_takes_no_answer_that_it_did_not_ask_for(old: bytes, new: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        new_handshake().receive(ACCEPTED.replace(old, new))
    assert caught.value.status == 101


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b'HTTP/1.1 401 X\r\nContent-Length: 25\r\n\r\n{"error": "invalid token"}', 401, "X"),
        (b'HTTP/1.1 401 X\r\nContent-Length: 26\r\n\r\n{"error": "invalid token"}', 401, "invalid token"),
        (b'HTTP/1.1 503 Busy\r\nContent-Length: 14\r\n\r\n{"error": "a"}', 503, "a"),
        (b'HTTP/1.1 503 Busy\r\nContent-Length: 12\r\n\r\n{"error": 1}', 503, "Busy"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]", 404, "Not Found"),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "refused"),
        (b'HTTP/1.1 400 X\r\nContent-Length: 17\r\n\r\n{"error": "a\\nb"}', 400, "ab"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20_000, 500, "X"),
        (b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 502, "Bad"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 100 C\r\nx: " + b"y" * 17_000, 0, "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 4_000, 0, "the answer is too large"),
    ],
)
def test_says_why_it_was_refused(answer: bytes, status: int, reason: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        new_handshake().receive(answer)
    assert (caught.value.status, caught.value.reason) == (status, reason)


def test_a_refusal_may_end_with_the_connection() -> None:
    client = new_handshake()
    assert client.receive(b'HTTP/1.1 403 Forbidden\r\n\r\n{"error": "no"}') is None
    with pytest.raises(HandshakeError) as caught:
        client.receive_eof()
    assert (caught.value.status, caught.value.reason) == (403, "no")


def test_a_connection_that_ends_early_is_no_answer() -> None:
    client = new_handshake()
    assert client.receive(b"HTTP/1.1 101 Swi") is None
    with pytest.raises(HandshakeError) as caught:
        client.receive_eof()
    assert (caught.value.status, caught.value.reason) == (0, "connection closed during the handshake")


# --- frames, receiving ---


def test_decodes_the_masked_frame_of_a_go_agent() -> None:
    frame = bytes.fromhex("828cbec38248bec2824abec3824abec38248")
    assert FrameDecoder(masked=True).receive(frame) == [bytes.fromhex("000100020000000200000000")]


def test_decodes_the_unmasked_frame_of_a_go_server() -> None:
    frame = bytes.fromhex("820c000100010000000200000000")
    assert FrameDecoder(masked=False).receive(frame) == [bytes.fromhex("000100010000000200000000")]


def test_decodes_rfc_6455_section_5_7() -> None:
    assert FrameDecoder(masked=False).receive(b"\x02\x03Hel\x80\x02lo") == [b"Hel", b"lo"]
    assert FrameDecoder(masked=False).receive(b"\x89\x05Hello") == [Ping(b"Hello")]
    assert FrameDecoder(masked=True).receive(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [Pong(b"Hello")]
    assert FrameDecoder(masked=False).receive(b"\x82\x7e\x01\x00" + bytes(256)) == [bytes(256)]
    assert FrameDecoder(masked=False).receive(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536)) == [
        bytes(65536)
    ]


def test_forwards_the_part_of_a_frame_that_has_come() -> None:
    decoder = FrameDecoder(masked=True)
    key = b"\x01\x02\x03\x04"
    plain = b"abcdefghij"
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(plain))
    assert decoder.receive(b"\x82\x8a" + key + masked[:3]) == [b"abc"]
    assert decoder.receive(masked[3:5]) == [b"de"]
    assert decoder.receive(masked[5:] + b"\x82\x81\x00\x00\x00\x00x") == [b"fghij", b"x"]


def test_control_frames_come_between_fragments() -> None:
    data = b"\x02\x01a\x89\x00\x00\x00\x80\x01b\x82\x01c"
    assert FrameDecoder(masked=False).receive(data) == [b"a", Ping(b""), b"b", b"c"]


def test_any_cut_gives_the_same() -> None:
    data = b"\x02\x01a\x89\x02pi\x80\x7e\x00\x80" + b"b" * 128 + b"\x88\x04\x03\xe8ok\x82\x01c"
    for at in range(len(data)):
        decoder = FrameDecoder(masked=False)
        items = decoder.receive(data[:at]) + decoder.receive(data[at:])
        payload = b"".join(item for item in items if isinstance(item, bytes))
        assert payload == b"a" + b"b" * 128
        assert [item for item in items if not isinstance(item, bytes)] == [Ping(b"pi"), CloseReceived(1000, "ok")]


def test_frames_without_payload_give_nothing() -> None:
    assert FrameDecoder(masked=False).receive(b"\x82\x00" * 1_000) == []
    assert FrameDecoder(masked=True).receive(b"\x82\x80\x01\x02\x03\x04" * 1_000) == []


def test_large_payload_is_a_view_unless_unmasking_copies_it() -> None:
    def single(items: list[Item]) -> Item:
        assert len(items) == 1
        return items[0]

    payload = bytes(range(256)) * 16
    unmasked = b"\x82\x7e\x10\x00" + payload
    piece = single(FrameDecoder(masked=False).receive(unmasked))
    assert isinstance(piece, memoryview)
    assert piece.obj is unmasked
    assert piece == payload
    zero_key = b"\x82\xfe\x10\x00\x00\x00\x00\x00" + payload
    piece = single(FrameDecoder(masked=True).receive(zero_key))
    assert isinstance(piece, memoryview)
    assert piece == payload
    some_key = b"\x82\xfe\x10\x00\xff\xff\xff\xff" + bytes(byte ^ 255 for byte in payload)
    assert single(FrameDecoder(masked=True).receive(some_key)) == payload
    assert isinstance(single(FrameDecoder(masked=False).receive(b"\x82\x7e\x0f\xff" + payload[1:])), bytes)


@pytest.mark.parametrize(
    ("frame", "item"),
    [
        (b"\x88\x00", CloseReceived(1005, "")),
        (b"\x88\x02\x03\xe8", CloseReceived(1000, "")),
        (b"\x88\x05\x0f\xa1bye", CloseReceived(4001, "bye")),
    ],
)
def test_close_ends_what_the_peer_sends(frame: bytes, item: CloseReceived) -> None:
    decoder = FrameDecoder(masked=False)
    assert decoder.receive(frame + b"\x82\x01x") == [item]
    assert decoder.receive(b"\x82\x01x") == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01x", 1003),
        (b"\x01\x01x", 1003),
        (b"\xc2\x01x", 1002),
        (b"\xa2\x01x", 1002),
        (b"\x92\x01x", 1002),
        (b"\x83\x01x", 1002),
        (b"\x8b\x01x", 1002),
        (b"\x80\x01x", 1002),
        (b"\x02\x01x\x82\x01x", 1002),
        (b"\x02\x01x\x02\x01x", 1002),
        (b"\x82\x81\x00\x00\x00\x00x", 1002),
        (b"\x82\x7e\x00\x7d", 1002),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 1002),
        (b"\x82\x7f\x80\x00\x00\x00\x00\x01\x00\x00", 1002),
        (b"\x89\x7e\x00\x7e", 1002),
        (b"\x09\x00", 1002),
        (b"\x88\x01\x03", 1002),
        (b"\x88\x02\x03\xec", 1002),
        (b"\x88\x02\x03\xed", 1002),
        (b"\x88\x02\x03\xf7", 1002),
        (b"\x88\x02\x13\x88", 1002),
        (b"\x88\x03\x03\xe8\xff", 1007),
    ],
)
def test_refuses_broken_frames(frame: bytes, code: int) -> None:
    decoder = FrameDecoder(masked=False)
    with pytest.raises(FrameError) as caught:
        decoder.receive(b"\x82\x02ok" + frame)
    assert caught.value.code == code
    assert caught.value.items[0] == b"ok"
    assert decoder.receive(b"\x82\x01x") == []


def test_a_server_takes_no_unmasked_frame() -> None:
    with pytest.raises(FrameError) as caught:
        FrameDecoder(masked=True).receive(b"\x82\x01x")
    assert caught.value.code == 1002


# --- frames, sending ---

PATTERN = bytes(range(256)) * 17


def flat(data: bytes | tuple[bytes | memoryview, ...]) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


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
    pieces = [b"abc", memoryview(bytes(range(256)) * 17), b"x" * 4_097, b"yz"]
    message = flat(encode_frame(pieces, sum(map(len, pieces)), Bits(0x11223344)))
    items = FrameDecoder(masked=True).receive(message)
    assert items == [b"".join(pieces)]


def test_masks_alike_with_and_without_the_compiled_helper() -> None:
    for size in (0, 1, 5, 64, 4_099):
        payload = memoryview(PATTERN)[:size]
        assert masking.apply_mask(payload, b"\x01\x02\xf3\x04") == slow_apply_mask(payload, b"\x01\x02\xf3\x04")


def test_encodes_control_frames() -> None:
    assert encode_ping(b"", None) == b"\x89\x00"
    assert encode_pong(b"Hello", Bits(0x37FA213D)) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert encode_close(1000, "bye", None) == b"\x88\x05\x03\xe8bye"
    assert encode_close(1005, "never sent", None) == b"\x88\x00"
    assert encode_close(1002, "ä" * 80, None) == b"\x88\x7c\x03\xea" + "ä".encode() * 61
    with pytest.raises(LocalProtocolError):
        encode_ping(bytes(126), None)
