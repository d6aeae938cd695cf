"""One TCP connection to an endpoint inside a WebSocket on the proxy port."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    ConnectionLost,
    EofReceived,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    WritingPaused,
    WritingResumed,
)
from pico_core.server.node import ServerNode
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from pico_core.websocket.frame import PING
from tests.core.proxy.scene import AGENT, CLIENT, client_joins, error, proxy_play
from tests.play import Data, End, Nothing, Open, Play, Reset, joined

ASKING = (
    b"GET /_piko/v1/tcp/e1 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8000\r\n"
    b"User-Agent: Go-http-client/1.1\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: kIqtl8dPEU+ET68+zXi82g==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
ACCEPTED = Send(
    CLIENT,
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Sec-WebSocket-Accept: kfb3RadByaMbJLjcTX+sU9BwCa8=\r\n"
    b"Connection: Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n",
)
CLOSE = Send(CLIENT, encode_close(1000, "", None))


def client_sends(data: bytes) -> Received:
    """Return the masked message a client sends."""
    return Received(CLIENT, joined(encode_frame((data,), len(data), random.Random(1))))


def client_closes() -> Received:
    """Return the client's Close frame: its half of the connection ends."""
    return Received(CLIENT, encode_close(1000, "", random.Random(1)))


def piped() -> Play:
    """Return a play in which a client reached the agent's service."""
    return proxy_play() >> Received(CLIENT, ASKING) << Open(AGENT, 2) << ACCEPTED


def test_bytes_pass_in_messages_of_any_length() -> None:
    play = (
        piped()
        >> client_sends(b"PING\r\n")
        << Data(AGENT, 2, b"PING\r\n")
        >> 500.0
        >> Data(AGENT, 2, b"+PONG\r\n")
        << Send(CLIENT, b"\x82\x07+PONG\r\n")
        >> Data(AGENT, 2, bytes(70_000))
        << Send(CLIENT, b"\x82\x7f" + (70_000).to_bytes(8, "big") + bytes(70_000))
    )
    assert play
    assert play.access_log == []


def test_what_came_behind_the_request_is_for_the_service() -> None:
    early = client_sends(b"PING\r\n").data
    assert proxy_play() >> Received(CLIENT, ASKING + early) << Open(AGENT, 2) << ACCEPTED << Data(AGENT, 2, b"PING\r\n")


def test_garbage_behind_the_request_is_a_protocol_error() -> None:
    assert (
        proxy_play()
        >> Received(CLIENT, ASKING + b"GET / HTTP/1.1\r\n\r\n")
        << Open(AGENT, 2)
        << ACCEPTED
        << Send(CLIENT, encode_close(1002, "reserved bits are set", None))
        << Close(CLIENT)
        << Reset(AGENT, 2)
    )


def test_a_stream_that_the_agent_refuses_leads_to_another_agent() -> None:
    play = proxy_play()
    play.agent_registers(7, "e1")
    play.tunnels[AGENT].tunnel.session.pause_output()
    assert play >> Received(CLIENT, ASKING) << Open(AGENT, 2)
    play.tunnels[AGENT].streams[2].hold_acceptance()
    play.tunnels[AGENT].tunnel.session.resume_output()
    assert play >> Reset(AGENT, 2) << Open(7, 2) << ACCEPTED


def test_a_stream_that_every_agent_refuses_is_a_502() -> None:
    play = proxy_play()
    play.tunnels[AGENT].tunnel.session.pause_output()
    assert play >> Received(CLIENT, ASKING) << Open(AGENT, 2)
    play.tunnels[AGENT].streams[2].hold_acceptance()
    play.tunnels[AGENT].tunnel.session.resume_output()
    assert play >> Reset(AGENT, 2) << error(502, "Bad Gateway", "upstream unreachable", reason="stream-refused")


def unanswered(play: Play) -> Play:
    """Let a client ask for the endpoint, and the agent not accept the stream."""
    play.tunnels[AGENT].tunnel.session.pause_output()
    play >> Received(CLIENT, ASKING) << Open(AGENT, 2)
    play.tunnels[AGENT].streams[2].hold_acceptance()
    play.tunnels[AGENT].tunnel.session.resume_output()
    return play


def test_a_stream_that_an_agent_does_not_accept_leads_to_another_agent() -> None:
    play = proxy_play()
    play.agent_registers(7, "e1")
    assert unanswered(play) >> 0.9 << Nothing() >> 1.6 << Reset(AGENT, 2) << Open(7, 2) << ACCEPTED
    for connection, stream in ((5, 4), (9, 6)):
        client_joins(play, connection) >> Received(connection, ASKING)
        assert play << Open(7, stream) << Send(connection, ACCEPTED.data), "the silent agent is avoided"


def test_a_stream_that_the_only_agent_does_not_accept_is_waited_for() -> None:
    play = unanswered(proxy_play()) >> 9.0 << Nothing()
    play.tunnels[AGENT].streams[2].accept()
    play.tunnels[AGENT].streams[2].send(b"hello")
    assert play >> Data(AGENT, 2, b"") << ACCEPTED << Send(CLIENT, b"\x82\x05hello")


def test_the_only_agent_was_stopped() -> None:
    """It gives no sign of life, so the client is refused: the tunnel may stay dead for long."""
    play = proxy_play()
    play.tunnels[AGENT].tunnel.session.pause_output()
    play >> Received(CLIENT, ASKING) << Open(AGENT, 2) >> 3.0 << Nothing()
    assert play >> 6.0 << error(502, "Bad Gateway", "upstream unreachable", reason="stream-refused") << Reset(AGENT, 2)


def test_a_stopped_agent_is_waited_for_three_seconds() -> None:
    """Its silence is found after 1 to 1.5 s, and then looked at every half second."""
    play = proxy_play()
    play.tunnels[AGENT].tunnel.session.pause_output()
    play >> Received(CLIENT, ASKING) << Open(AGENT, 2) >> 4.45 << Nothing()
    play >> 4.95
    assert not play.idle


def test_a_client_that_leaves_while_its_stream_opens_resets_it_at_once() -> None:
    assert unanswered(proxy_play()) >> EofReceived(CLIENT) << Close(CLIENT) << Reset(AGENT, 2)
    play = unanswered(proxy_play()) >> ConnectionLost(CLIENT, "reset") << Reset(AGENT, 2)
    machine = play.machine
    assert isinstance(machine, ServerNode)
    (tunnel,) = machine.facts.registry
    assert tunnel.in_flight == 0


def test_a_stream_that_the_only_agent_never_accepts_is_reset_in_the_end() -> None:
    play = unanswered(proxy_play())
    for second in range(5, 30, 5):  # the agent lives: it answers pings
        assert play >> float(second) << Nothing()
    assert play >> 30.5 << error(504, "Gateway Timeout", "upstream timeout") << Reset(AGENT, 2)


def test_a_client_that_left_the_second_agent_resets_its_stream_there() -> None:
    play = proxy_play()
    play.agent_registers(7, "e1")
    play.tunnels[7].tunnel.session.pause_output()
    unanswered(play) >> 1.6 << Reset(AGENT, 2) << Open(7, 2)
    assert play >> EofReceived(CLIENT) << Close(CLIENT) << Reset(7, 2)


def test_half_close_passes_in_both_directions() -> None:
    play = (
        piped()
        >> client_sends(b"all")
        >> client_closes()
        << Data(AGENT, 2, b"all")
        << End(AGENT, 2)
        >> 100.0
        >> Data(AGENT, 2, b"answer")
        << Send(CLIENT, b"\x82\x06answer")
        >> End(AGENT, 2)
        << CLOSE
        << Close(CLIENT)
    )
    assert play
    (line,) = play.access_log
    assert b'"path":"/_piko/v1/tcp/e1","endpoint":"e1","status":101' in line
    assert b'"request_bytes":3,"response_bytes":6,' in line
    assert (
        piped()
        >> End(AGENT, 2)
        << CLOSE
        >> client_sends(b"late")
        << Data(AGENT, 2, b"late")
        >> client_closes()
        << Close(CLIENT)
        << End(AGENT, 2)
    )


def test_a_bare_end_of_the_connection_ends_both_directions() -> None:
    assert piped() >> EofReceived(CLIENT) << Close(CLIENT) << End(AGENT, 2) >> Data(AGENT, 2, b"x") << Reset(AGENT, 2)


def test_a_bare_end_after_a_half_close_is_orderly() -> None:
    assert piped() >> client_closes() << End(AGENT, 2) >> EofReceived(CLIENT) << Close(CLIENT)


def test_a_bare_end_after_the_services_end() -> None:
    assert piped() >> End(AGENT, 2) << CLOSE >> EofReceived(CLIENT) << Close(CLIENT) << End(AGENT, 2)


def test_resets_are_passed_on() -> None:
    assert piped() >> ConnectionLost(CLIENT, "reset") << Reset(AGENT, 2)
    assert piped() >> Reset(AGENT, 2) << Abort(CLIENT)


def test_broken_frames_reset_the_service() -> None:
    assert (
        piped()
        >> Received(CLIENT, client_sends(b"a").data + b"\x82\x01x")
        << Send(CLIENT, encode_close(1002, "masking is wrong for this side", None))
        << Close(CLIENT)
        << Data(AGENT, 2, b"a")
        << Reset(AGENT, 2)
    )


def test_pings_are_answered_as_long_as_the_answers_are_read() -> None:
    ping = Received(CLIENT, encode_control(PING, b"x", random.Random(1)))
    assert (
        piped()
        >> ping
        << Send(CLIENT, b"\x8a\x01x")
        >> WritingPaused(CLIENT)
        >> ping
        << Nothing()
        >> WritingResumed(CLIENT)
        >> ping
        << Send(CLIENT, b"\x8a\x01x")
    )


def test_the_slower_side_sets_the_pace() -> None:
    play = piped() >> WritingPaused(AGENT) >> client_sends(b"a") << Nothing() >> client_sends(b"b")
    assert play << PauseReading(CLIENT) >> WritingResumed(AGENT) << ResumeReading(CLIENT) << Data(AGENT, 2, b"ab")


def test_a_used_stream_never_carries_raw_bytes() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    play = proxy_play() >> Received(CLIENT, b"GET / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n")
    play.take()
    assert play >> Data(AGENT, 2, ok) << Send(CLIENT, ok) >> Received(CLIENT, ASKING) << Open(AGENT, 4) << ACCEPTED


@pytest.mark.parametrize(
    ("old", "new", "status", "phrase", "reason"),
    [
        (b"/_piko/v1/tcp/e1", b"/_pico/v1/tcp/e2", 502, "Bad Gateway", "no available upstreams"),
        (b"/_piko/v1/tcp/e1", b"/_pico/v2/tcp/e1", 404, "Not Found", "not found"),
        (b"/_piko/v1/tcp/e1", b"/_pico/", 404, "Not Found", "not found"),
        (b"tcp/e1", b"tcp/a%2Fb", 400, "Bad Request", "invalid endpoint id"),
        (b"GET", b"POST", 405, "Method Not Allowed", "a WebSocket is opened with GET"),
        (b"Version: 13", b"Version: 8", 426, "Upgrade Required", "not a WebSocket handshake of version 13"),
        (b"Upgrade: websocket", b"Upgrade: foo", 400, "Bad Request", "not a WebSocket handshake of version 13"),
    ],
)
def test_what_is_refused(old: bytes, new: bytes, status: int, phrase: str, reason: str) -> None:
    assert proxy_play() >> Received(CLIENT, ASKING.replace(old, new)) << error(status, phrase, reason)


def test_an_ordinary_request_is_told_what_is_wanted() -> None:
    ordinary = ASKING.replace(b"Connection: Upgrade\r\n", b"").replace(b"Upgrade: websocket\r\n", b"")
    assert (
        proxy_play()
        >> Received(CLIENT, ordinary.replace(b"/e1", b"/e2"))
        << error(426, "Upgrade Required", "a WebSocket is wanted here")
    )


def test_a_refused_service_resets_the_connection() -> None:
    """The agent resets the stream when its service refuses: the client has its 101 by then."""
    assert piped() >> Reset(AGENT, 2) << Abort(CLIENT) >> ConnectionLost(CLIENT, "")
