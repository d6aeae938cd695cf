"""Hostile peers on every port: each gets one clean answer or none, and the node is as it was before."""

import contextlib
import random
import threading
import time

import pytest

from pico_core.mux.frame import DATA, HEADER, SYN, WINDOW_UPDATE
from pico_core.websocket.encoding import encode_frame
from pico_core.websocket.handshake import accept_handshake
from tests.e2e.conftest import Stack
from tests.e2e.harness import MIB, Fleet
from tests.e2e.hostile import GROWTH_BYTES, HEADER_TIMEOUT_S, assert_refused, attack, joined
from tests.e2e.origin import Origin, Visit, service
from tests.e2e.wire import Wire, dial, request, request_bytes
from tests.waiting import PATIENCE_S, wait_until

GARBAGE = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2, (400,)),  # a TLS hello
    (b"\x00" * 1000 + b"\r\n\r\n", (400,)),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", (400,)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (405, 505)),
    (b"CONNECT origin:443 HTTP/1.1\r\nHost: origin:443\r\n\r\n", (405, 501)),
    (random.Random(1).randbytes(100_000) + b"\r\n\r\n", (400, 431)),
]


@pytest.mark.parametrize(("data", "statuses"), GARBAGE)
@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_garbage(victim: Stack, port: str, data: bytes, statuses: tuple[int, ...]) -> None:
    assert_refused(attack(getattr(victim.server, f"{port}_port"), data), *statuses)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\nHost: a.b\n\n", b"GET / HTTP/9.9\r\nHost: a.b\r\n\r\n"])
@pytest.mark.parametrize("port", ["proxy", "upstream"])
def test_lines_that_only_look_like_http(victim: Stack, port: str, data: bytes) -> None:
    assert_refused(attack(getattr(victim.server, f"{port}_port"), data), 400, 505)


@pytest.mark.parametrize("port", ["proxy", "upstream", "admin"])
def test_clients_that_connect_and_leave(victim: Stack, port: str) -> None:
    process = victim.server.process
    before = process.open_files()
    for _ in range(50):
        with dial(getattr(victim.server, f"{port}_port")) as wire:
            wire.reset()
        with dial(getattr(victim.server, f"{port}_port")):
            pass
    wait_until(lambda: process.open_files() <= before, "its connections are closed")


def attack_and_wait(victim: Stack, start: bytes) -> bytes:
    """Send the start of a head and return what comes when the time for heads is over, and not earlier."""
    began_at = time.monotonic()
    answer = attack(victim.port, start)
    assert time.monotonic() - began_at >= HEADER_TIMEOUT_S * 0.9
    return answer


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nHost: origin.pico.test\r\nX: ", b"G"])
def test_half_a_head_and_silence(victim: Stack, start: bytes) -> None:
    assert_refused(attack_and_wait(victim, start), 408)


def test_silence(victim: Stack) -> None:
    assert attack_and_wait(victim, b"") == b""


def test_a_head_that_drips(victim: Stack) -> None:
    """Each byte is progress, and does not count as any."""
    began_at = time.monotonic()
    with dial(victim.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\n")
        wire.socket.settimeout(0.1)
        answer = b""
        while not answer:
            assert time.monotonic() - began_at < PATIENCE_S
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
    assert_refused(attack(getattr(victim.server, f"{port}_port"), start + line * (20 * MIB // len(line))), 431)


def test_an_endless_target(victim: Stack) -> None:
    assert_refused(attack(victim.port, b"GET /" + b"x" * (4 * MIB)), 414)


def test_ten_thousand_headers(victim: Stack) -> None:
    head = b"GET /describe HTTP/1.1\r\nHost: origin.pico.test\r\n" + b"a: b\r\n" * 10_000 + b"\r\n"
    assert_refused(attack(victim.port, head), 431)


@pytest.mark.parametrize("extension", [b";" + b"x" * (10 * MIB), b";x" * 5000])
def test_an_endless_chunk_extension(victim: Stack, extension: bytes) -> None:
    head = request_bytes("origin", "/describe", "POST", "Transfer-Encoding: chunked\r\n")
    assert_refused(attack(victim.port, head + b"1" + extension), 400)


def test_a_broken_chunk_is_the_clients_fault(victim: Stack) -> None:
    head = request_bytes("origin", "/describe", "POST", "Transfer-Encoding: chunked\r\n")
    for body in (b"x\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"-1\r\n", b"5\nhello\r\n0\r\n\r\n", b"f" * 20 + b"\r\n"):
        assert_refused(attack(victim.port, head + body), 400)


def test_a_pipeline_whose_answers_are_not_read(victim: Stack) -> None:
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
