"""Heads as they are written for the next hop, and responses of our own."""

import pytest

from pico_core.http.message import ResponseHead
from pico_core.http.writing import error_message, refusal, request_bytes, response_bytes
from tests.core.http.heads import request, response


def test_writing_a_request() -> None:
    head = request(b"Connection: close", b"A: b", b"Content-Length: 07")
    assert request_bytes(head, b"X-Forwarded-For: 192.0.2.1\r\n") == (
        b"GET /a?b=c HTTP/1.1\r\nHost: h.example\r\nA: b\r\nContent-Length: 7\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    )


def test_writing_a_chunked_upgrade_with_trailers() -> None:
    head = request(
        b"Transfer-Encoding: chunked",
        b"Connection: upgrade, te",
        b"Upgrade: x",
        b"TE: trailers",
        b"Expect: 100-continue",
        line=b"POST / HTTP/1.1",
    )
    assert request_bytes(head, b"") == (
        b"POST / HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade, TE\r\nUpgrade: x\r\n"
        b"TE: trailers\r\nExpect: 100-continue\r\n\r\n"
    )


def test_writing_te_and_upgrade_alone() -> None:
    assert request_bytes(request(b"TE: trailers"), b"") == (
        b"GET /a?b=c HTTP/1.1\r\nHost: h.example\r\nConnection: TE\r\nTE: trailers\r\n\r\n"
    )
    assert request_bytes(request(b"Connection: upgrade", b"Upgrade: x"), b"") == (
        b"GET /a?b=c HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )


def test_a_request_without_host_gets_one() -> None:
    head = request(b"A: b", line=b"GET / HTTP/1.0", host=b"")
    assert request_bytes(head, b"") == b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "written"),
    [
        (response(b"A: b"), b"HTTP/1.1 200 OK\r\nA: b\r\nX: y\r\n\r\n"),
        (response(b"Content-Length: 0"), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n"),
        (response(b"Transfer-Encoding: chunked"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"),
        (response(line=b"HTTP/1.0 200"), b"HTTP/1.1 200 \r\nX: y\r\n\r\n"),
        (response(b"Content-Length: 0", line=b"HTTP/1.1 204 No"), b"HTTP/1.1 204 No\r\nX: y\r\n\r\n"),
        (
            response(b"Connection: upgrade", b"Upgrade: u", line=b"HTTP/1.1 101 S"),
            b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: u\r\nX: y\r\n\r\n",
        ),
    ],
)
def test_writing_responses(head: ResponseHead, written: bytes) -> None:
    assert response_bytes(head, b"X: y\r\n") == written


def test_a_body_that_ends_with_the_connection_can_be_rechunked() -> None:
    head = response(line=b"HTTP/1.0 200 OK").with_chunks(chunked=True)
    assert response_bytes(head, b"") == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_responses_of_our_own() -> None:
    head_bytes = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        b"Content-Length: 19\r\nA: b\r\nConnection: close\r\n\r\n"
    )
    assert refusal(400, 'a "b"', b"A: b\r\n", bodiless=True) == head_bytes
    assert refusal(400, 'a "b"', b"A: b\r\n", bodiless=False) == head_bytes + b'{"error":"a \\"b\\""}'
    head, body = error_message(503, "x", b"A: b\r\n")
    assert (head.status, head.content_length, body) == (503, len(body), b'{"error":"x"}')
    assert head.fields.endswith(b"A: b\r\nRetry-After: 1\r\n")
