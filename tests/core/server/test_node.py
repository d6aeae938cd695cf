"""The life of a server: opening ports, admin, draining, leaving."""

import random

import msgspec
import pytest

from pico_core.boundary import (
    Accepted,
    Close,
    Exit,
    Listen,
    ListenFailed,
    Listening,
    Received,
    Send,
    ShutdownRequested,
    StopListening,
    Tick,
)
from pico_core.config.server import ServerConfig
from pico_core.server.node import ServerNode
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, client_joins, error, proxy_play
from tests.play import Data, End, GoAway, Nothing, Open, Play, server_play

ADMIN = 21
CLOSING_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
STOPPED = (StopListening("proxy"), StopListening("upstream"))


def text(status: bytes, body: bytes, kind: bytes = b"text/plain; charset=utf-8") -> Send:
    """Return an answer of the admin port."""
    return Send(
        ADMIN,
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\n\r\n%b"
        % (status, kind, len(body), body),
    )


def ask(path: bytes) -> Received:
    """Return a request to the admin port."""
    return Received(ADMIN, b"GET %b HTTP/1.1\r\nHost: pico:8002\r\n\r\n" % path)


def operator(play: Play) -> Play:
    """Let somebody connect to the admin port."""
    return play >> Accepted(ADMIN, "admin", "192.0.2.3", 6000)


# --- start ---


def test_the_admin_port_opens_first_and_says_when_the_node_is_ready() -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    assert play.take()[0] == Listen("admin", "", 8002)
    play >> Listening("admin", "::", 8002)
    assert operator(play) >> ask(b"/health") << text(b"200 ", b"ok\n") >> ask(b"/ready") << text(b"503 ", b"starting\n")
    ready = operator(server_play())
    assert ready >> ask(b"/ready") << text(b"200 ", b"running\n")
    messages = [(log.subsystem, log.message) for log in ready.logs]
    assert messages[-1] == ("server", "ready")
    assert ("proxy", "listening") in messages
    assert ready.logs[0].fields == {"addr": "0.0.0.0:8002"}


@pytest.mark.parametrize(
    ("listener", "key", "address"),
    [("proxy", "proxy", ":8000"), ("upstream", "upstream", ":8001"), ("gossip-streams", "cluster.gossip", ":8003")],
)
def test_a_port_that_cannot_be_opened_ends_the_node(listener: str, key: str, address: str) -> None:
    play = Play(ServerNode(ServerConfig(), "node-1", random.Random(1))) >> Tick()
    play.take()
    name = listener.removesuffix("-streams")
    assert (
        play
        >> ListenFailed(listener, "address already in use")
        << Exit(
            1,
            f"cannot listen on {name} address '{address}': address already in use; "
            f"choose another one with --{key}.bind-addr",
        )
    )


# --- admin ---


def test_unknown_paths_and_methods() -> None:
    assert (
        operator(server_play())
        >> ask(b"/nowhere")
        << text(b"404 ", b'{"error": "not found"}', b"application/json")
        >> Received(ADMIN, b"POST /health HTTP/1.1\r\nHost: pico\r\nContent-Length: 0\r\n\r\n")
        << text(b"405 ", b"only GET and HEAD are served here\n")
        << Close(ADMIN)
    )


# --- stop ---


def test_an_idle_node_still_serves_for_the_drain_delay() -> None:
    play = server_play() >> 100.0 >> ShutdownRequested()
    assert (
        client_joins(operator(play))
        >> ask(b"/ready")
        << text(b"503 ", b"draining\n")
        >> ask(b"/health")
        << text(b"200 ", b"ok\n")
        >> 104.5
        >> Received(CLIENT, GET)
        << error(502, "Bad Gateway", "no available upstreams", "Connection: close")
        << Close(CLIENT)
        >> 104.9
        << Nothing()
        >> 106.5
        << STOPPED[0]
        << STOPPED[1]
        << Exit(0, "")
    )


def test_agents_are_asked_to_go_elsewhere_one_after_the_other() -> None:
    play = server_play()
    for connection in (AGENT, 3, 5, 7):
        play.agent_registers(connection, "e1", (b"x-piko-instance", b"%d" % connection))
    assert (
        play
        >> ShutdownRequested()
        << Nothing()
        >> 0.1
        << GoAway(AGENT)
        >> 0.3
        << GoAway(3)
        >> 0.55
        << GoAway(5)
        >> 0.8
        << GoAway(7)
        >> 4.9
        << Nothing()
    )
    done = (play >> 6.5).take()
    assert done == [*STOPPED, Close(AGENT), Close(3), Close(5), Close(7), Exit(0, "")]


def test_an_agent_that_does_not_understand_is_let_go_when_its_requests_end() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> ShutdownRequested()
    assert (
        play
        >> 0.1
        << GoAway(AGENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, CLOSING_OK)
        << End(AGENT, 2)
        << Close(AGENT)
        << Close(CLIENT)
    )


def test_a_request_in_flight_is_waited_for_and_answered_with_close() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    assert (
        client_joins(play)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> ShutdownRequested()
        >> 20.0
        << GoAway(AGENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, CLOSING_OK)
        << Close(CLIENT)
        >> 22.0
        << STOPPED[0]
        << STOPPED[1]
        << Close(AGENT)
        << Exit(0, "")
    )
    assert play.logs[-1].fields == {"in_flight": 0}


def test_requests_still_work_while_the_node_drains() -> None:
    play = server_play()
    play.agent_registers(AGENT, "e1", (b"x-piko-instance", b"one"))
    assert (
        client_joins(client_joins(play), 5)
        >> Received(CLIENT, GET)
        << Open(AGENT, 2)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(CLIENT, OK)
        >> ShutdownRequested()
        >> 1.0
        << GoAway(AGENT)
        >> Received(5, GET)
        << Data(AGENT, 2, GET_SENT)
        >> Data(AGENT, 2, OK)
        << Send(5, CLOSING_OK)
        << Close(5)
    )


def test_the_grace_period_ends_what_does_not_end() -> None:
    config = msgspec.convert({"grace_period_s": 10.0}, ServerConfig)
    play = proxy_play(config) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> ShutdownRequested() >> 7.9 << GoAway(AGENT)
    done = (play >> 10.0).take()
    assert done[:2] == [*STOPPED]
    assert done[-1] == Exit(0, "")
    assert Close(AGENT) in done


def test_a_second_signal_ends_the_node_at_once() -> None:
    assert proxy_play() >> ShutdownRequested() >> ShutdownRequested() << Exit(1, "stopped at once by a second signal")
