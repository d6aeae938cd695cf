"""Something is missing, slow or wrong: one exact answer for the client each, and a log record for the operator."""

import json
import queue
import time

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import Fleet
from tests.e2e.origin import HangUpError, Origin, Visit
from tests.e2e.wire import assert_error, dial, receive_response, request, request_bytes
from tests.waiting import PATIENCE_S

TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def impatient_stack(shared_fleet: Fleet, shared_origin: Origin) -> Stack:
    """A server with a short time limit for responses."""
    server = shared_fleet.server("--proxy.timeout", f"{TIMEOUT_S}s", "--proxy.access-log.disable")
    agent = shared_fleet.agent(server, "origin", shared_origin.port)
    return Stack(server, agent, shared_origin)


def test_no_upstream(stack: Stack) -> None:
    for method in ("GET", "POST"):
        assert_error(request(stack.port, "unknown", "/", method, body=b"x"), 502, "no available upstreams")
    head, _ = request(stack.port, "unknown", "/", "HEAD")
    assert head.status == 502
    assert int(head["content-length"]) > 0
    record = stack.server.process.await_access(endpoint="unknown", method="HEAD")
    assert (record["status"], record["path"]) == (502, "/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "127.0.0.1", "origin"])
def test_no_endpoint(stack: Stack, host: str) -> None:
    with dial(stack.port) as wire:
        for _ in range(2):  # the connection goes on
            wire.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert_error(receive_response(wire), 400, "missing endpoint id")


def test_an_invalid_endpoint_id(stack: Stack) -> None:
    response = request(stack.port, "origin", fields="x-pico-endpoint: a/b\r\n")
    assert_error(response, 400, "invalid endpoint id")
    head, _ = request(stack.port, "origin", fields="x-pico-endpoint: a\r\nx-piko-endpoint: b\r\n")
    assert head.status == 400


def test_reserved_paths(stack: Stack) -> None:
    assert_error(request(stack.port, "origin", "/_pico/v1/nothing"), 404, "not found")
    assert request(stack.port, "origin", "/_pico/v1/tcp/origin")[0].status == 426  # no upgrade


def test_a_service_that_does_not_answer(impatient_stack: Stack, origin: Origin) -> None:
    """504 in time, the service sees that its client has left, and the client's connection goes on."""
    seen: queue.Queue[bytes] = queue.Queue()

    def silent(visit: Visit) -> None:
        seen.put(visit.await_end())
        raise HangUpError

    path = origin.handle(silent)
    with dial(impatient_stack.port) as wire:
        began_at = time.monotonic()
        wire.send(request_bytes("origin", path))
        assert_error(receive_response(wire), 504, "upstream timeout")
        assert time.monotonic() - began_at >= TIMEOUT_S
        assert seen.get(timeout=PATIENCE_S) in (b"FIN", b"RST")
        wire.send(request_bytes("origin", "/describe"))
        assert receive_response(wire)[0].status == 200


def test_a_service_that_is_down(fleet: Fleet, stack: Stack) -> None:
    port = fleet.reserve_port()
    agent = fleet.agent(stack.server, "down", port)
    assert_error(request(stack.port, "down"), 502, "upstream unreachable")
    assert_error(request(stack.port, "down", "/", "POST", body=b"x"), 502, "upstream unreachable")
    record = agent.await_log("cannot reach the service")
    assert (record["level"], record["reason"]) == ("warning", "connection refused")
    assert (record["endpoint"], record["addr"]) == ("down", f"localhost:{port}")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_a_service_that_does_not_speak_http(stack: Stack, answer: bytes) -> None:
    def babble(visit: Visit) -> None:
        visit.wire.send(answer)
        raise HangUpError

    path = stack.origin.handle(babble)
    head, body = request(stack.port, "origin", path)
    assert head.status == 502
    assert head["content-type"] == "application/json"
    assert json.loads(body)["error"]
    assert request(stack.port, "origin", "/describe")[0].status == 200


def test_bytes_behind_a_response_answer_no_request(stack: Stack) -> None:
    def two_answers(visit: Visit) -> None:
        visit.wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
        )

    path = stack.origin.handle(two_answers)
    with dial(stack.port) as wire:
        for _ in range(20):
            wire.send(request_bytes("origin", path))
            assert receive_response(wire)[1] == b"one"
            wire.send(request_bytes("origin", "/describe"))
            assert receive_response(wire)[1].startswith(b"{")
