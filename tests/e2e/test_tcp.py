"""TCP through a forwarder, a server and an agent: bytes, ends and refusals arrive as if it were one connection."""

import contextlib
import hashlib
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import MIB, Fleet, Process, Wire, dial, reserved_port
from tests.e2e.origin import Service, service

LARGE_BYTES = 50 * MIB


@dataclass
class Line:
    """A local port that leads to a service of the test process, however far that is."""

    stack: Stack
    agent: Process
    forwarder: Process
    port: int


@contextlib.contextmanager
def line_to(fleet: Fleet, stack: Stack, address: int) -> Iterator[Line]:
    """A line for one test: an agent and a forwarder for an endpoint of their own."""
    endpoint = f"tcp-{address}"
    agent = fleet.agent(stack.server, endpoint, address, "--timeout", "2s", kind="tcp")
    forwarder, port = fleet.forward(stack.server, endpoint)
    yield Line(stack, agent, forwarder, port)
    forwarder.stop()
    agent.stop()


def echo(wire: Wire) -> None:
    while data := wire.receive():
        wire.send(data)


@pytest.fixture(scope="module")
def echo_service() -> Iterator[Service]:
    with service(echo) as running:
        yield running


@pytest.fixture(scope="module")
def shared_line(shared_fleet: Fleet, shared_stack: Stack, echo_service: Service) -> Iterator[Line]:
    with line_to(shared_fleet, shared_stack, echo_service.port) as line:
        yield line


@pytest.fixture
def line(stack: Stack, shared_line: Line) -> Line:
    return shared_line


def test_a_conversation(line: Line) -> None:
    with dial(line.port) as wire:
        for size in (1, 2, 1000, 65_536, 1):
            data = os.urandom(size)
            wire.send(data)
            assert wire.receive_exactly(size) == data


def test_the_clients_end_passes_through(line: Line) -> None:
    with dial(line.port) as wire:
        wire.send(b"question")
        wire.send_eof()
        assert wire.receive_rest() == b"question"


def test_large_transfers_both_ways_at_once(line: Line) -> None:
    """More goes out than fits into all buffers on the way, while as much comes back."""
    processes = (line.stack.server.process, line.agent, line.forwarder)
    for process in processes:
        process.reset_peak()
    piece = os.urandom(MIB)
    with dial(line.port) as wire:

        def send() -> None:
            for _ in range(LARGE_BYTES // MIB):
                wire.send(piece)
            wire.send_eof()

        sender = threading.Thread(target=send)
        sender.start()
        digest = hashlib.sha256()
        while data := wire.receive():
            digest.update(data)
        sender.join()
    assert digest.digest() == hashlib.sha256(piece * (LARGE_BYTES // MIB)).digest()
    for process in processes:
        assert process.peak_bytes() < 80 * MIB


def test_fifty_connections_at_once(line: Line) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(dial(line.port)) for _ in range(50)]
        for number, wire in enumerate(wires):
            wire.send(b"%04d" % number * 5000)
        for number, wire in enumerate(wires):
            assert wire.receive_exactly(20_000) == b"%04d" % number * 5000


def test_the_service_answers_after_the_clients_end(fleet: Fleet, stack: Stack) -> None:
    """As with ``nc -N``: the question is known to be whole only when the client has ended its side."""

    def answer(wire: Wire) -> None:
        question = wire.receive_rest()
        wire.send(hashlib.sha256(question).digest() + bytes(MIB))

    with service(answer) as running, line_to(fleet, stack, running.port) as line, dial(line.port) as wire:
        question = os.urandom(MIB)
        wire.send(question)
        wire.send_eof()
        assert wire.receive_rest() == hashlib.sha256(question).digest() + bytes(MIB)


def test_the_service_ends_first(fleet: Fleet, stack: Stack) -> None:
    """The client sees the end of stream after all bytes, and can still send."""
    received: queue.Queue[bytes] = queue.Queue()

    def greet(wire: Wire) -> None:
        wire.send(b"goodbye" * 100_000)
        wire.send_eof()
        received.put(wire.receive_rest())

    with service(greet) as running, line_to(fleet, stack, running.port) as line, dial(line.port) as wire:
        assert wire.receive_rest() == b"goodbye" * 100_000
        wire.send(b"last words")
        wire.send_eof()
        assert received.get(timeout=10) == b"last words"


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_reset_passes_through(fleet: Fleet, stack: Stack, who: str) -> None:
    """Nobody may take a connection that broke for one that ended."""
    seen: queue.Queue[str] = queue.Queue()

    def serve(wire: Wire) -> None:
        wire.send(wire.receive_exactly(5))
        if who == "service":
            wire.receive_exactly(1)
            wire.reset()
            return
        try:
            wire.receive_rest()
            seen.put("end")
        except ConnectionResetError:
            seen.put("reset")

    with service(serve) as running, line_to(fleet, stack, running.port) as line, dial(line.port) as wire:
        wire.send(b"hello")
        assert wire.receive_exactly(5) == b"hello"
        if who == "client":
            wire.reset()
            assert seen.get(timeout=10) == "reset"
        else:
            wire.send(b"!")
            with pytest.raises(ConnectionResetError):
                wire.receive_rest()


def test_a_refused_service(fleet: Fleet, stack: Stack) -> None:
    with reserved_port() as nobody, line_to(fleet, stack, nobody) as line:
        with dial(line.port) as wire:
            wire.send(b"anybody there?")
            with pytest.raises(ConnectionError):
                assert wire.receive_rest() == b"something"
        record = line.agent.await_log("cannot reach the service")
        assert (record["reason"], record["addr"]) == ("connection refused", f"localhost:{nobody}")


def test_an_endpoint_without_an_agent(fleet: Fleet, stack: Stack) -> None:
    forwarder, port = fleet.forward(stack.server, "nobody")
    with dial(port) as wire, pytest.raises(ConnectionResetError):
        wire.receive_rest()
    record = forwarder.await_log("cannot reach the endpoint")
    assert record["reason"] == "the server refused: 502 no available upstreams"


def test_a_server_that_is_not_there(fleet: Fleet) -> None:
    with reserved_port() as nobody:
        url = f"http://127.0.0.1:{nobody}"
        forwarder = fleet.start("forward", "tcp", "127.0.0.1:0", "e", "--connect.url", url)
        with dial(forwarder.port("forward")) as wire, pytest.raises(ConnectionResetError):
            wire.receive_rest()
        record = forwarder.await_log("cannot reach the endpoint")
        assert record["reason"] == "cannot reach the server: connection refused"


def test_a_client_that_reads_nothing_stalls_only_itself(fleet: Fleet, stack: Stack) -> None:
    """Its bytes wait at the service, and its neighbours in the same tunnel go on."""

    def flood(wire: Wire) -> None:
        if wire.receive_exactly(1) == b"f":
            with contextlib.suppress(ConnectionError, TimeoutError):
                while True:
                    wire.send(bytes(65_536))
        echo(wire)

    with service(flood) as running, line_to(fleet, stack, running.port) as line:
        with contextlib.ExitStack() as wires:
            for _ in range(5):
                wires.enter_context(dial(line.port)).send(b"f")
            other = wires.enter_context(dial(line.port))
            other.send(b"e")
            for _ in range(200):
                other.send(b"ping")
                assert other.receive_exactly(4) == b"ping"
            for process in (stack.server.process, line.agent, line.forwarder):
                assert process.resident_bytes() < 80 * MIB


def test_a_plain_websocket_client_on_the_tcp_route(stack: Stack, line: Line) -> None:
    """Somebody else's WebSocket library is welcome on the TCP route."""
    websockets = pytest.importorskip("websockets.sync.client")
    endpoint = line.agent.arguments[2]
    url = f"ws://127.0.0.1:{stack.port}/_pico/v1/tcp/{endpoint}"
    with websockets.connect(url, compression=None) as connection:
        connection.send(b"hello")
        assert connection.recv() == b"hello"
        connection.send([b"in ", b"frag", b"ments"])
        received = b""
        while len(received) < 12:
            received += connection.recv()
        assert received == b"in fragments"
