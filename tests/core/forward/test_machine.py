"""The forwarder: local connections reach a ``tcp`` endpoint through the server's proxy port."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Listen,
    ListenFailed,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    ShutdownRequested,
    Tick,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.values import Address, Origin
from pico_core.forward.machine import ForwardMachine
from pico_core.websocket.decoding import FrameDecoder, Item
from pico_core.websocket.encoding import encode_close, encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.play import Nothing, Play, joined

LOCAL = 1
SERVER_URL = ForwardConnectConfig(url=Origin("127.0.0.1", 8000, "http"))
SERVER = 2
CONNECT = Connect(SERVER, "127.0.0.1", 8000, 30.0)
CONNECTED = Connected(SERVER, "127.0.0.1", 8000)


def forward_play() -> Play:
    """Return a forwarder with two open ports."""
    ports = (
        PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis"),
        PortConfig(addr=Address("127.0.0.1", 5432), endpoint_id="a:b"),
    )
    return (
        Play(ForwardMachine(ForwardConfig(ports=ports, connect=SERVER_URL), random.Random(1)))
        >> Tick()
        << Listen("0", "127.0.0.1", 6379)
        << Listen("1", "127.0.0.1", 5432)
        >> Listening("0", "127.0.0.1", 6379)
        >> Listening("1", "127.0.0.1", 5432)
    )


def accepted() -> Play:
    """Return a play in which somebody connected to the first port."""
    return forward_play() >> Accepted(LOCAL, "0", "127.0.0.1", 40000) << PauseReading(LOCAL) << CONNECT


def asked() -> tuple[Play, bytes]:
    """Return a play in which the server was asked for the endpoint, and its answer to come."""
    play = accepted() >> CONNECTED
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /_piko/v1/tcp/redis HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    return play, accept_handshake(joined(request.data))


def piped() -> Play:
    """Return a play in which the endpoint was reached."""
    play, answer = asked()
    assert play >> Received(SERVER, answer) << ResumeReading(LOCAL)
    return play


def heard(play: Play) -> list[Item]:
    """Return what the server reads in the messages sent to it."""
    decoder = FrameDecoder(masked=True)
    items: list[Item] = []
    for sent in play.take():
        assert isinstance(sent, Send)
        assert sent.connection == SERVER
        items += decoder.receive(joined(sent.data))
    return items


def told(data: bytes) -> Received:
    """Return a message of the server."""
    return Received(SERVER, joined(encode_frame((data,), len(data), None)))


def warning(play: Play) -> str:
    (log,) = [log for log in play.logs if log.level == "warning"]
    assert log.fields["endpoint"] == "redis"
    assert log.fields["server"] == "http://127.0.0.1:8000"
    return str(log.fields["reason"])


def test_says_where_it_listens() -> None:
    play = forward_play()
    assert play
    assert [log.fields for log in play.logs] == [
        {"addr": "127.0.0.1:6379", "endpoint": "redis"},
        {"addr": "127.0.0.1:5432", "endpoint": "a:b"},
    ]


def test_a_port_that_cannot_be_opened_ends_it() -> None:
    assert (
        forward_play()
        >> ListenFailed("1", "address already in use")
        << Exit(1, "cannot listen on '127.0.0.1:5432': address already in use; choose another address")
    )


def test_it_stops_at_once() -> None:
    play = accepted() >> ShutdownRequested() << Exit(0, "")
    assert play
    assert (play.logs[-1].message, play.logs[-1].fields) == ("stopped", {"connections": 1})


def test_bytes_pass_both_ways() -> None:
    play = piped() >> Received(LOCAL, b"PING\r\n")
    assert heard(play) == [b"PING\r\n"]
    assert play >> told(b"+PONG\r\n") << Send(LOCAL, b"+PONG\r\n") >> 1_000.0


def test_what_came_early_is_kept_and_what_follows_the_answer_too() -> None:
    play, answer = asked()
    play >> Received(LOCAL, b"early ") >> Received(LOCAL, b"bird") << Nothing()
    play >> Received(SERVER, answer[:20]) << Nothing() >> Received(SERVER, answer[20:] + told(b"hello").data)
    done = play.take()
    assert [type(each).__name__ for each in done] == ["Send", "Send", "ResumeReading", "Send"]
    assert done[-1] == Send(LOCAL, b"hello")


def test_half_close_is_a_close_frame_in_both_directions() -> None:
    play = piped() >> EofReceived(LOCAL)
    assert [type(each).__name__ for each in heard(play)] == ["CloseReceived"]
    assert play >> told(b"answer") << Send(LOCAL, b"answer")
    assert play >> Received(SERVER, encode_close(1000, "", None)) << SendEof(LOCAL) << Close(LOCAL) << Close(SERVER)


def test_an_early_half_close_is_kept() -> None:
    play, answer = asked()
    play >> Received(LOCAL, b"all") >> EofReceived(LOCAL) << Nothing() >> Received(SERVER, answer)
    done = play.take()
    assert [type(each).__name__ for each in done] == ["Send", "Send", "ResumeReading"]


def test_a_server_that_just_ends_the_connection_ends_both_directions() -> None:
    assert piped() >> EofReceived(SERVER) << Close(SERVER) << SendEof(LOCAL) << Close(LOCAL)


def test_resets_pass() -> None:
    assert piped() >> ConnectionLost(LOCAL, "reset") << Abort(SERVER)
    assert piped() >> ConnectionLost(SERVER, "reset") << Abort(LOCAL)


def test_the_slower_side_sets_the_pace() -> None:
    play = piped() >> WritingPaused(SERVER) >> Received(LOCAL, b"a")
    sent, paused = play.take()
    assert isinstance(sent, Send)
    assert paused == PauseReading(LOCAL)
    assert play >> WritingResumed(SERVER) << ResumeReading(LOCAL)
    assert play >> WritingPaused(LOCAL) >> told(b"x") << Send(LOCAL, b"x") << PauseReading(SERVER)
    assert play >> WritingResumed(LOCAL) << ResumeReading(SERVER)


def test_a_server_that_cannot_be_reached_resets_the_local_connection() -> None:
    play = accepted() >> ConnectFailed(SERVER, "connection refused") << Abort(LOCAL)
    assert play
    assert warning(play) == "cannot reach the server: connection refused"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            Received(
                SERVER,
                b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 34\r\n\r\n" + b'{"error":"no available upstreams"}',
            ),
            "the server refused: 502 no available upstreams",
        ),
        (Received(SERVER, b"220 smtp\r\n\r\n"), "cannot reach the server: the answer is not HTTP/1.1"),
        (EofReceived(SERVER), "cannot reach the server: connection closed during the handshake"),
    ],
)
def test_a_refusal_resets_the_local_connection(answer: Received | EofReceived, reason: str) -> None:
    play, _ = asked()
    assert play >> answer << Close(SERVER) << Abort(LOCAL) >> ConnectionLost(SERVER, "") >> 60.0
    assert warning(play) == reason


def test_a_connection_lost_before_the_answer() -> None:
    play, _ = asked()
    assert play >> ConnectionLost(SERVER, "reset") << Abort(LOCAL) >> 60.0
    assert warning(play) == "cannot reach the server: connection closed by the server"


def test_a_server_that_does_not_answer() -> None:
    play, _ = asked()
    assert play >> WritingPaused(SERVER) >> WritingResumed(SERVER) >> 29.0 << Nothing()
    assert play >> 30.9 << Close(SERVER) << Abort(LOCAL)
    assert warning(play) == "cannot reach the server: the server did not answer within 30 s"


def test_a_local_connection_that_does_not_wait() -> None:
    assert accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> CONNECTED << Abort(SERVER)
    play, answer = asked()
    assert play >> ConnectionLost(LOCAL, "") << Close(SERVER) >> Received(SERVER, answer)
    play = accepted() >> ConnectionLost(LOCAL, "") << Abort(SERVER) >> ConnectFailed(SERVER, "aborted")
    assert play
    assert not play.logs[2:]
    play, answer = asked()
    assert play >> WritingPaused(LOCAL) >> WritingResumed(LOCAL)
