"""Services that end connections early, answer early or oddly: what reaches the client, and how often they are asked."""

import contextlib
import socket
import struct

import pytest

from pico_core.proxy.request_id import MAX_PASSES
from tests.e2e.conftest import Stack
from tests.e2e.harness import MIB, Fleet
from tests.e2e.origin import HangUpError, Visit, service
from tests.e2e.wire import Head, Wire, dial, receive_response, request, request_bytes

ROUNDS = 40


def status_and_error(response: tuple[Head, bytes]) -> tuple[int, bytes]:
    """Return the status, and the body up to the reason and the ID that an error of Pico's own has."""
    head, body = response
    told, _, more = body.partition(b',"reason":')
    return head.status, told + b"}" if more else told


def ends_soon(wire: Wire) -> None:
    """Answer each request, and end the connection 1 ms after the first answer, whatever is on its way then."""
    Visit(wire, wire.receive_head()).respond(b"ok")
    wire.socket.settimeout(0.001)
    with contextlib.suppress(TimeoutError):
        Visit(wire, wire.receive_head()).respond(b"ok")
    raise HangUpError


@pytest.mark.parametrize("method", ["POST", "PATCH", "GET", "PUT"])
def test_a_service_that_ends_idle_connections_at_once(fleet: Fleet, method: str) -> None:
    with service(ends_soon) as running:
        server = fleet.server()
        fleet.agent(server, "soon", running.port)
        with dial(server.proxy_port) as wire:
            for _ in range(100):
                wire.send(request_bytes("soon", "/", method, body=b"x" if method != "GET" else b""))
                assert status_and_error(receive_response(wire, method)) == (200, b"ok")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "POST"])
def test_a_service_that_ends_a_new_connection_is_asked_once(stack: Stack, fleet: Fleet, method: str) -> None:
    asked = []

    def hang_up(wire: Wire) -> None:
        asked.append(wire.receive_head())
        raise HangUpError

    with service(hang_up) as running:
        fleet.agent(stack.server, f"ends-{method}", running.port)
        response = request(stack.port, f"ends-{method}", method=method)
        error = b'{"error":"the service closed the connection without a response"}'
        assert status_and_error(response) == (502, error)
        assert len(asked) == 1


INVALID = b'{"error":"the service\'s response was not valid HTTP: %b"}'


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\nContent-Length : 2\nA: b\n c\n\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0  \r\n\r\n", 200, b"ok"),
        (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 502, INVALID % b"malformed status line"),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", 502, INVALID % b"malformed header field"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nabc", 502,
         INVALID % b"malformed or repeated Content-Length"),
    ],
)  # fmt: skip
def test_a_service_that_answers_oddly(stack: Stack, fleet: Fleet, answer: bytes, status: int, body: bytes) -> None:
    asked = []

    def answers(wire: Wire) -> None:
        asked.append(wire.receive_head())
        wire.send(answer)
        assert not wire.receive(), "asked again"

    with service(answers) as running:
        agent = fleet.agent(stack.server, "odd", running.port)
        assert status_and_error(request(stack.port, "odd")) == (status, body)
        assert len(asked) == 1
        if status == 502:
            assert agent.await_log("the service failed", failure="service-invalid")["reason"]
        agent.stop()


@pytest.mark.parametrize(("most", "status"), [(1 << 20, 431), (1 << 22, 200)])
def test_the_servers_bound_of_heads_is_the_one_that_counts(fleet: Fleet, most: int, status: int) -> None:
    fields = "".join(f"X-{number}: {'x' * 60_000}\r\n" for number in range(30))

    def answers(wire: Wire) -> None:
        large = (
            fields.encode() if b"X-29: " in wire.receive_until(b"\r\n\r\n") else b"X: " + bytes(b"x" * 9_000) + b"\r\n"
        )
        wire.send(b"HTTP/1.1 200 OK\r\n" + large + b"Content-Length: 2\r\n\r\nok")

    with service(answers) as running:
        server = fleet.server("--proxy.http.max-header-bytes", str(most))
        fleet.agent(server, "large", running.port)
        assert request(server.proxy_port, "large", fields=fields)[0].status == status
        assert request(server.proxy_port, "large")[0].status == 200
        narrow = fleet.server("--proxy.http.max-header-bytes", "8192")
        fleet.agent(narrow, "large", running.port)
        error = INVALID % b"message head too large"
        assert status_and_error(request(narrow.proxy_port, "large")) == (502, error)


def refuses_early(wire: Wire) -> None:
    """Answer a large request when its head has come, and reset the connection with most of the body unread."""
    wire.receive_head()
    wire.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nless")
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise HangUpError


def test_an_early_answer_reaches_the_client(stack: Stack, fleet: Fleet) -> None:
    body = bytes(5 * MIB)
    with service(refuses_early) as running:
        fleet.agent(stack.server, "early", running.port)
        got = []
        for _ in range(ROUNDS):
            with dial(stack.port) as wire:
                with contextlib.suppress(ConnectionError):
                    wire.send(request_bytes("early", "/", "POST", body=body))
                got.append(status_and_error(receive_response(wire, "POST")))
        assert got == [(413, b"less")] * ROUNDS


def test_a_service_that_is_the_server_itself(fleet: Fleet) -> None:
    server = fleet.server()
    fleet.agent(server, "circle", f"127.0.0.1:{server.proxy_port}")
    with dial(server.proxy_port) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: circle.example.com\r\n\r\n")
        told = b'{"error":"the request comes back again and again"}'
        assert status_and_error(receive_response(wire, "GET")) == (508, told)
    server.process.stop()
    assert len(server.process.accessed(status=508)) == 1 + MAX_PASSES + 1
