"""Requests and responses for tests of heads."""

import pytest

from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead
from pico_core.http.parsing import parse_request_head, parse_response_head

LIMITS = HeadLimits()
SMALL = HeadLimits(max_head_bytes=200, max_target_bytes=50, max_field_bytes=60, max_fields=5)
GENEROUS = HeadLimits(max_head_bytes=1 << 24, max_target_bytes=1 << 24, max_field_bytes=1 << 24, max_fields=1 << 24)


def request(*lines: bytes, line: bytes = b"GET /a?b=c HTTP/1.1", host: bytes = b"Host: h.example") -> RequestHead:
    return parse_request_head(b"\r\n".join((line, *([host] if host else []), *lines, b"", b"")), LIMITS)


def response(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response_head(b"\r\n".join((line, *lines, b"", b"")), LIMITS)


def status_of(error: pytest.ExceptionInfo[MessageError]) -> int:
    return error.value.status
