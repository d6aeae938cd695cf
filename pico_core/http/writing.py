"""Writing message heads, and whole responses of our own."""

from http import HTTPStatus

import msgspec

from pico_core.http.message import RequestHead, ResponseHead

# --- writing ---------------------------------------------------------------------------------------------------------


def request_bytes(head: RequestHead, extra: bytes) -> bytes:
    """Write a request's head for the next hop, always as HTTP/1.1.

    ``extra`` are ready lines, each with its CRLF, such as ``X-Forwarded-For``. A request that came in HTTP/1.0 without
    a Host gets ``localhost``, because in HTTP/1.1 there must be one.
    """
    if not head.onward:
        head.onward = _request_onward(head)
    return b"%b %b%b%b\r\n" % (head.method, head.target, head.onward, extra)


def _request_onward(head: RequestHead) -> bytes:
    fields = head.fields if head.host else b"Host: localhost\r\n" + head.fields
    own = _framing_lines(head)
    if head.upgrade or head.te_trailers:
        own += _connection_lines(head.upgrade, te_trailers=head.te_trailers)
    if head.expects_continue:
        own += b"Expect: 100-continue\r\n"
    return b" HTTP/1.1\r\n%b%b" % (fields, own)


def response_bytes(head: ResponseHead, extra: bytes) -> bytes:
    """Write a response's head for the next hop, always as HTTP/1.1; ``extra`` as in ``request_bytes``."""
    if extra:
        return response_bytes(head, b"")[:-2] + extra + b"\r\n"
    if not head.onward:
        head.onward = _response_onward(head)
    return head.onward


def _response_onward(head: ResponseHead) -> bytes:
    own = b"" if head.status < 200 or head.status == 204 else _framing_lines(head)
    if head.upgrade:
        own += _connection_lines(head.upgrade, te_trailers=False)
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (head.status, head.reason, head.fields, own)


def _framing_lines(head: RequestHead | ResponseHead) -> bytes:
    if head.chunked:
        return b"Transfer-Encoding: chunked\r\n"
    return b"Content-Length: %d\r\n" % head.content_length if head.content_length >= 0 else b""


def _connection_lines(upgrade: bytes, *, te_trailers: bool) -> bytes:
    if not te_trailers:
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    if not upgrade:
        return b"Connection: TE\r\nTE: trailers\r\n"
    return b"Connection: Upgrade, TE\r\nUpgrade: %b\r\nTE: trailers\r\n" % upgrade


CONNECTION_CLOSE = b"Connection: close\r\n"
CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"

_PHRASES = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}


def simple_response(
    status: int, body: bytes, content_type: bytes, extra: bytes = b"", *, without_body: bool = False
) -> bytes:
    """Write a whole response with a body of our own; ``extra`` as in ``request_bytes``, such as ``Connection: close``.

    ``without_body`` is for the answer to a HEAD request, whose head is that of the GET (RFC 9110 section 9.3.2).
    """
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        _PHRASES.get(status, b""),
        content_type,
        len(body),
        extra,
        b"" if without_body else body,
    )


def error_response(status: int, message: str, extra: bytes = b"", *, without_body: bool = False) -> bytes:
    """Write a whole error response, ``{"error": message}`` as JSON; the rest as in ``simple_response``."""
    body = msgspec.json.encode({"error": message})
    extra = b"X-Content-Type-Options: nosniff\r\n" + extra
    return simple_response(status, body, b"application/json", extra, without_body=without_body)
