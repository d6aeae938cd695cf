"""Hostile agents: the server ends their tunnels, or refuses what they send, and is as it was before."""

import contextlib

import pytest

from pico_core.mux.frame import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE
from tests.e2e.conftest import Stack
from tests.e2e.harness import MIB
from tests.e2e.hostile import HostileAgent, assert_refused, attack
from tests.e2e.wire import dial, receive_response, request, request_bytes
from tests.waiting import wait_until

GOING_AWAY = HEADER.pack(GO_AWAY, 0, 0, 1)


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(7, 0, 0, 0),  # unknown type
        HEADER.pack(0x0100 | PING, SYN, 0, 1),  # unknown version
        HEADER.pack(DATA, 0x80, 1, 0),  # unknown flag
        HEADER.pack(WINDOW_UPDATE, SYN, 2, 0),  # an id of the other side's
        HEADER.pack(WINDOW_UPDATE, SYN, 0, 0),  # the session's own id
        HEADER.pack(DATA, SYN, 0, 4) + b"data",
    ],
)
def test_broken_frames_end_the_tunnel(victim: Stack, frame: bytes) -> None:
    with HostileAgent(victim.server.upstream_port) as agent:
        agent.send(frame)
        assert GOING_AWAY in agent.receive_end()


def test_streams_it_may_not_open_are_refused(victim: Stack) -> None:
    with HostileAgent(victim.server.upstream_port) as agent:
        agent.send(HEADER.pack(DATA, SYN, 1, 5) + b"hello", HEADER.pack(PING, SYN, 0, 77))
        assert agent.receive_frame()[:3] == (WINDOW_UPDATE, RST, 1)
        assert agent.receive_frame()[:4] == (PING, ACK, 0, 77)


def test_a_flood_of_streams_ends_the_tunnel(victim: Stack) -> None:
    """200,000 streams opened and reset: refused, and in the end the whole peer is."""
    with HostileAgent(victim.server.upstream_port) as agent:
        pairs = [
            HEADER.pack(WINDOW_UPDATE, SYN, stream, 0) + HEADER.pack(WINDOW_UPDATE, RST, stream, 0)
            for stream in range(1, 400_000, 2)
        ]
        for start in range(0, len(pairs), 1000):
            agent.send(*pairs[start : start + 1000])
        assert GOING_AWAY in agent.receive_end()


def test_a_peer_that_overruns_its_window(victim: Stack) -> None:
    with HostileAgent(victim.server.upstream_port) as agent, dial(victim.port) as client:
        client.send(request_bytes("hostile"))
        stream = agent.receive_frame()[2]
        agent.send(HEADER.pack(WINDOW_UPDATE, ACK, stream, 0))
        agent.send(HEADER.pack(DATA, 0, stream, 2**31) + b"HTTP/1.1 200 OK\r\n")
        assert GOING_AWAY in agent.receive_end()
        head, _ = receive_response(client)
        assert head.status == 502


def test_a_peer_that_ignores_its_window(victim: Stack) -> None:
    """The client reads nothing, so the server grants no credit, and ends the tunnel of an agent that goes on."""
    with HostileAgent(victim.server.upstream_port) as agent, dial(victim.port) as client:
        client.send(request_bytes("hostile"))
        stream = agent.receive_frame()[2]
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
        agent.send(HEADER.pack(DATA, ACK, stream, len(start)) + start)
        block = HEADER.pack(DATA, 0, stream, 60_000) + bytes(60_000)
        for _ in range(1000):
            agent.send(block)
        assert GOING_AWAY in agent.receive_end()


def test_a_peer_that_never_reads(victim: Stack) -> None:
    """It sends pings and does not read the pongs, it does not take requests: the memory that it costs is bounded."""
    with HostileAgent(victim.server.upstream_port) as agent, contextlib.ExitStack() as clients:
        for _ in range(20):
            client = clients.enter_context(dial(victim.port))
            client.socket.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                client.send(request_bytes("hostile", "/", "POST", "Content-Length: 100000000\r\n") + bytes(20 * MIB))
        agent.wire.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            pings = [HEADER.pack(PING, SYN, 0, number) for number in range(5000)]
            for _ in range(300):
                agent.send(*pings)
        assert victim.server.process.resident_bytes() < 80 * MIB
        assert request(victim.port, "origin", "/describe")[0].status == 200


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x05hello", 1002),  # not masked
        (b"\xc2\x85\x00\x00\x00\x00hello", 1002),  # a reserved bit
        (b"\x81\x85\x00\x00\x00\x00hello", 1003),  # text
        (b"\x83\x85\x00\x00\x00\x00hello", 1002),  # an unknown opcode
        (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126), 1002),  # a ping too large
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1002),  # the top bit of a length
        (b"\x80\x85\x00\x00\x00\x00hello", 1002),  # a continuation of nothing
    ],
)
def test_broken_websocket_frames_end_the_tunnel(victim: Stack, frame: bytes, code: int) -> None:
    with HostileAgent(victim.server.upstream_port) as agent:
        agent.wire.send(frame)
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            while data := agent.wire.receive():
                rest += data
        assert code.to_bytes(2) in rest  # of a close frame


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /pico/v1/upstream/e HTTP/1.1\r\nHost: a\r\n\r\n", 400),  # no upgrade
        ("GET /pico/v1/upstream/a%2Fb/c HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("POST /pico/v1/upstream/e HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 400),
        (f"GET /pico/v1/upstream/{'e' * 300} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
)
def test_registrations_that_are_refused(victim: Stack, head: str, status: int) -> None:
    assert_refused(attack(victim.server.upstream_port, head.encode()), status, 405)


def test_a_tunnel_that_is_reset_is_forgotten(victim: Stack) -> None:
    """Also after the time that lingering connections are given."""
    for _ in range(20):
        with HostileAgent(victim.server.upstream_port) as agent:
            agent.wire.reset()
    wait_until(lambda: request(victim.port, "hostile")[0].status == 502, "the endpoint is gone")


def test_a_response_without_a_request(victim: Stack) -> None:
    """Response bytes on an idle stream must never answer the next request."""
    with HostileAgent(victim.server.upstream_port) as agent:
        for _ in range(2):
            with dial(victim.port) as client:
                client.send(request_bytes("hostile"))
                kind, _, stream, *_ = agent.receive_frame()
                while kind != DATA:
                    kind, _, stream, *_ = agent.receive_frame()
                good = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
                agent.send(HEADER.pack(DATA, ACK, stream, len(good)) + good)
                assert receive_response(client)[1] == b"good"
                evil = good.replace(b"good", b"evil")
                agent.send(HEADER.pack(DATA, 0, stream, len(evil)) + evil)
                while (frame := agent.receive_frame())[:3] != (WINDOW_UPDATE, RST, stream):
                    assert frame[0] in (WINDOW_UPDATE, PING)


def test_a_stream_that_the_agent_ends(victim: Stack) -> None:
    """FIN before any answer is a loss: 502, and the tunnel goes on."""
    with HostileAgent(victim.server.upstream_port) as agent, dial(victim.port) as client:
        client.send(request_bytes("hostile", "/", "POST", body=b"x"))
        stream = agent.receive_frame()[2]
        agent.send(HEADER.pack(WINDOW_UPDATE, ACK | FIN, stream, 0))
        assert receive_response(client)[0].status == 502
