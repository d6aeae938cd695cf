"""More peers than a server has descriptors for: operators, agents and new clients are served all the same."""

import contextlib
import resource

from tests.e2e.harness import MIB, Fleet
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, dial, request, request_bytes
from tests.waiting import wait_until

DESCRIPTORS = 256
CLIENTS = 400


def idle_clients(stack: contextlib.ExitStack, port: int) -> list[Wire]:
    """Return so many clients, each of which had a response and keeps its connection."""
    clients = []
    for _ in range(CLIENTS):
        wire = stack.enter_context(dial(port))
        wire.send(request_bytes("origin", "/describe"))
        head = wire.receive_head()
        assert head.status == 200
        wire.receive_body(head)
        clients.append(wire)
    return clients


def is_healthy(port: int) -> bool:
    """Return whether ``/health`` answers while all clients stay."""
    with dial(port) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return wire.receive_head().status == 200


def test_idle_clients_make_room(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server(descriptors=DESCRIPTORS)
    agent = fleet.agent(server, "origin", origin.port)
    with contextlib.ExitStack() as stack:
        clients = idle_clients(stack, server.proxy_port)
        assert is_healthy(server.admin_port)
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        agent.stop()
        fleet.agent(server, "origin", origin.port)
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        assert clients[0].receive_rest() == b""
        assert not clients[-1].has_data()
    assert len(server.process.logged("no place for more connections")) == 1


def test_a_limit_that_is_lower_than_the_server_knows_is_survived(fleet: Fleet, origin: Origin) -> None:
    """The system refuses descriptors that the server counts on: each listener rests, and idle clients are closed."""
    server = fleet.server()
    fleet.agent(server, "origin", origin.port)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with contextlib.ExitStack() as stack:
        idle_clients(stack, server.proxy_port)
        assert is_healthy(server.admin_port)
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        fleet.agent(server, "other", origin.port)
    assert len(server.process.logged("cannot accept connections")) == 1


def test_unfinished_heads_take_little_memory(fleet: Fleet, origin: Origin) -> None:
    """300 clients send all but the end of a head of 1 MB; 16 MiB of all that is kept, and no part of it afterwards."""
    server = fleet.server()
    fleet.agent(server, "origin", origin.port)
    process = server.process
    assert request(server.proxy_port, "origin", "/describe")[0].status == 200
    resident_bytes = process.resident_bytes()
    process.reset_peak()
    head = b"GET / HTTP/1.1\r\nHost: origin\r\n" + (b"x: " + b"a" * 60_000 + b"\r\n") * 17
    answered = 0
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dial(server.proxy_port)) for _ in range(300)]
        for wire in clients:
            with contextlib.suppress(ConnectionError):
                wire.send(head)
        for wire in clients[:200]:
            with contextlib.suppress(ConnectionResetError):
                assert wire.receive_head().status in (408, 503)  # 408: the server had read less of it than of others
                answered += 1
        assert request(server.proxy_port, "origin", "/describe")[0].status == 200
        assert process.peak_bytes() - resident_bytes < 48 * MIB
    assert answered > 150
    wait_until(lambda: process.resident_bytes() - resident_bytes < 32 * MIB, "the memory is given back")


def test_clients_at_once_are_served_or_told(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server(descriptors=DESCRIPTORS)
    fleet.agent(server, "origin", origin.port)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dial(server.proxy_port)) for _ in range(CLIENTS)]
        for wire in clients:
            with contextlib.suppress(ConnectionError):
                wire.send(b"GET / HT")
        wait_until(lambda: server.process.logged("no place for more connections"), "the limit is reached")
        assert is_healthy(server.admin_port)
        fleet.agent(server, "other", origin.port)
