"""Row 9: more event streams on one endpoint than one tunnel carries: they are served, or refused with a reason."""

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.harness import LOCAL, Fleet, Server
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import Head, Wire, dial, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

STREAMS = 1_100
LIMIT = 1_024


@contextlib.contextmanager
def event_service() -> Iterator[tuple[Origin, str]]:
    """A service whose events never end, until the test does."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    origin, over = Origin(), threading.Event()

    def events(visit: Visit) -> None:
        visit.begin("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
        visit.chunk(b"data: first\n\n")
        over.wait(60 + PATIENCE_S)
        with contextlib.suppress(OSError):
            visit.chunk(b"")

    try:
        yield origin, origin.handle(events)
    finally:
        over.set()
        origin.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def open_stream(stack: contextlib.ExitStack, port: int, path: str, address: str = LOCAL) -> tuple[Wire, Head]:
    """Ask for the events from a client's address; return the connection and the head of the answer."""
    wire = stack.enter_context(Wire(socket.create_connection((LOCAL, port), PATIENCE_S, (address, 0))))
    wire.send(request_bytes("events", path))
    return wire, wire.receive_head()


def metric(server: Server, name: str) -> float:
    with dial(server.admin_port) as wire:
        wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        lines = receive_response(wire)[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("permitted", [2, 30, 100])
def test_an_agent_grows_by_what_its_server_permits(fleet: Fleet, permitted: int) -> None:
    """One client opens four times what a tunnel carries, one stream after the other."""
    server = fleet.server("--upstream.max-streams", str(permitted))
    with event_service() as (origin, path), contextlib.ExitStack() as stack:
        fleet.agent(server, "events", origin.port)
        for number in range(4 * permitted):
            assert open_stream(stack, server.proxy_port, path)[1].status == 200, number
        assert metric(server, 'pico_proxy_failures_total{reason="busy"}') == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_eleven_hundred_event_streams_with_one_agent(fleet: Fleet) -> None:
    """The agent opens a further tunnel before the first one is full."""
    server = fleet.server()
    with event_service() as (origin, path), contextlib.ExitStack() as stack:
        fleet.agent(server, "events", origin.port)
        for number in range(STREAMS):
            _, head = open_stream(stack, server.proxy_port, path, f"127.0.0.{2 + number % 50}")
            assert head.status == 200, number
        assert metric(server, 'pico_proxy_failures_total{reason="busy"}') == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_second_agent_takes_over_where_the_first_one_is_full(fleet: Fleet) -> None:
    server = fleet.server()
    with event_service() as (origin, path), contextlib.ExitStack() as stack:
        fleet.agent(server, "events", origin.port, "--max-streams", str(LIMIT))
        answers = []
        for number in range(STREAMS):
            _, head = open_stream(stack, server.proxy_port, path, f"127.0.0.{2 + number % 50}")
            answers.append((head.status, head["retry-after"]))
        served = answers.count((200, ""))
        assert answers.count((503, "1")) == STREAMS - served
        assert LIMIT * 7 // 8 <= served <= LIMIT
        assert answers[: LIMIT * 7 // 8] == [(200, "")] * (LIMIT * 7 // 8)
        assert metric(server, 'pico_proxy_failures_total{reason="busy"}') == STREAMS - served
        server.process.await_log("no tunnel can take more requests", endpoint="events")
        fleet.agent(server, "events", origin.port)
        wait_until(lambda: metric(server, "pico_upstreams_connected_upstreams") >= 2, "the second tunnel")
        for number in range(STREAMS - served):
            assert open_stream(stack, server.proxy_port, path, f"127.0.0.{2 + number % 50}")[1].status == 200
