"""Both opening handshakes of WebSocket, against literal bytes (RFC 6455 section 4, and a capture of a Go agent)."""

import base64

import pytest

from pico_core.errors import LocalProtocolError, RemoteProtocolError
from pico_core.websocket.handshake import ClientHandshake, HandshakeError, accept_handshake
from tests.core.websocket.keys import Bits

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


def test_a_higher_minor_version_is_accepted_as_1_1() -> None:
    """RFC 9110 section 2.5, on both sides."""
    assert accept_handshake(GO_REQUEST.replace(b"HTTP/1.1", b"HTTP/1.2", 1)) == accept_handshake(GO_REQUEST)
    assert new_handshake().receive(ACCEPTED.replace(b"HTTP/1.1", b"HTTP/1.2", 1)) == b""


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
        (b"GET ", b"POST ", 405),
        (b"HTTP/1.1", b"HTTP/1.0", 400),
        (b"HTTP/1.1", b"HTTP/2.0", 400),
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
        (b"HTTP/1.1 500 X\r\nContent-Length: 16384\r\n\r\n" + b'{"error": "a"}'.ljust(16_384), 500, "a"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 20000\r\n\r\n" + b'{"error": "a"}'.ljust(16_384), None, ""),
        (b"HTTP/1.1 500 X\r\nContent-Length: 20000\r\n\r\n" + b'{"error": "a"}'.ljust(16_385), 500, "a"),
        (b'HTTP/1.1 400 X\r\nContent-Length: 213\r\n\r\n{"error": "' + b"a" * 200 + b'"}', 400, "a" * 200),
        (b'HTTP/1.1 400 X\r\nContent-Length: 214\r\n\r\n{"error": "' + b"a" * 201 + b'"}', 400, "a" * 200),
        (b"HTTP/1.1 500 X\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20_000, 500, "X"),
        (b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 502, "Bad"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 100 C\r\nx: " + b"y" * 17_000, 0, "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 4_000, 0, "the answer is too large"),
    ],
)
def test_says_why_it_was_refused(answer: bytes, status: int | None, reason: str) -> None:
    if status is None:
        assert new_handshake().receive(answer) is None, "it is waited for the rest"
        return
    with pytest.raises(HandshakeError) as caught:
        new_handshake().receive(answer)
    assert (caught.value.status, caught.value.reason) == (status, reason)


def test_a_refusal_may_end_with_the_connection() -> None:
    client = new_handshake()
    assert client.receive(b'HTTP/1.1 403 Forbidden\r\n\r\n{"error": "no"}') is None
    with pytest.raises(HandshakeError) as caught:
        client.receive_eof()
    assert (caught.value.status, caught.value.reason) == (403, "no")


def test_a_connection_that_ends_early_is_not_an_answer() -> None:
    client = new_handshake()
    assert client.receive(b"HTTP/1.1 101 Swi") is None
    with pytest.raises(HandshakeError) as caught:
        client.receive_eof()
    assert (caught.value.status, caught.value.reason) == (0, "connection closed during the handshake")
