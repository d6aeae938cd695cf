"""HTTP through a server and an agent: every way a message can be framed, and every way it can end."""

import contextlib
import hashlib
import http.client
import json
import os
import queue
import threading
import time

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import AT_ONCE_S, LOCAL, MIB
from tests.e2e.origin import HangUpError, Visit
from tests.e2e.wire import dial, receive_response, request, request_bytes
from tests.waiting import PATIENCE_S

HUGE_BYTES = 100 * MIB


def test_head(stack: Stack) -> None:
    head, answer = request(stack.port, "origin", "/describe", "HEAD")
    assert (head.status, answer) == (200, b"")
    assert int(head["content-length"]) > 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_methods(stack: Stack, method: str) -> None:
    body = b"x" * 1000 if method in ("POST", "PUT", "PATCH") else b""
    head, answer = request(stack.port, "origin", "/describe?a=%2F&b=", method, "X-Mine: 1\r\n", body)
    assert head.status == 200
    seen = json.loads(answer)
    fields = dict(seen["fields"])
    assert (seen["method"], seen["target"], seen["size"]) == (method, "/describe?a=%2F&b=", len(body))
    assert fields["host"] == "origin.pico.test"
    assert fields["x-mine"] == "1"
    assert fields["x-forwarded-for"] == LOCAL
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "origin.pico.test"


def test_endpoint_header_and_forged_fields(stack: Stack) -> None:
    fields = (
        "x-pico-endpoint: origin\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
        "X_Forwarded_Host: evil\r\nx-piko-forward: true\r\nConnection: x-forwarded-for, x-mine\r\nX-Mine: 1\r\n"
    )
    head, answer = request(stack.port, "unknown", "/describe", fields=fields)
    assert head.status == 200
    seen = [tuple(field) for field in json.loads(answer)["fields"]]
    (request_id,) = [field for field in seen if field[0] == "x-pico-request-id"]
    seen.remove(request_id)
    assert sorted(seen) == [
        ("host", "unknown.pico.test"),
        ("x-forwarded-for", LOCAL),
        ("x-forwarded-host", "unknown.pico.test"),
        ("x-forwarded-proto", "http"),
    ]


def test_a_thousand_requests_over_one_connection(stack: Stack) -> None:
    connection = http.client.HTTPConnection(LOCAL, stack.port, timeout=PATIENCE_S)
    for number in range(1000):
        if number == 500:  # by now the agent has seen that the service keeps its connections open
            before = stack.origin.connections
        connection.request("POST", "/describe", body=b"%d" % number, headers={"Host": "origin.pico.test"})
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["sha256"] == hashlib.sha256(b"%d" % number).hexdigest()
    connection.close()
    assert stack.origin.connections - before <= 2  # the agent keeps its connections, too


def test_pipelined_requests_are_answered_in_order(stack: Stack) -> None:
    let_go = threading.Event()

    def first_held(visit: Visit) -> None:
        number = visit.head.target.partition("?")[2].encode()
        if number == b"0":
            assert let_go.wait(PATIENCE_S)
        visit.respond(number)

    path = stack.origin.handle(first_held)
    with dial(stack.port) as wire:
        wire.send(b"".join(request_bytes("origin", f"{path}?{number}") for number in range(200)))
        for _ in range(20):  # time for the other answers to overtake the first one
            assert request(stack.port, "origin", "/describe")[0].status == 200
        assert not wire.has_data()
        let_go.set()
        assert [receive_response(wire)[1] for _ in range(200)] == [b"%d" % number for number in range(200)]


def test_pipelined_requests_with_bodies(stack: Stack) -> None:
    bodies = [os.urandom(size) for size in (0, 1, 5000, 300_000, 2)]
    with dial(stack.port) as wire:
        wire.send(b"".join(request_bytes("origin", "/describe", "PUT", body=body) for body in bodies))
        for body in bodies:
            assert json.loads(receive_response(wire)[1])["sha256"] == hashlib.sha256(body).hexdigest()


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_chunked_both_ways(stack: Stack) -> None:
    def echo_chunks(visit: Visit) -> None:
        assert visit.head["transfer-encoding"] == "chunked"
        visit.begin("Transfer-Encoding: chunked\r\n")
        for chunk in visit.wire.receive_chunks():
            visit.chunk(chunk)
        visit.wire.send(b"0\r\n\r\n")

    path = stack.origin.handle(echo_chunks)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path, "POST", "Transfer-Encoding: chunked\r\n"))
        head = wire.receive_head()
        assert (head.status, head["transfer-encoding"]) == (200, "chunked")
        chunks = wire.receive_chunks()
        for size in (1, 10, 100_000):
            data = os.urandom(size)
            wire.send(b"%x;name=value\r\n%b\r\n" % (size, data))
            back = b""
            while len(back) < size:  # before more is sent
                back += next(chunks)
            assert back == data
        wire.send(b"0\r\n\r\n")
        assert list(chunks) == []


def test_trailers_both_ways(stack: Stack) -> None:
    def trailing(visit: Visit) -> None:
        assert visit.body() == b"hello"
        assert visit.wire.trailers == ["X-Checksum: 5"]
        visit.begin("Transfer-Encoding: chunked\r\nTrailer: x-digest\r\n")
        visit.chunk(b"world")
        visit.wire.send(b"0\r\nX-Digest: abc\r\n\r\n")

    path = stack.origin.handle(trailing)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path, "POST", "Transfer-Encoding: chunked\r\nTE: trailers\r\n"))
        wire.send(b"5\r\nhello\r\n0\r\nX-Checksum: 5\r\n\r\n")
        assert receive_response(wire)[1] == b"world"
        assert wire.trailers == ["X-Digest: abc"]


def test_a_body_that_ends_with_the_connection(stack: Stack) -> None:
    def unframed(visit: Visit) -> None:
        visit.begin("")
        visit.wire.send(b"until the end")
        raise HangUpError

    path = stack.origin.handle(unframed)
    with dial(stack.port) as wire:
        for _ in range(2):  # the client's connection goes on
            wire.send(request_bytes("origin", path))
            assert receive_response(wire)[1] == b"until the end"


def test_expect_100_continue_is_passed_through(stack: Stack) -> None:
    def continued(visit: Visit) -> None:
        assert visit.head["expect"] == "100-continue"
        visit.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        visit.respond(visit.body())

    path = stack.origin.handle(continued)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path, "POST", "Expect: 100-continue\r\nContent-Length: 5\r\n"))
        assert wire.receive_head().status == 100
        wire.send(b"hello")
        assert receive_response(wire)[1] == b"hello"


def test_early_hints_are_passed_through(stack: Stack) -> None:
    def hinting(visit: Visit) -> None:
        visit.wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        visit.respond(b"page")

    path = stack.origin.handle(hinting)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path))
        assert wire.receive_head()["link"] == "</a.css>"
        assert receive_response(wire)[1] == b"page"


def test_http_1_0(stack: Stack) -> None:
    def chunks(visit: Visit) -> None:
        visit.wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        visit.begin("Transfer-Encoding: chunked\r\n")
        visit.chunk(b"no chunks ")
        visit.chunk(b"for you")
        visit.wire.send(b"0\r\n\r\n")

    path = stack.origin.handle(chunks)
    with dial(stack.port) as wire:
        wire.send(f"GET {path} HTTP/1.0\r\nHost: origin.pico.test\r\n\r\n".encode())
        head = wire.receive_head()
        assert (head.status, head["transfer-encoding"]) == (200, "")
        assert wire.receive_rest() == b"no chunks for you"
    with dial(stack.port) as wire:
        for _ in range(2):
            wire.send(b"GET /describe HTTP/1.0\r\nHost: origin.pico.test\r\nConnection: keep-alive\r\n\r\n")
            head, body = receive_response(wire)
            assert head["connection"] == "keep-alive"
            assert json.loads(body)["method"] == "GET"


def test_an_early_answer_is_delivered(stack: Stack) -> None:
    def too_large(visit: Visit) -> None:
        visit.respond(b"too large", "Connection: close\r\n", "413 Content Too Large")
        visit.wire.send_eof()
        while visit.wire.receive():  # as servers do: closing now would reset the connection and destroy the answer
            pass
        raise HangUpError

    path = stack.origin.handle(too_large)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path, "POST", f"Content-Length: {HUGE_BYTES}\r\n") + bytes(1000))
        head, body = receive_response(wire)
        assert (head.status, body) == (413, b"too large")
        assert head["connection"] == "close"
    with dial(stack.port) as wire:  # a client that goes on sending gets it as well
        wire.send(request_bytes("origin", path, "POST", f"Content-Length: {HUGE_BYTES}\r\n"))
        for _ in range(8):
            wire.send(bytes(65_536))
        assert receive_response(wire)[0].status == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_huge_download(stack: Stack, chunked: bool) -> None:
    piece = os.urandom(MIB)

    def huge(visit: Visit) -> None:
        visit.begin("Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {HUGE_BYTES}\r\n")
        for _ in range(HUGE_BYTES // MIB):
            visit.chunk(piece) if chunked else visit.wire.send(piece)
        if chunked:
            visit.wire.send(b"0\r\n\r\n")

    path = stack.origin.handle(huge)
    reset_peaks(stack)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path))
        head = wire.receive_head()
        digest = hashlib.sha256()
        if chunked:
            for chunk in wire.receive_chunks():
                digest.update(chunk)
        else:
            assert int(head["content-length"]) == HUGE_BYTES
            left = HUGE_BYTES
            while left:
                data = wire.receive()
                left -= len(data)
                digest.update(data)
    assert digest.digest() == hashlib.sha256(piece * (HUGE_BYTES // MIB)).digest()
    assert_peaks(stack)


@pytest.mark.parametrize("chunked", [False, True])
def test_huge_upload(stack: Stack, chunked: bool) -> None:
    piece = os.urandom(MIB)

    def swallow(visit: Visit) -> None:
        digest = hashlib.sha256()
        if chunked:
            for chunk in visit.wire.receive_chunks():
                digest.update(chunk)
        else:
            left = int(visit.head["content-length"])
            while left:
                data = visit.wire.receive()
                left -= len(data)
                digest.update(data)
        visit.respond(digest.hexdigest().encode())

    path = stack.origin.handle(swallow)
    reset_peaks(stack)
    with dial(stack.port) as wire:
        length = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {HUGE_BYTES}\r\n"
        wire.send(request_bytes("origin", path, "PUT", length))
        for _ in range(HUGE_BYTES // MIB):
            wire.send(b"%x\r\n%b\r\n" % (MIB, piece) if chunked else piece)
        if chunked:
            wire.send(b"0\r\n\r\n")
        body = receive_response(wire)[1]
    assert body.decode() == hashlib.sha256(piece * (HUGE_BYTES // MIB)).hexdigest()
    assert_peaks(stack)


def reset_peaks(stack: Stack) -> None:
    stack.server.process.reset_peak()
    stack.agent.reset_peak()


def assert_peaks(stack: Stack) -> None:
    for process in (stack.server.process, stack.agent):
        assert process.peak_bytes() < 80 * MIB
        print(f"{process.arguments[0]}: {process.peak_bytes() / MIB:.1f} MiB at most")


# --- streams ---------------------------------------------------------------------------------------------------------


def test_server_sent_events_come_one_by_one(stack: Stack) -> None:
    """Each event has to be with the client before the origin makes the next one."""
    arrived: queue.Queue[int] = queue.Queue()

    def events(visit: Visit) -> None:
        visit.begin("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
        for number in range(20):
            visit.chunk(b"data: %d\n\n" % number)
            assert arrived.get(timeout=PATIENCE_S) == number
        visit.wire.send(b"0\r\n\r\n")

    path = stack.origin.handle(events)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path))
        assert wire.receive_head()["content-type"] == "text/event-stream"
        for number, chunk in enumerate(wire.receive_chunks()):
            assert chunk == b"data: %d\n\n" % number
            arrived.put(number)
        assert number == 19


@pytest.mark.parametrize("how", ["close", "reset", "eof"])
@pytest.mark.parametrize("busy", [False, True])
def test_the_origin_sees_at_once_that_the_client_left(stack: Stack, how: str, busy: bool) -> None:
    left_at: queue.Queue[float] = queue.Queue()

    def endless(visit: Visit) -> None:
        visit.begin("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
        visit.chunk(b"data: 1\n\n")
        with contextlib.suppress(ConnectionError):  # how a busy service learns that its client left
            while busy:
                visit.chunk(bytes(10_000))
        if not busy:
            visit.await_end()
        left_at.put(time.monotonic())
        raise HangUpError

    path = stack.origin.handle(endless)
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", path))
        wire.receive_head()
        wire.receive_until(b"data: 1\n\n")
        began_at = time.monotonic()
        if how == "eof":
            wire.send_eof()
        elif how == "reset":
            wire.reset()
        else:
            wire.socket.close()
        assert left_at.get(timeout=PATIENCE_S) - began_at < AT_ONCE_S


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_truncated_response_is_visibly_truncated(stack: Stack, framing: str, how: str) -> None:
    def dying(visit: Visit) -> None:
        visit.begin(framing)
        visit.wire.send(b"5\r\nhello\r\n")
        go_on.get(timeout=PATIENCE_S)
        if how == "RST":
            visit.wire.reset()
        raise HangUpError

    go_on: queue.Queue[None] = queue.Queue()
    path = stack.origin.handle(dying)
    connection = http.client.HTTPConnection(LOCAL, stack.port, timeout=PATIENCE_S)
    connection.request("GET", path, headers={"Host": "origin.pico.test"})
    response = connection.getresponse()
    assert response.status == 200
    assert response.read1(5)  # the bytes from before the end are delivered
    go_on.put(None)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()


def rest_of_a_body_that_is_reset(stack: Stack, minor_version: int) -> bytes:
    """Ask for a body whose length is not told; return what comes of it when its service resets the connection."""
    go_on: queue.Queue[None] = queue.Queue()

    def dying(visit: Visit) -> None:
        visit.begin("")
        visit.wire.send(b"hello")
        go_on.get(timeout=PATIENCE_S)
        visit.wire.reset()
        raise HangUpError

    path = stack.origin.handle(dying)
    with dial(stack.port) as wire:
        wire.send(f"GET {path} HTTP/1.{minor_version}\r\nHost: origin.pico.test\r\n\r\n".encode())
        wire.receive_head()
        wire.receive_until(b"hello")
        go_on.put(None)
        return wire.receive_rest()


def test_a_reset_of_a_body_without_length_leaves_out_the_last_chunk(stack: Stack) -> None:
    assert not rest_of_a_body_that_is_reset(stack, 1).endswith(b"0\r\n\r\n")


def test_a_reset_of_a_body_without_length_resets_a_client_of_http_1_0(stack: Stack) -> None:
    with pytest.raises(ConnectionResetError):
        rest_of_a_body_that_is_reset(stack, 0)
