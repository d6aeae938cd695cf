"""Writing message heads for the next hop, and whole responses of Pico's own."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import msgspec

from pico_core.http.message import RequestHead, ResponseHead

CONNECTION_CLOSE = b"Connection: close\r\n"
CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"
"""The fields in ``extra`` about the connection to the next hop (RFC 9112 section 9.3)."""

WITHOUT_HOST = b"localhost"
"""The host of a request that came in HTTP/1.0 without one: in HTTP/1.1 there must be one (RFC 9112 section 3.2)."""

VERSION_LINE_END = b" HTTP/1.1\r\n"

UPGRADE_REQUIRED = 426

LEAST_ERROR_STATUS = 400
LEAST_SERVER_ERROR_STATUS = 500

NO_DETAILS: Mapping[str, str] = MappingProxyType({})

_FIELDS_OF_STATUS = {
    401: b"WWW-Authenticate: Bearer\r\n",
    405: b"Allow: GET\r\n",
    UPGRADE_REQUIRED: b"Sec-WebSocket-Version: 13\r\n",
    503: b"Retry-After: 1\r\n",
}
"""Fields that error responses of a status have, whatever the reason (RFC 9110 sections 11.6.1, 15.5.6, 15.5.22 and
15.6.4, RFC 6455 section 4.4).

Only resources that are WebSockets are answered 405, and their handshake is a GET. A 503 is said where the next attempt
may find another node, or a request that has ended, so one second is enough.
"""

PHRASES = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}


def request_bytes(head: RequestHead, extra: bytes) -> bytes:
    """Write a request's head for the next hop, always as HTTP/1.1. Next: its body, framed as ``head`` says.

    ``extra`` are ready lines, each with its CRLF, such as ``X-Forwarded-For``. A request that came in HTTP/1.0 without
    a Host gets ``WITHOUT_HOST``.
    """
    if not head.onward:
        head.onward = _request_onward(head)
    return b"%b %b%b%b\r\n" % (head.method, head.target, head.onward, extra)


def response_bytes(head: ResponseHead, extra: bytes) -> bytes:
    """Write a response's head for the next hop, always as HTTP/1.1; ``extra`` as in ``request_bytes``."""
    if extra:
        return response_bytes(head, b"")[:-2] + extra + b"\r\n"
    if not head.onward:
        head.onward = _response_onward(head)
    return head.onward


def _request_onward(head: RequestHead) -> bytes:
    """Write the bytes after the target of a request, except for ``extra`` and the empty line."""
    fields = head.fields if head.host else b"Host: %b\r\n%b" % (WITHOUT_HOST, head.fields)
    return VERSION_LINE_END + fields + own_request_lines(head)


def own_request_lines(head: RequestHead) -> bytes:
    """Write the lines that a request has behind its ``fields``: those about the message and the connection."""
    own = _framing_lines(head)
    if head.upgrade or head.te_trailers:
        own += _connection_lines(head.upgrade, te_trailers=head.te_trailers)
    if head.expects_continue:
        own += b"Expect: 100-continue\r\n"
    return own


def _response_onward(head: ResponseHead) -> bytes:
    return b"%b%b%b\r\n" % (status_line(head), head.fields, own_response_lines(head))


def status_line(head: ResponseHead) -> bytes:
    """Write the first line of a response."""
    return b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)


def own_response_lines(head: ResponseHead) -> bytes:
    """Write the lines that a response has behind its ``fields``, as ``own_request_lines`` does."""
    own = b"" if head.status < 200 or head.status == 204 else _framing_lines(head)
    if head.upgrade:
        own += _connection_lines(head.upgrade, te_trailers=False)
    return own


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


def error_message(
    status: int, message: str, fields: bytes = b"", details: Mapping[str, str] = NO_DETAILS
) -> tuple[ResponseHead, bytes]:
    """Return an error response of our own: its head, and ``{"error": message}`` with ``details`` as its body.

    ``fields`` are more field lines, each with its CRLF. The answer to a HEAD request has the head and no body
    (RFC 9110 section 9.3.2).
    """
    return error_head(status, msgspec.json.encode({"error": message, **details}), b"application/json", fields)


def error_head(status: int, body: bytes, media_type: bytes, fields: bytes) -> tuple[ResponseHead, bytes]:
    """Return an error response of our own with ``body``: its head, with the field lines ``fields``, and the body."""
    own = b"Content-Type: %b\r\nX-Content-Type-Options: nosniff\r\n%b" % (media_type, fields)
    usual = _FIELDS_OF_STATUS.get(status, b"")
    if usual.partition(b":")[0] not in own:
        own += usual
    head = ResponseHead(status, 1, PHRASES.get(status, b""), own, True, len(body))
    if status == UPGRADE_REQUIRED:
        head.upgrade = b"websocket"
    return head, body


def refusal(
    status: int,
    message: str,
    extra: bytes,
    *,
    fields: bytes = b"",
    details: Mapping[str, str] = NO_DETAILS,
    bodiless: bool,
) -> bytes:
    """Write an ``error_message`` as HTTP/1.1 that says the connection closes, with the field lines ``extra`` behind it.

    ``bodiless`` says that a HEAD request is refused.
    """
    head, body = error_message(status, message, fields, details)
    return response_bytes(head, extra + CONNECTION_CLOSE) + (b"" if bodiless else body)
