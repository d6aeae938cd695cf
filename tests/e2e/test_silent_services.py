"""A service that accepts connections and never ends the TLS handshake, beside one that works."""

import socket
import time

import pytest

from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Visit, service
from tests.e2e.wire import Wire, request

LIMIT_S = 2.0


def answers(wire: Wire) -> None:
    while True:
        Visit(wire, wire.receive_head()).respond(b"ok")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_handshake_is_in_the_time_limit_and_the_agent_is_avoided_then(fleet: Fleet, method: str) -> None:
    """Nothing of the request was sent, so the other agent gets it, also one that must not be repeated."""
    with service(answers) as works, socket.create_server((LOCAL, 0)) as silent:
        server = fleet.server()
        fleet.agent(server, "shared", works.port)
        fleet.agent(server, "shared", f"https://{LOCAL}:{silent.getsockname()[1]}", "--timeout", f"{LIMIT_S:g}s")
        took_s = []
        for _ in range(30):
            began_at = time.monotonic()
            head, body = request(server.proxy_port, "shared", method=method, body=b"x" if method == "POST" else b"")
            took_s.append(time.monotonic() - began_at)
            assert (head.status, body) == (200, b"ok")
        (waited_s,) = [each for each in took_s if each > LIMIT_S / 2]
        assert LIMIT_S - 0.1 < waited_s < LIMIT_S + 1.0
