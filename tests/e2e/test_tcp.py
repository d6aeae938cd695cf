"""TCP through a forwarder, a server and an agent: bytes, ends and refusals arrive as if it were one connection."""

import contextlib
import hashlib
import os
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import Stack
from tests.e2e.harness import LOCAL, MIB, Fleet, Process
from tests.e2e.origin import Origin, service
from tests.e2e.wire import Wire, dial
from tests.waiting import PATIENCE_S

LARGE_BYTES = 50 * MIB

GOODBYE = b"goodbye" * 100_000

seen: queue.Queue[bytes] = queue.Queue()
"""How a service saw its client end."""


def echo(wire: Wire) -> None:
    while data := wire.receive():
        wire.send(data)


def answer(wire: Wire) -> None:
    """Answer only when the client has ended its side, as services for ``nc -N`` do."""
    question = wire.receive_rest()
    wire.send(hashlib.sha256(question).digest() + bytes(MIB))


def greet(wire: Wire) -> None:
    """Send first, end first, and still receive."""
    wire.send(GOODBYE)
    wire.send_eof()
    seen.put(wire.receive_rest())


def fragile(wire: Wire) -> None:
    """Reset the connection when asked to, else wait for the client to do so."""
    if wire.receive_exactly(1) == b"!":
        wire.reset()
        return
    wire.send(b"?")
    try:
        seen.put(b"end" + wire.receive_rest())
    except ConnectionResetError:
        seen.put(b"reset")


def flood(wire: Wire) -> None:
    """Send without end to a client that asks for it; be an echo for others."""
    if wire.receive_exactly(1) == b"f":
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                wire.send(bytes(65_536))
    echo(wire)


SERVICES = {"echo": echo, "answer": answer, "greet": greet, "fragile": fragile, "flood": flood}


@dataclass
class Lines:
    """Local ports that lead to the services through the tunnel; behind ``unused`` nothing listens."""

    stack: Stack
    agent: Process
    forwarder: Process
    ports: dict[str, int]

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.stack.server.process, self.agent, self.forwarder)


@pytest.fixture(scope="module")
def shared_lines(shared_fleet: Fleet, shared_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    """One agent and one forwarder for all services, from configuration files."""
    folder = tmp_path_factory.mktemp("tcp")
    server = shared_stack.server
    with contextlib.ExitStack() as opened:
        addresses = {name: opened.enter_context(service(serve)).port for name, serve in SERVICES.items()}
        addresses["unused"] = shared_fleet.reserve_port()
        listeners, ports = ["listeners:"], ["ports:"]
        for name, address in addresses.items():
            listeners.append(f"- {{endpoint_id: tcp-{name}, addr: '{LOCAL}:{address}', protocol: tcp, timeout: 2s}}")
            ports.append(f"- {{addr: '{LOCAL}:0', endpoint_id: tcp-{name}}}")
        (folder / "agent.yaml").write_text("\n".join(listeners))
        (folder / "forward.yaml").write_text("\n".join(ports))
        agent = shared_fleet.start(
            "agent",
            "start",
            f"--config.path={folder}/agent.yaml",
            f"--connect.url=http://{LOCAL}:{server.upstream_port}",
        )
        forwarder = shared_fleet.start(
            "forward",
            "start",
            f"--config.path={folder}/forward.yaml",
            f"--connect.url=http://{LOCAL}:{server.proxy_port}",
        )
        listening = {}
        for name in addresses:
            agent.await_log("endpoint registered", endpoint=f"tcp-{name}")
            record = forwarder.await_log("listening", endpoint=f"tcp-{name}")
            listening[name] = int(record["addr"].rpartition(":")[2])
        yield Lines(shared_stack, agent, forwarder, listening)
        forwarder.stop()
        agent.stop()


@pytest.fixture
def lines(stack: Stack, shared_lines: Lines) -> Lines:
    return shared_lines


def test_a_conversation(lines: Lines) -> None:
    with dial(lines.ports["echo"]) as wire:
        for size in (1, 2, 1000, 65_536, 1):
            data = os.urandom(size)
            wire.send(data)
            assert wire.receive_exactly(size) == data


def test_the_clients_end_passes_through(lines: Lines) -> None:
    with dial(lines.ports["echo"]) as wire:
        wire.send(b"question")
        wire.send_eof()
        assert wire.receive_rest() == b"question"


def test_large_transfers_both_ways_at_once(lines: Lines) -> None:
    """More goes out than fits into all buffers on the way, while as much comes back."""
    for process in lines.processes:
        process.reset_peak()
    piece = os.urandom(MIB)
    with dial(lines.ports["echo"]) as wire:

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
    for process in lines.processes:
        assert process.peak_bytes() < 80 * MIB


def test_fifty_connections_at_once(lines: Lines) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(dial(lines.ports["echo"])) for _ in range(50)]
        for number, wire in enumerate(wires):
            wire.send(b"%04d" % number * 5000)
        for number, wire in enumerate(wires):
            assert wire.receive_exactly(20_000) == b"%04d" % number * 5000


def test_the_service_answers_after_the_clients_end(lines: Lines) -> None:
    with dial(lines.ports["answer"]) as wire:
        question = os.urandom(MIB)
        wire.send(question)
        wire.send_eof()
        assert wire.receive_rest() == hashlib.sha256(question).digest() + bytes(MIB)


def test_the_service_speaks_and_ends_first(lines: Lines) -> None:
    """The client sees the end of stream after all bytes, and can still send."""
    with dial(lines.ports["greet"]) as wire:
        assert wire.receive_rest() == GOODBYE
        wire.send(b"last words")
        wire.send_eof()
        assert seen.get(timeout=PATIENCE_S) == b"last words"


def test_a_reset_by_the_client_passes_through(lines: Lines) -> None:
    """A connection that broke must not look like one that ended."""
    with dial(lines.ports["fragile"]) as wire:
        wire.send(b"?")
        assert wire.receive_exactly(1) == b"?"
        wire.reset()
        assert seen.get(timeout=PATIENCE_S) == b"reset"


def test_a_reset_by_the_service_passes_through(lines: Lines) -> None:
    with dial(lines.ports["fragile"]) as wire:
        wire.send(b"!")
        with pytest.raises(ConnectionResetError):
            wire.receive_rest()


def assert_reset(port: int) -> None:
    """A client is reset, sometimes before it has noticed that it was connected."""
    with pytest.raises(ConnectionResetError), dial(port) as wire:
        wire.receive_rest()


def test_a_refused_service(lines: Lines) -> None:
    assert_reset(lines.ports["unused"])
    record = lines.agent.await_log("cannot reach the service", endpoint="tcp-unused")
    assert (record["level"], record["reason"]) == ("warning", "connection refused")


def test_an_endpoint_without_an_agent(fleet: Fleet, stack: Stack) -> None:
    forwarder, port = fleet.forward(stack.server, "unknown")
    assert_reset(port)
    record = forwarder.await_log("cannot reach the endpoint")
    assert record["reason"] == "the server refused: 502 no available upstreams (no-tunnel)"


def test_the_way_is_looked_at_when_the_port_opens(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    fleet.agent(server, "web", origin.port)
    http, _ = fleet.forward(server, "web")
    found = http.await_log("the endpoint cannot be reached now", endpoint="web", level="warning")
    assert found["reason"].endswith("404 The endpoint takes HTTP requests and no TCP connections. (http-endpoint)")
    forwarder, _ = fleet.forward(server, "db")
    found = forwarder.await_log("the endpoint cannot be reached now", endpoint="db", level="warning")
    assert found["reason"] == "the server refused: 502 No agent serves this endpoint at present. (no-tunnel)"
    with socket.create_server((LOCAL, 0)) as service:
        fleet.agent(server, "db", service.getsockname()[1], kind="tcp")
        forwarder.await_log("the endpoint can be reached", endpoint="db", level="info")
        service.settimeout(0.2)
        with pytest.raises(TimeoutError):
            service.accept()


@pytest.mark.parametrize(("port", "hint"), [("upstream", "agents connect to"), ("admin", "not found")])
def test_a_forwarder_at_the_wrong_port(fleet: Fleet, port: str, hint: str) -> None:
    server = fleet.server()
    url = f"http://{LOCAL}:{server.process.port(port)}"
    forwarder = fleet.start("forward", "tcp", f"{LOCAL}:0", "e", "--connect.url", url)
    reason = forwarder.await_log("the endpoint cannot be reached now")["reason"]
    assert hint in reason
    assert reason.endswith("forwarders connect to the proxy port, 8000 by default")


def test_a_server_that_is_not_there(fleet: Fleet) -> None:
    url = f"http://{LOCAL}:{fleet.reserve_port()}"
    limit = ("--connect.timeout", "1s")
    forwarder = fleet.start("forward", "tcp", f"{LOCAL}:0", "e", "--connect.url", url, *limit)
    assert_reset(forwarder.port("forward"))
    record = forwarder.await_log("cannot reach the endpoint")
    assert "connection refused" in record["reason"]


def test_a_client_that_reads_nothing_stalls_only_itself(lines: Lines) -> None:
    """Its bytes wait at the service, and its neighbours in the same tunnel go on."""
    with contextlib.ExitStack() as wires:
        for _ in range(5):
            wires.enter_context(dial(lines.ports["flood"])).send(b"f")
        other = wires.enter_context(dial(lines.ports["flood"]))
        other.send(b"e")
        for _ in range(200):
            other.send(b"ping")
            assert other.receive_exactly(4) == b"ping"
        for process in lines.processes:
            assert process.resident_bytes() < 80 * MIB


def test_a_plain_websocket_client_on_the_tcp_route(lines: Lines) -> None:
    """A WebSocket library can use the TCP route as well."""
    url = f"ws://{LOCAL}:{lines.stack.port}/_pico/v1/tcp/tcp-echo"
    with connect(url, compression=None) as connection:
        connection.send(b"hello")
        assert connection.recv() == b"hello"
        connection.send([b"in ", b"frag", b"ments"])
        received = b""
        while len(received) < 12:
            piece = connection.recv()
            assert isinstance(piece, bytes)
            received += piece
        assert received == b"in fragments"
