"""Hostile peers on every port: each gets one clean answer or none, and the node is as it was before."""

import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_core.boundary import Data
from pico_core.mux.frame import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE
from pico_core.websocket.decoding import FrameDecoder
from pico_core.websocket.encoding import encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.e2e.conftest import Stack
from tests.e2e.harness import (
    LOCAL,
    MIB,
    PATIENCE_S,
    Fleet,
    Wire,
    dial,
    receive_response,
    request,
    request_bytes,
    wait_until,
)
from tests.e2e.origin import Origin, Visit, service

HEADER_TIMEOUT_S = 1.0
GROWTH_BYTES = 6 * MIB
"""How much a node may grow under attack: interpreters and allocators keep a little, attackers send much more."""


@pytest.fixture(scope="module")
def target(shared_fleet: Fleet, shared_origin: Origin) -> Stack:
    """A server that waits for a request head as long as a test may."""
    server = shared_fleet.server("--proxy.http.read-header-timeout", f"{HEADER_TIMEOUT_S}s")
    agent = shared_fleet.agent(server, "origin", shared_origin.port)
    return Stack(server, agent, shared_origin)


@pytest.fixture
def victim(shared_fleet: Fleet, target: Stack, origin: Origin) -> Iterator[Stack]:
    """The server under attack. Afterwards it must still serve, and must not have grown."""
    assert request(target.port, "origin", "/describe")[0].status == 200
    before = target.server.process.resident_bytes()
    yield target
    shared_fleet.check()
    assert request(target.port, "origin", "/describe")[0].status == 200
    assert target.server.process.resident_bytes() - before < GROWTH_BYTES


def attack(port: int, data: bytes) -> bytes:
    """Send ``data`` and return all that comes until the node ends the connection, which it must."""
    with dial(port) as wire:
        with contextlib.suppress(ConnectionError):  # the node need not take it all
            wire.send(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := wire.receive():
                received += more
        return received


def assert_refused(answer: bytes, *statuses: int) -> None:
    """One response with an error body, and nothing behind it."""
    match = re.fullmatch(rb"HTTP/1\.1 (\d+) [^\r\n]+\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)", answer)
    assert match is not None, answer
    assert int(match[1]) in statuses, answer
    assert json.loads(match[2])["error"]
    assert b"\r\nconnection: close\r\n" in answer.lower()


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,  # a TLS hello
    b"\x00" * 1000 + b"\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT origin:443 HTTP/1.1\r\nHost: origin:443\r\n\r\n",
    random.Random(1).randbytes(100_000) + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", GARBAGE)
@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_garbage(victim: Stack, port: str, data: bytes) -> None:
    answer = attack(getattr(victim.server, f"{port}_port"), data)
    if answer:
        status = int(answer.split()[1])
        assert 400 <= status < 600
        assert status in (400, 404, 405, 414, 431, 501, 505), answer


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\nHost: a.b\n\n", b"GET / HTTP/9.9\r\nHost: a.b\r\n\r\n"])
@pytest.mark.parametrize("port", ["proxy", "upstream"])
def test_what_only_looks_like_http(victim: Stack, port: str, data: bytes) -> None:
    assert_refused(attack(getattr(victim.server, f"{port}_port"), data), 400, 505)


@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_a_client_that_says_nothing_and_goes(victim: Stack, port: str) -> None:
    for _ in range(50):
        with dial(getattr(victim.server, f"{port}_port")) as wire:
            wire.reset()
        with dial(getattr(victim.server, f"{port}_port")):
            pass


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: origin.pico.test\r\nX: ", b"G", b""])
def test_half_a_head_and_silence(victim: Stack, start: bytes) -> None:
    began_at = time.monotonic()
    answer = attack(victim.port, start)
    assert HEADER_TIMEOUT_S * 0.9 <= time.monotonic() - began_at < HEADER_TIMEOUT_S + 2
    if start:
        assert_refused(answer, 408)
    else:
        assert answer == b""


def test_a_head_that_drips(victim: Stack) -> None:
    """Each byte is progress, and does not count as any."""
    began_at = time.monotonic()
    with dial(victim.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\n")
        wire.socket.settimeout(0.1)
        answer = b""
        while not answer:
            assert time.monotonic() - began_at < HEADER_TIMEOUT_S + 2
            with contextlib.suppress(TimeoutError):
                wire.send(b"x")
                answer = wire.receive()
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_half_open_connections_of_other_ports_end(victim: Stack) -> None:
    began_at = time.monotonic()
    with contextlib.ExitStack() as wires:
        opened = []
        for port in (victim.server.upstream_port, victim.server.admin_port):
            for start in (b"GET /pico/v1/upstream/e HTTP/1.1\r\nHost: ", b""):
                opened.append(wires.enter_context(dial(port)))
                opened[-1].send(start)
        for wire in opened:
            with contextlib.suppress(ConnectionResetError):
                wire.receive_rest()
    assert time.monotonic() - began_at < 15


@pytest.mark.parametrize("line", [b"X: " + b"x" * 60_000 + b"\r\n", b"X: x\r\n", b"x" * 50_000])
@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_an_endless_head(victim: Stack, port: str, line: bytes) -> None:
    start = b"GET /pico/v1/upstream/e HTTP/1.1\r\nHost: origin.pico.test\r\n"
    answer = attack(getattr(victim.server, f"{port}_port"), start + line * (20 * MIB // len(line)))
    if answer:  # it may be lost: the node does not read twenty MiB to their end before it resets
        assert int(answer.split()[1]) in (400, 431)


def test_an_endless_target(victim: Stack) -> None:
    answer = attack(victim.port, b"GET /" + b"x" * (4 * MIB))
    if answer:
        assert_refused(answer, 414, 431)


def test_ten_thousand_headers(victim: Stack) -> None:
    head = b"GET /describe HTTP/1.1\r\nHost: origin.pico.test\r\n" + b"a: b\r\n" * 10_000 + b"\r\n"
    assert_refused(attack(victim.port, head), 431)


@pytest.mark.parametrize("extension", [b";" + b"x" * (10 * MIB), b";x" * 5000])
def test_an_endless_chunk_extension(victim: Stack, extension: bytes) -> None:
    head = request_bytes("origin", "/describe", "POST", "Transfer-Encoding: chunked\r\n")
    answer = attack(victim.port, head + b"1" + extension)
    if answer:
        assert_refused(answer, 400)


def test_a_broken_chunk_is_the_clients_fault(victim: Stack) -> None:
    head = request_bytes("origin", "/describe", "POST", "Transfer-Encoding: chunked\r\n")
    for body in (b"x\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello\r\n0\r\n\r\n", b"f" * 20 + b"\r\n"):
        assert_refused(attack(victim.port, head + body), 400)


def test_a_pipeline_that_nobody_reads(victim: Stack) -> None:
    """Requests without end, and not one answer read: the node stops reading as well."""

    def long_answer(visit: Visit) -> None:
        visit.respond(bytes(100_000))

    requests = request_bytes("origin", victim.origin.handle(long_answer)) * 1000
    with dial(victim.port) as wire:
        wire.socket.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200 * MIB:
                sent += wire.socket.send(requests)
        assert sent < 200 * MIB
        assert request(victim.port, "origin", "/describe")[0].status == 200


def test_a_pipeline_far_longer_than_what_may_wait(victim: Stack) -> None:
    """Every answer is read, so the requests are taken; but only as fast as they are served, and none is kept long."""
    process = victim.server.process
    before = process.resident_bytes()
    process.reset_peak()
    count = 3000
    with dial(victim.port) as wire:
        requests = request_bytes("origin", "/describe", "HEAD", f"X: {'x' * 8000}\r\n")
        sender = threading.Thread(target=wire.send, args=(requests * count,))
        sender.start()
        for _ in range(count):
            assert wire.receive_head().status == 200
        sender.join()
    assert process.peak_bytes() - before < GROWTH_BYTES


# --- tunnels ---------------------------------------------------------------------------------------------------------


class ZeroEntropy:
    """Masks with zeroes, which are as good as any here."""

    def getrandbits(self, k: int, /) -> int:
        return 0


class HostileAgent:
    """A tunnel made by hand: what goes in is what the test says."""

    def __init__(self, port: int, endpoint: str = "hostile") -> None:
        self.wire = dial(port)
        self.wire.send(
            f"GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nHost: {LOCAL}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert self.wire.receive_head().status == 101
        self._decoder = FrameDecoder(masked=False)
        self.frames = b""

    def __enter__(self) -> "HostileAgent":
        return self

    def __exit__(self, *exception: object) -> None:
        self.wire.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send mux frames in one message; the server may be gone already."""
        with contextlib.suppress(ConnectionError):
            self.wire.send(joined(encode_frame(frames, sum(map(len, frames)), ZeroEntropy())))

    def receive(self) -> bytes:
        """Return some bytes of mux frames, none when the server has ended the tunnel."""
        while True:
            try:
                data = self.wire.receive()
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            payload = b"".join(
                bytes(item) for item in self._decoder.receive(data) if isinstance(item, bytes | memoryview)
            )
            if payload:
                return payload

    def receive_frame(self) -> tuple[int, int, int, int, bytes]:
        """Return the next frame as kind, flags, stream, length and body."""
        while True:
            if len(self.frames) >= 12:
                kind, flags, stream, length = HEADER.unpack_from(self.frames)
                end = 12 + (length if kind == DATA else 0)
                if len(self.frames) >= end:
                    body, self.frames = self.frames[12:end], self.frames[end:]
                    return kind, flags, stream, length, body
            data = self.receive()
            assert data, "the server ended the tunnel"
            self.frames += data

    def receive_end(self) -> bytes:
        """Return all frames up to the end of the tunnel, which must come."""
        frames, self.frames = self.frames, b""
        while data := self.receive():
            frames += data
        return frames


def joined(data: Data) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


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
    """The client reads nothing, so no credit is granted; an agent that sends all the same is thrown out."""
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
    """Pings it sends and does not hear answered, requests it does not take: what the node holds for it is bounded."""
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
    "frame",
    [
        b"\x82\x05hello",  # not masked
        b"\xc2\x85\x00\x00\x00\x00hello",  # a reserved bit
        b"\x81\x85\x00\x00\x00\x00hello",  # text
        b"\x83\x85\x00\x00\x00\x00hello",  # an unknown opcode
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),  # a ping too large
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # the top bit of a length
        b"\x80\x85\x00\x00\x00\x00hello",  # a continuation of nothing
    ],
)
def test_broken_websocket_frames_end_the_tunnel(victim: Stack, frame: bytes) -> None:
    with HostileAgent(victim.server.upstream_port) as agent:
        agent.wire.send(frame)
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            while data := agent.wire.receive():
                rest += data
        assert b"\x03\xea" in rest or b"\x03\xeb" in rest  # the code of a close frame, 1002 or 1003


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


def test_an_answer_nobody_asked_for(victim: Stack) -> None:
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


# --- agents and forwarders ------------------------------------------------------------------------------------------


def test_a_hostile_server_cannot_hurt_an_agent(fleet: Fleet, origin: Origin) -> None:
    """An agent that was pointed at something evil logs it, keeps its size, and tries again."""
    frames = [
        HEADER.pack(7, 0, 0, 0),
        HEADER.pack(WINDOW_UPDATE, SYN, 1, 0),
        HEADER.pack(DATA, SYN, 2, 2**31) + bytes(1000),
        b"".join(HEADER.pack(WINDOW_UPDATE, SYN, 2 * number, 0) for number in range(1, 5000)),
        b"".join(HEADER.pack(DATA, SYN, 2 * number, 4) + b"GET " for number in range(1, 1000)),
        HEADER.pack(DATA, SYN, 2, 18) + b"\x00garbage\r\nHost\r\n\r\n",
    ]
    rounds = iter(frames)

    def serve(wire: Wire) -> None:
        wire.send(accept_handshake(wire.receive_head().data))
        data = next(rounds, b"")
        if data:
            wire.send(joined(encode_frame((data,), len(data), None)))
            wire.send_eof()
            wire.receive_rest()

    with service(serve) as evil:
        agent = fleet.agent(evil.port, "origin", origin.port)
        agent.await_log("endpoint registered")
        before = agent.resident_bytes()
        wait_until(lambda: evil.connections > len(frames), "the agent comes back every time", 4 * PATIENCE_S)
        assert agent.alive
        assert agent.resident_bytes() - before < GROWTH_BYTES
        agent.stop()


def test_files_of_processes_do_not_pile_up(victim: Stack) -> None:
    """After all these attacks no connection is left over."""
    files = Path(f"/proc/{victim.server.process.pid}/fd")
    wait_until(lambda: len(list(files.iterdir())) < 40, "connections are closed")
