"""The way to the endpoints is looked at when their ports open, without a connection to a service."""

import random

import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Listen,
    Listening,
    PauseReading,
    Received,
    Send,
    Tick,
)
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from pico_core.forward.checking import CHECK_TIMEOUT_S, LAST_PAUSE_S
from pico_core.forward.machine import ForwardMachine
from pico_core.proxy.way_check import REACHABLE
from pico_core.websocket.handshake import accept_handshake
from tests.core.forward.scene import LOCAL, SERVER_URL, next_connect
from tests.play import Play, joined

QUESTION = b"GET /_piko/v1/tcp/db?check HTTP/1.1\r\n"


def answer(status: str, error: str, *fields: str) -> bytes:
    body = f'{{"error":"{error}"}}' if error else "<html>"
    head = "\r\n".join((f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"))
    return f"{head}\r\n\r\n{body}".encode()


NO_TUNNEL = answer("502 Bad Gateway", "No agent serves it", "X-Pico-Error: no-tunnel; by=server")
GOOD = answer("200 OK", REACHABLE)


def opened(*endpoints: str) -> Play:
    """Return a forwarder whose ports are open."""
    ports = [PortConfig(addr=Address("127.0.0.1", 7000 + n), endpoint_id=each) for n, each in enumerate(endpoints)]
    config = ForwardConfig(ports=tuple(ports), connect=SERVER_URL)
    play = Play(ForwardMachine(config, random.Random(1), checks_way=True)) >> Tick()
    for number, port in enumerate(ports):
        play << Listen(str(number), "127.0.0.1", port.addr.port)
    for number, port in enumerate(ports):
        play >> Listening(str(number), "127.0.0.1", port.addr.port)
    return play


def asks(play: Play, question: bytes = QUESTION) -> int:
    """Let time pass until the server is asked; return the connection."""
    connect = next_connect(play)
    assert connect.timeout_s <= CHECK_TIMEOUT_S
    play >> Connected(connect.connection, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(question)
    assert b"Sec-WebSocket-Key" not in joined(request.data), "a server that does not know the question has to refuse"
    return connect.connection


def is_answered(play: Play, data: bytes) -> None:
    connection = asks(play)
    play >> Received(connection, data)
    closed, *behind = play.take()
    assert closed == Close(connection)
    play >> ConnectionLost(connection, "")
    play.put_back(behind)


def is_not_asked_again(play: Play) -> None:
    play >> play.now + 3 * LAST_PAUSE_S
    assert play.idle


def told(play: Play) -> list[tuple[str, str]]:
    return [
        (log.level, f"{log.message}: {log.fields['reason']}" if "reason" in log.fields else log.message)
        for log in play.logs
        if log.message != "listening"
    ]


REACHED = ("info", "the endpoint can be reached")
WITHOUT_TUNNEL = (
    "warning",
    "the endpoint cannot be reached now: the server refused: 502 No agent serves it (no-tunnel)",
)


def test_an_endpoint_that_can_be_reached_is_told_once() -> None:
    play = opened("db")
    is_answered(play, GOOD)
    assert told(play) == [REACHED]
    is_not_asked_again(play)


def test_what_is_wrong_is_told_once_and_when_it_is_well_again() -> None:
    play = opened("db")
    for _ in range(10):
        is_answered(play, NO_TUNNEL)
    assert told(play) == [WITHOUT_TUNNEL]
    before = play.now
    is_answered(play, GOOD)
    assert LAST_PAUSE_S / 2 <= play.now - before <= LAST_PAUSE_S
    assert told(play) == [WITHOUT_TUNNEL, REACHED]
    is_not_asked_again(play)


def test_another_reason_is_told_too() -> None:
    play = opened("db")
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    play >> ConnectFailed(connect.connection, "connection refused")
    is_answered(play, NO_TUNNEL)
    reason = "the endpoint cannot be reached now: cannot reach the server: connection refused"
    assert told(play) == [("warning", reason), WITHOUT_TUNNEL]


NOW = "the endpoint cannot be reached now: "
WRONG_PORT = "the server refused: 404 not found: agents; forwarders connect to the proxy port, 8000 by default"
FOREIGN = "not the answer of a Pico server: 200 OK; check connect.url and what stands before it"
UNTOLD = "the server does not tell whether the endpoint can be reached"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (answer("400 Bad Request", "invalid Sec-WebSocket-Key"), REACHED),
        (answer("400 Bad Request", ""), ("info", UNTOLD)),
        (answer("404 Not Found", "not found: agents"), ("warning", NOW + WRONG_PORT)),
        (answer("200 OK", ""), ("warning", NOW + FOREIGN)),
    ],
)
def test_answers_of_others(data: bytes, line: tuple[str, str]) -> None:
    play = opened("db")
    is_answered(play, data)
    assert told(play) == [line]


def test_one_endpoint_is_asked_for_after_the_other() -> None:
    play = opened("db", "cache", "db")
    is_answered(play, GOOD)
    connection = asks(play, b"GET /_piko/v1/tcp/cache?check ")
    play >> Received(connection, GOOD) << Close(connection)
    assert [log.fields["endpoint"] for log in play.logs if log.message == REACHED[1]] == ["db", "cache"]


def test_a_connection_that_works_says_the_same() -> None:
    play = opened("db")
    is_answered(play, NO_TUNNEL)
    play >> Accepted(LOCAL, "0", "127.0.0.1", 40000) << PauseReading(LOCAL)
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    play >> Connected(connect.connection, "127.0.0.1", 8000)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> Received(connect.connection, accept_handshake(joined(request.data)))
    play.take()
    assert told(play) == [WITHOUT_TUNNEL, REACHED]
    play >> ConnectionLost(LOCAL, "") >> ConnectionLost(connect.connection, "")
    play.take()
    is_not_asked_again(play)
