"""A dial through an HTTP proxy, with and without TLS behind it."""

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Received,
    Resolve,
    Resolved,
    Send,
    StartTls,
    TlsStarted,
)
from pico_core.config.proxy import Proxy
from pico_core.websocket.handshake import accept_handshake
from tests.core.dial_scene import A, B, Dialer, dialing, first_address
from tests.core.test_dial import OWN
from tests.play import Nothing, Play, joined

PROXY = Proxy("192.0.2.50", 3128, "Basic bWU6c2VjcmV0")
CONNECT_REQUEST = (
    b"CONNECT pico.example.com:8001 HTTP/1.1\r\n"
    b"Host: pico.example.com:8001\r\n"
    b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
)
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


def through_proxy() -> tuple[Play, Dialer]:
    """Return a play in which the proxy was asked for a connection; it looks the server's name up, we do not."""
    play, machine = dialing(proxy=PROXY)
    assert play << Connect(2, "192.0.2.50", 3128, 10.0) >> Connected(2, "192.0.2.50", 3128) << Send(2, CONNECT_REQUEST)
    return play, machine


def test_a_websocket_through_a_proxy() -> None:
    play, machine = through_proxy()
    play >> Received(2, OPEN[:20]) << Nothing() >> Received(2, OPEN[20:])
    (request,) = play.take()
    assert isinstance(request, Send)
    sent = joined(request.data)
    assert sent.startswith(b"GET /t HTTP/1.1\r\nHost: pico.example.com:8001\r\n")
    assert b"uthorization" not in sent
    assert play >> Received(2, accept_handshake(sent) + b"more")
    assert machine.outcomes == ["open more"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 407 Auth\r\n\r\n", "it refused the credentials: 407 Auth"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "it cannot reach pico.example.com:8001: 503 Busy"),
        (b"220 smtp\r\n\r\n", "the answer is not HTTP/1.1: is it an HTTP proxy?"),
    ],
)
def test_a_proxy_that_refuses(answer: bytes, outcome: str) -> None:
    play, machine = through_proxy()
    assert play >> Received(2, answer) << Close(2)
    assert machine.outcomes == [f"through the proxy http://192.0.2.50:3128: {outcome}"]


def behind_proxy() -> tuple[Play, Dialer]:
    """Return a play in which the proxy has opened the way, and the handshake of TLS begins."""
    play, machine = dialing(proxy=PROXY, tls="servers")
    play << Connect(2, "192.0.2.50", 3128, 10.0) >> Connected(2, "192.0.2.50", 3128)
    play.take()
    play >> Received(2, b"HTTP/1.1 200 OK\r\n\r\n") << StartTls(2, "servers", "pico.example.com")
    return play, machine


def test_tls_begins_behind_the_proxy() -> None:
    play, machine = behind_proxy()
    play >> TlsStarted(2)
    (sent,) = play.take()
    assert isinstance(sent, Send)
    assert isinstance(sent.data, bytes)
    assert sent.data.startswith(b"GET /t HTTP/1.1\r\nHost: pico.example.com:8001\r\n")
    assert machine.outcomes == []


def test_a_server_behind_the_proxy_that_is_not_trusted() -> None:
    play, machine = behind_proxy()
    play >> ConnectionLost(2, "the certificate has expired") << Abort(2)
    assert machine.outcomes == ["through the proxy http://192.0.2.50:3128: the certificate has expired"]


def test_a_proxy_that_sends_more_than_its_answer_before_tls() -> None:
    play, machine = dialing(proxy=PROXY, tls="servers")
    play << Connect(2, "192.0.2.50", 3128, 10.0) >> Connected(2, "192.0.2.50", 3128)
    play.take()
    play >> Received(2, b"HTTP/1.1 200 OK\r\n\r\nmore") << Close(2)
    assert machine.outcomes == ["through the proxy http://192.0.2.50:3128: the proxy sent more than its answer"]


def test_a_proxy_that_ends_the_connection_or_is_silent_or_away() -> None:
    told = "through the proxy http://192.0.2.50:3128: "
    play, machine = through_proxy()
    assert play >> EofReceived(2) << Close(2)
    assert machine.outcomes == [told + "connection closed without an answer to CONNECT: is it an HTTP proxy?"]
    play, machine = through_proxy()
    assert play >> 10.6 << Close(2)
    assert machine.outcomes == [told + "the server did not answer within 10 s"]
    play, machine = dialing(proxy=PROXY)
    assert play << Connect(2, "192.0.2.50", 3128, 10.0) >> ConnectFailed(2, "connection refused")
    assert machine.outcomes == [told + "connection refused"]


def test_what_the_server_answers_through_a_proxy_is_the_servers() -> None:
    play, machine = through_proxy()
    play >> Received(2, OPEN)
    play.take()
    assert play >> Received(2, OWN) << Close(2)
    assert machine.outcomes == ["passing 502 why"]


def test_the_addresses_of_a_proxys_name_have_their_turns() -> None:
    play, _ = dialing(proxy=Proxy("proxy.example.com", 3128))
    play << Resolve(1, "proxy.example.com", 10.0) >> Resolved(1, (A, B), "")
    first = first_address(play)
    play >> Connected(2, first, 3128)
    play.take()
    play >> Received(2, b"HTTP/1.1 503 Busy\r\n\r\n") << Close(2)
    assert {first, first_address(play)} == {A, B}
