"""After its last answer a connection sends its end and reads on for a moment, so that no reset destroys the answer."""

import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    Received,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, GET_SENT, OK, proxy_play
from tests.play import Data, Nothing, Open, Play, joined, server_play

CLOSING_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
PEER = 31

REFUSED = [
    pytest.param("proxy", b"\x16\x03\x01", 400, id="proxy: not HTTP"),
    pytest.param("proxy", b"GET / HTTP/1.1\r\n\r\n", 400, id="proxy: no Host"),
    pytest.param("proxy", b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431, id="proxy: long field"),
    pytest.param("proxy", b"TRACE / HTTP/1.1\r\nHost: a.b\r\n\r\n", 501, id="proxy: TRACE"),
    pytest.param("proxy", b"POST / HTTP/1.1\r\nHost: a.b\r\nContent-Length: 9\r\n\r\n", 502, id="proxy: half a body"),
    pytest.param("upstream", b"\x16\x03\x01\r\n", 400, id="upstream: not HTTP"),
    pytest.param("upstream", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 404, id="upstream: not found"),
    pytest.param("upstream", b"GET /pico/v1/upstream/e HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="upstream: no WebSocket"),
    pytest.param("upstream", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4_000, 431, id="upstream: long head"),
    pytest.param("admin", b"\x16\x03\x01\r\n\r\n", 400, id="admin: not HTTP"),
    pytest.param("admin", b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 405, id="admin: method"),
    pytest.param("admin", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4_000, 431, id="admin: long head"),
    pytest.param(
        "admin", b"GET /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 404, id="admin: half a body"
    ),
    pytest.param("admin", b"GET /health HTTP/1.0\r\n\r\n", 200, id="admin: HTTP/1.0"),
]


def answered(listener: str, request: bytes, status: int) -> Play:
    """Return a play in which the request was answered, and the end of the stream was sent behind the answer."""
    play = server_play() >> Accepted(PEER, listener, "192.0.2.66", 6000) >> Received(PEER, request)
    done = play.take() or (play >> 3.5).take()  # requests without a route may wait for one
    assert isinstance(done[0], Send)
    assert joined(done[0].data).startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close\r\n" in joined(done[0].data).lower()
    assert done[-1] == SendEof(PEER)
    return play


@pytest.mark.parametrize(("listener", "request_bytes", "status"), REFUSED)
def test_every_port_reads_on_for_a_moment(listener: str, request_bytes: bytes, status: int) -> None:
    play = answered(listener, request_bytes, status)
    start = play.now
    for _ in range(16):
        assert play >> Received(PEER, bytes(65_536)) << Nothing()
    assert play >> start + 1.5 << Nothing() >> start + 2.5 << Close(PEER)


@pytest.mark.parametrize(("listener", "request_bytes", "status"), REFUSED)
def test_a_peer_that_ends_its_side_is_let_go_at_once(listener: str, request_bytes: bytes, status: int) -> None:
    play = answered(listener, request_bytes, status)
    assert play >> EofReceived(PEER) << Close(PEER) >> ConnectionLost(PEER, "") >> play.now + 60.0


@pytest.mark.parametrize(("listener", "request_bytes", "status"), REFUSED)
def test_a_peer_that_is_gone_is_forgotten(listener: str, request_bytes: bytes, status: int) -> None:
    play = answered(listener, request_bytes, status)
    assert play >> ConnectionLost(PEER, "reset") >> play.now + 60.0


# --- the proxy port, after a response ---


def test_a_request_behind_one_that_closes_does_not_destroy_the_response() -> None:
    request = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nConnection: close\r\n\r\n"
    assert (
        proxy_play()
        >> Received(CLIENT, request + GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, CLOSING_OK)
        << SendEof(CLIENT)
        >> Received(CLIENT, GET)
        >> 1.0
        << Nothing()
        >> EofReceived(CLIENT)
        << Close(CLIENT)
    )


def test_bytes_that_come_after_the_response_do_not_destroy_it_either() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, b"GET / HTTP/1.0\r\nHost: e1.example.com\r\n\r\n")
        << Open(AGENT, 2)
        << Data(AGENT, 2, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n" + FORWARDED + b"\r\n")
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, CLOSING_OK)
        << SendEof(CLIENT)
        >> Received(CLIENT, b"\r\n")
        << Nothing()
        >> 2.5
        << Close(CLIENT)
    )


# --- bounds ---


def test_a_peer_that_sends_on_has_its_time() -> None:
    play = answered("upstream", b"\x16\x03\x01\r\n", 400)
    for second in range(1, 31):
        play >> second - 0.1 >> Received(PEER, bytes(100_000)) << Nothing()
    assert play >> 30.1 << Close(PEER)


def test_a_peer_that_sends_fast_has_its_number_of_bytes() -> None:
    play = answered("admin", b"\x16\x03\x01\r\n\r\n", 400)
    mebibyte = bytes(1 << 20)
    for _ in range(64):
        play >> Received(PEER, mebibyte)
    assert play << Nothing() >> Received(PEER, b"x") << Close(PEER) >> Received(PEER, b"x")


def test_a_peer_that_takes_a_long_answer_slowly_is_waited_for() -> None:
    play = answered("upstream", b"\x16\x03\x01\r\n", 400)
    assert (
        play
        >> WritingPaused(PEER)
        >> 1.5
        >> WritingResumed(PEER)
        << Nothing()
        >> 3.0
        << Nothing()
        >> 4.0
        << Close(PEER)
        >> 5.0
    )


def test_the_oldest_makes_room() -> None:
    play = server_play()
    ports = ("proxy", "upstream")
    for number in range(1_025):
        connection = 2 * number + 31
        play >> Accepted(connection, ports[number % 2], "192.0.2.66", 6000)
        play >> Received(connection, b"\x16\x03\x01\r\n\r\n")
    done = play.take()
    assert done.count(Close(31)) == 1
    assert len([each for each in done if isinstance(each, Close)]) == 1
    assert len([each for each in done if isinstance(each, SendEof)]) == 1_025
    play >> ConnectionLost(31, "") >> EofReceived(33) << Close(33)
    assert play
    play >> Accepted(9_001, "proxy", "192.0.2.66", 6000) >> Received(9_001, b"\x16")
    assert [each for each in play.take() if not isinstance(each, Send)] == [SendEof(9_001)]
