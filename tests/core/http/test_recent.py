"""The remembering parsers say what the plain ones say, whatever came before."""

import pytest

from pico_core.http.head import (
    HeadLimits,
    MessageError,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from pico_core.http.recent import MAX_REMEMBERED_BYTES, RequestHeadParser, ResponseHeadParser

LIMITS = HeadLimits()
FIELDS = b"Host: e.example.com\r\nUser-Agent: test\r\nx-pico-endpoint: e\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"

REQUESTS = (
    b"GET / HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.1\r\n" + FIELDS,
    b"POST /other?q=1 HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.0\r\n" + FIELDS,
    b"GET http://e.example.com/absolute HTTP/1.1\r\n" + FIELDS,
    b"OPTIONS * HTTP/1.1\r\n" + FIELDS,
    b"CONNECT /x HTTP/1.1\r\n" + FIELDS,
    b"TRACE / HTTP/1.1\r\n" + FIELDS,
    b"GET /a b HTTP/1.1\r\n" + FIELDS,
    b"GET /#fragment HTTP/1.1\r\n" + FIELDS,
    b"get / HTTP/1.1\r\n" + FIELDS,
    b"GET / HTTP/1.1\r\nX: GET / HTTP/1.1\r\n" + FIELDS,
    b"GET /x HTTP/1.1\r\nHost: e.example.com\r\nContent-Length: 5\r\n\r\n",
    b"PUT /y HTTP/1.1\r\nHost: e.example.com\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: e.example.com\r\nX: " + bytes(b"x" * MAX_REMEMBERED_BYTES) + b"\r\n\r\n",
)


def outcome(parse: object, head: bytes) -> RequestHead | ResponseHead | tuple[int, str]:
    try:
        return parse(head)  # type: ignore[operator, no-any-return]  # one of two functions with the same shape
    except MessageError as error:
        return error.status, error.reason


@pytest.mark.parametrize("before", REQUESTS)
@pytest.mark.parametrize("head", REQUESTS)
def test_requests_are_read_as_without_memory(before: bytes, head: bytes) -> None:
    parser = RequestHeadParser(LIMITS)
    outcome(parser.parse, before)
    assert outcome(parser.parse, head) == outcome(lambda each: parse_request_head(each, LIMITS), head)


RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"nonsense\r\n\r\n",
)


@pytest.mark.parametrize("before", RESPONSES)
@pytest.mark.parametrize("head", RESPONSES)
def test_responses_are_read_as_without_memory(before: bytes, head: bytes) -> None:
    parser = ResponseHeadParser(LIMITS)
    outcome(parser.parse, before)
    assert outcome(parser.parse, head) == outcome(lambda each: parse_response_head(each, LIMITS), head)


def test_what_was_handed_out_can_be_changed() -> None:
    parser = ResponseHeadParser(LIMITS)
    for _ in range(3):
        response = parser.parse(RESPONSES[0])
        assert response.content_length == 5
        response.content_length = -1
        response.chunked = True
    requests = RequestHeadParser(LIMITS)
    for _ in range(3):
        request = requests.parse(REQUESTS[0])
        assert request.keep_alive
        request.keep_alive = False
