"""Starting, stopping, restarting: no request is lost, no process is started twice, every process leaves with 0."""

import contextlib
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.harness import AT_ONCE_S, LOCAL, MIB, Fleet, Server
from tests.e2e.origin import Origin, Visit, large, service
from tests.e2e.relay import pump
from tests.e2e.wire import Wire, dial, receive_response, request, request_bytes
from tests.waiting import PATIENCE_S, wait_until


class Held:
    """A handler whose answer waits for ``let_go``; ``arrived`` says that the request is at the origin."""

    def __init__(self, origin: Origin, answer: Callable[[Visit], None]) -> None:
        self.arrived: queue.Queue[None] = queue.Queue()
        self.let_go = threading.Event()

        def held(visit: Visit) -> None:
            visit.body()
            self.arrived.put(None)
            assert self.let_go.wait(PATIENCE_S)
            answer(visit)

        self.path = origin.handle(held)


def short(visit: Visit) -> None:
    visit.respond(b"late, and whole")


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_agents_register_again_after_a_restart_of_the_server(fleet: Fleet, origin: Origin, end: str) -> None:
    proxy_port, upstream_port = fleet.reserve_port(), fleet.reserve_port()
    server = fleet.server(proxy_port=proxy_port, upstream_port=upstream_port)
    agent = fleet.agent(server, "origin", origin.port)
    tcp = fleet.agent(server, "tcp", origin.port, kind="tcp")
    assert request(server.proxy_port, "origin", "/describe")[0].status == 200
    marks = agent.mark(), tcp.mark()
    gone_at = time.monotonic()
    server.process.stop() if end == "stop" else server.process.kill()
    agent.await_log("cannot reach the server: connection refused", since=marks[0])
    again = fleet.server(proxy_port=proxy_port, upstream_port=upstream_port)
    back_at = time.monotonic()
    agent.await_log("endpoint registered", since=marks[0])
    tcp.await_log("endpoint registered", since=marks[1])
    assert time.monotonic() - back_at < AT_ONCE_S + 2 * (back_at - gone_at)  # the back-off may have grown to this
    assert request(again.proxy_port, "origin", "/describe")[0].status == 200


def test_an_agent_started_before_the_server(fleet: Fleet, origin: Origin) -> None:
    port = fleet.reserve_port()
    agent = fleet.agent(port, "origin", origin.port)
    agent.await_log("cannot reach the server: connection refused")
    server = fleet.server(upstream_port=port)
    agent.await_log("endpoint registered")
    assert request(server.proxy_port, "origin", "/describe")[0].status == 200


def test_a_tunnel_that_is_cut_without_a_word(fleet: Fleet, origin: Origin) -> None:
    """A balancer between the two resets the connection: the agent is back at once, and its old tunnel forgotten."""
    server = fleet.server()
    tunnels: list[Wire] = []

    def relay(wire: Wire) -> None:
        tunnels.append(wire)
        with dial(server.upstream_port) as upstream:
            tunnels.append(upstream)
            threading.Thread(target=pump, args=(upstream, wire), daemon=True).start()
            pump(wire, upstream)

    with service(relay) as balancer:
        agent = fleet.agent(balancer.port, "origin", origin.port)
        agent.await_log("endpoint registered")
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        mark = agent.mark()
        for wire in tunnels[:2]:
            with contextlib.suppress(OSError):  # the end of one may have ended the other already
                wire.reset()
        agent.await_log("tunnel lost", since=mark)
        agent.await_log("endpoint registered", since=mark)
        for _ in range(10):
            assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        agent.stop()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_an_agent_pointed_at_the_proxy_port(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    agent = fleet.agent(server.proxy_port, "origin", origin.port)
    told = agent.await_log("the server refused: 400")["message"]
    assert (
        told == "the server refused: 400 missing endpoint id (no-endpoint); is connect.url that of its upstream port?"
    )
    agent.stop()


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests", "500 Internal Server Error"])
def test_a_refusal_that_may_pass(fleet: Fleet, origin: Origin, status: str) -> None:
    def refuse(wire: Wire) -> None:
        wire.receive_head()
        body = b'{"error": "not now"}'
        wire.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with service(refuse) as balancer:
        agent = fleet.agent(balancer.port, "origin", origin.port)
        record = agent.await_log("the server refused")
        assert record["message"] == f"the server refused: {status[:3]} not now"
        wait_until(lambda: balancer.connections >= 3, "the agent tries again")
        agent.stop()


@pytest.mark.parametrize("field", ["x-pico-refused: final\r\n", ""])
def test_a_refusal_for_good(fleet: Fleet, origin: Origin, field: str) -> None:
    """A Pico server marks it; Piko's is known by its text."""

    def refuse(wire: Wire) -> None:
        wire.receive_head()
        body = b'{"error": "invalid token"}'
        wire.send(f"HTTP/1.1 401 Unauthorized\r\n{field}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    with service(refuse) as balancer:
        agent = fleet.agent(balancer.port, "origin", origin.port)
        assert agent.wait() == 1
    (reason,) = agent.last_words()
    assert "refused endpoint 'origin': 401 invalid token" in reason


def test_a_server_of_another_protocol(fleet: Fleet, origin: Origin) -> None:
    def babble(wire: Wire) -> None:
        wire.receive_head()
        wire.send(b"220 mail.example.com ESMTP\r\n\r\n")

    with service(babble) as babbler:
        agent = fleet.agent(babbler.port, "origin", origin.port)
        assert agent.await_log("cannot reach")["message"] == "cannot reach the server: the answer is not HTTP/1.1"
        agent.stop()


# --- the server stops ------------------------------------------------------------------------------------------------


def test_the_server_finishes_what_is_in_flight(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server("--drain-delay", "0s", "--grace-period", "20s")
    fleet.agent(server, "origin", origin.port)
    held = Held(origin, short)
    with dial(server.proxy_port) as wire:
        wire.send(request_bytes("origin", held.path))
        held.arrived.get(timeout=PATIENCE_S)
        server.process.signal()
        server.process.await_log("draining")
        assert admin(server, "/ready")[0] == 503
        # Clients learn late: a new request still works, and is asked to look elsewhere.
        head, _ = request(server.proxy_port, "origin", "/describe")
        assert (head.status, head["connection"]) == (200, "close")
        held.let_go.set()
        head, body = receive_response(wire)
        assert (head.status, body, head["connection"]) == (200, b"late, and whole", "close")
        assert wire.receive_rest() == b""
    assert server.process.wait() == 0
    server.process.await_log("stopped", in_flight=0)


def test_an_idle_server_stops_after_the_drain_delay(fleet: Fleet) -> None:
    server = fleet.server("--drain-delay", "1s")
    with dial(server.proxy_port):  # an idle connection does not hold it
        began_at = time.monotonic()
        server.process.signal()
        assert server.process.wait() == 0
        assert time.monotonic() - began_at >= 1


def test_the_grace_period_is_the_longest_a_stop_takes(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server("--drain-delay", "0s", "--grace-period", "2s")
    fleet.agent(server, "origin", origin.port)
    held = Held(origin, short)
    with dial(server.proxy_port) as wire:
        wire.send(request_bytes("origin", held.path))
        held.arrived.get(timeout=PATIENCE_S)
        server.process.signal()
        assert server.process.wait() == 0, "the request would never end"
        assert receive_response(wire)[0].status == 502
        held.let_go.set()


def test_a_second_signal_stops_the_server_at_once(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server("--drain-delay", f"{10 * PATIENCE_S:g}s", "--grace-period", f"{20 * PATIENCE_S:g}s")
    server.process.signal()
    server.process.await_log("draining")
    server.process.signal(signal.SIGINT)
    assert server.process.wait() == 1
    assert server.process.last_words() == ["stopped at once by a second signal"]


def admin(server: Server, path: str) -> tuple[int, bytes]:
    with dial(server.admin_port) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        head, body = receive_response(wire)
        return head.status, body


def test_health_and_readiness(fleet: Fleet) -> None:
    server = fleet.server()
    assert [admin(server, path)[0] for path in ("/health", "/ready", "/nothing")] == [200, 200, 404]


# --- the agent stops -------------------------------------------------------------------------------------------------


def test_the_agent_finishes_a_slow_download(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "origin", origin.port)

    with dial(server.proxy_port) as wire:
        wire.send(request_bytes("origin", origin.handle(large)))
        head = wire.receive_head()
        wire.receive_exactly(MIB)
        agent.signal()
        agent.await_log("draining")
        # The server sends nothing new to it, and the download in flight goes on.
        wait_until(lambda: request(server.proxy_port, "origin", "/describe")[0].status == 502, "the server knows of it")
        assert agent.alive
        assert len(wire.receive_exactly(19 * MIB)) == 19 * MIB
        assert head.status == 200
    assert agent.wait() == 0
    assert agent.logged("stopped")


def test_requests_never_fail_while_agents_are_replaced(fleet: Fleet, origin: Origin) -> None:
    """A rolling update of the agents of one endpoint, under load: not one request is lost, POST included."""
    server = fleet.server()
    agents = [fleet.agent(server, "origin", origin.port) for _ in range(2)]
    statuses: list[int] = []
    failures: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        try:
            with dial(server.proxy_port) as wire:
                while not done.is_set():
                    wire.send(request_bytes("origin", "/describe", "POST", body=b"body"))
                    statuses.append(receive_response(wire)[0].status)
        except Exception as error:  # noqa: BLE001 - the test's own thread asks for it
            failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(2):
        agents.append(fleet.agent(server, "origin", origin.port))
        agents.pop(0).stop()
    done.set()
    for client in clients:
        client.join()
    assert not failures
    assert len(statuses) > 100
    assert set(statuses) == {200}


def test_a_tcp_agent_finishes_its_connections(fleet: Fleet) -> None:
    def echo(wire: Wire) -> None:
        while data := wire.receive():
            wire.send(data)

    server = fleet.server()
    with service(echo) as running:
        agent = fleet.agent(server, "tcp", running.port, kind="tcp")
        _, port = fleet.forward(server, "tcp")
        with dial(port) as wire:
            wire.send(b"hello")
            assert wire.receive_exactly(5) == b"hello"
            agent.signal()
            agent.await_log("draining")
            wire.send(b"still there?")
            assert wire.receive_exactly(12) == b"still there?"
            assert agent.alive
            wire.send_eof()
            assert wire.receive_rest() == b""
        assert agent.wait() == 0


def test_the_grace_period_of_an_agent(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "origin", origin.port, "--grace-period", "1s")
    held = Held(origin, short)
    with dial(server.proxy_port) as wire:
        wire.send(request_bytes("origin", held.path, "POST", body=b"x"))
        held.arrived.get(timeout=PATIENCE_S)
        agent.signal()
        assert agent.wait() == 0
        assert agent.logged("stopped with requests in flight")
        assert receive_response(wire)[0].status == 502
        held.let_go.set()


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_second_signal_stops_the_agent_at_once(fleet: Fleet, origin: Origin, kind: str) -> None:
    server = fleet.server()
    agent = fleet.agent(server, "origin", origin.port, kind=kind)
    held = Held(origin, short)
    _, port = (None, server.proxy_port) if kind == "http" else fleet.forward(server, "origin")
    with dial(port) as wire:
        wire.send(request_bytes("origin", held.path))
        held.arrived.get(timeout=PATIENCE_S)
        agent.signal()
        agent.await_log("draining")
        agent.signal()
        assert agent.wait(AT_ONCE_S) == 1
        assert agent.last_words() == ["stopped at once by a second signal"]
        held.let_go.set()


def test_a_forwarder_stops_at_once(fleet: Fleet) -> None:
    server = fleet.server()
    forwarder, port = fleet.forward(server, "unknown")
    with socket.create_server((LOCAL, 0)), dial(port):
        forwarder.signal()
        assert forwarder.wait(AT_ONCE_S) == 0
