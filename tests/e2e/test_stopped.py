"""A process that was stopped beyond a time limit reads what came meanwhile before it judges who is late."""

import signal
import threading
import time

import pytest

from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin, Visit
from tests.e2e.wire import dial, receive_response, request_bytes
from tests.waiting import PATIENCE_S

LIMIT_S = 2.0


@pytest.mark.parametrize("stopped", ["agent", "server"])
def test_an_answer_that_came_while_a_process_was_stopped_counts(fleet: Fleet, origin: Origin, stopped: str) -> None:
    asked, answered, may_answer = threading.Event(), threading.Event(), threading.Event()

    def answer(visit: Visit) -> None:
        asked.set()
        assert may_answer.wait(PATIENCE_S)
        visit.respond(b"in time")
        answered.set()

    path = origin.handle(answer)
    limit = f"{LIMIT_S:g}s"
    server = fleet.server(*(("--proxy.timeout", limit) if stopped == "server" else ()))
    agent = fleet.agent(server, "origin", origin.port, *(("--timeout", limit) if stopped == "agent" else ()))
    process = agent if stopped == "agent" else server.process
    with dial(server.proxy_port) as client:
        client.send(request_bytes("origin", path))
        assert asked.wait(PATIENCE_S)
        process.signal(signal.SIGSTOP)
        may_answer.set()
        assert answered.wait(PATIENCE_S)
        time.sleep(LIMIT_S + 0.5)  # the limit passes
        process.signal(signal.SIGCONT)
        head, body = receive_response(client)
    assert (head.status, body) == (200, b"in time")


def test_a_forwarder_that_was_stopped_finds_the_answer_of_the_server(fleet: Fleet, origin: Origin) -> None:
    server = fleet.server()
    fleet.agent(server, "origin", origin.port, kind="tcp")
    forwarder, port = fleet.forward(server, "origin", "--connect.timeout", f"{LIMIT_S:g}s")
    server.process.signal(signal.SIGSTOP)
    with dial(port) as client:
        client.send(request_bytes("origin", "/describe"))
        time.sleep(LIMIT_S / 2)
        forwarder.signal(signal.SIGSTOP)
        server.process.signal(signal.SIGCONT)
        time.sleep(LIMIT_S)
        forwarder.signal(signal.SIGCONT)
        assert receive_response(client)[0].status == 200
    assert LOCAL in forwarder.errors()
