"""Many clients that read slowly or not at all, through one tunnel: none is cut, and memory is bounded."""

import contextlib
import socket
import time

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import LOCAL, MIB
from tests.e2e.origin import Visit
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S

CLIENTS = 120
BODY_BYTES = 12 * MIB
SLICE_BYTES = 65_536
RECEIVE_BUFFER_BYTES = 16_384
"""Of the clients: what they have not read waits in Pico, and not in the kernel on their side."""


def slow_client(port: int) -> Wire:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    connection.connect((LOCAL, port))
    return Wire(connection)


def large(visit: Visit) -> None:
    visit.begin(f"Content-Length: {BODY_BYTES}\r\n")
    block = bytes(MIB)
    with contextlib.suppress(ConnectionError):  # of clients that leave
        for _ in range(BODY_BYTES // MIB):
            visit.wire.send(block)


@pytest.mark.slow
def test_no_slow_download_is_cut_and_memory_is_bounded(stack: Stack) -> None:
    path = stack.origin.handle(large)
    processes = (stack.server.process, stack.agent)
    for process in processes:
        process.reset_peak()
    held = [process.resident_bytes() for process in processes]
    with contextlib.ExitStack() as wires:
        clients = [wires.enter_context(slow_client(stack.port)) for _ in range(CLIENTS)]
        for client in clients:
            client.send(request_bytes("origin", path))
        for client in clients:
            client.receive_head()
        for _ in range(BODY_BYTES // SLICE_BYTES):  # each takes its slice and then waits for all the others
            for client in clients:
                assert client.receive_exactly(SLICE_BYTES) == bytes(SLICE_BYTES)
    grown = [(process.peak_bytes() - before) // MIB for process, before in zip(processes, held, strict=True)]
    print(f"grown by MiB: server, agent {grown}")
    assert max(grown) < 80


@pytest.mark.slow
def test_clients_that_do_not_read_leave_the_tunnel_to_others(stack: Stack) -> None:
    path = stack.origin.handle(large)
    with contextlib.ExitStack() as wires:
        for _ in range(CLIENTS):
            wires.enter_context(slow_client(stack.port)).send(request_bytes("origin", path))
        give_up_at = time.monotonic() + PATIENCE_S
        took_s = PATIENCE_S
        while took_s > 0.1:  # the rush ends, and the tunnel is as quick as before
            assert time.monotonic() < give_up_at
            began_at = time.monotonic()
            with Wire(socket.create_connection((LOCAL, stack.port), PATIENCE_S)) as other:
                other.send(request_bytes("origin", "/describe"))
                assert receive_response(other)[0].status == 200
            took_s = time.monotonic() - began_at
