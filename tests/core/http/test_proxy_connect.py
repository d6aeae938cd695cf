"""CONNECT: what is asked of a proxy, and what each of its answers means."""

import pytest

from pico_core.http.proxy_connect import ProxyConnect, ProxyError

SERVER = "pico.example.com:8001"


def asked(authorization: str = "") -> ProxyConnect:
    """Return a request that was sent."""
    connect = ProxyConnect(SERVER, authorization)
    assert connect.request_bytes().startswith(
        b"CONNECT pico.example.com:8001 HTTP/1.1\r\nHost: pico.example.com:8001\r\n"
    )
    return connect


def test_the_request() -> None:
    assert asked().request_bytes().endswith(b"Host: pico.example.com:8001\r\n\r\n")
    assert asked("Basic eDp5").request_bytes().endswith(b"\r\nProxy-Authorization: Basic eDp5\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\nmore", b"more"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nmore", b"more"),  # both ignored
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b""),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_connection_that_is_open(answer: bytes, rest: bytes, cut: bool) -> None:
    connect = asked()
    if cut:
        head = answer.removesuffix(rest)
        assert all(connect.receive(head[at : at + 1]) is None for at in range(len(head) - 1))
        assert connect.receive(head[-1:]) == b""
    else:
        assert connect.receive(answer) == rest


@pytest.mark.parametrize(
    ("answer", "authorization", "reason"),
    [
        (b"HTTP/1.1 407 Auth\r\n\r\n", "", "it wants credentials, give them in its URL: 407 Auth"),
        (b"HTTP/1.1 407 Auth\r\n\r\n", "Basic eDp5", "it refused the credentials: 407 Auth"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "", "it cannot reach pico.example.com:8001: 502 Bad Gateway"),
        (b"HTTP/1.0 504 \r\n\r\n", "", "it cannot reach pico.example.com:8001: 504"),
        (
            b"HTTP/1.1 405 No\x1b[0m\r\nContent-Length: 9\r\n\r\n",
            "",
            (
                "it refused to connect to pico.example.com:8001: 405 No[0m; "
                "is it a proxy that allows CONNECT to this port?"
            ),
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "", "the answer is not HTTP/1.1: is it an HTTP proxy?"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5_000, "", "the answer is not HTTP/1.1: is it an HTTP proxy?"),
    ],
)
def test_a_refusal(answer: bytes, authorization: str, reason: str) -> None:
    with pytest.raises(ProxyError) as caught:
        asked(authorization).receive(answer)
    assert str(caught.value) == reason


def test_an_end_without_an_answer() -> None:
    connect = asked()
    assert connect.receive(b"HTTP/1.1 20") is None
    with pytest.raises(ProxyError, match="connection closed without an answer to CONNECT: is it an HTTP proxy"):
        connect.receive_eof()
