"""Why a head is refused: the clause for people, and the status it is answered with."""

from pico_core.http import grammar
from pico_core.http.message import MessageError


def request_error(head: bytes | bytearray) -> MessageError:
    """Say why a request's head (or its beginning) is refused."""
    line = grammar.request_line.match(head)
    if line:
        return field_error(head[line.end() :])
    if grammar.other_version.match(head):
        return MessageError(505, "HTTP version not supported")
    if grammar.long_method.match(head):
        return MessageError(501, "method not supported")
    return MessageError(400, "malformed request line")


def response_error(head: bytes | bytearray) -> MessageError:
    """Say why a response's head (or its beginning) is refused."""
    line = grammar.status_line.match(head)
    return field_error(head[line.end() :]) if line else MessageError(400, "malformed status line")


def field_error(lines: bytes | bytearray) -> MessageError:
    """Say what is wrong with the first bad one of some field lines."""
    line = next(line for line in lines.split(b"\r\n") if not grammar.field_lines.fullmatch(line + b"\r\n"))
    if line[:1] == b" " or line[:1] == b"\t":
        return MessageError(400, "folded header field")
    if grammar.blank_before_colon.match(line):
        return MessageError(400, "blank before the colon of a header field")
    return MessageError(400, "malformed header field")


def head_too_large() -> MessageError:
    """Refuse a head above ``HeadLimits.max_head_bytes``."""
    return MessageError(431, "message head too large")


def start_line_too_long() -> MessageError:
    """Refuse a start line above ``HeadLimits.max_target_bytes``."""
    return MessageError(414, "start line too long")


def field_too_long() -> MessageError:
    """Refuse a field line above ``HeadLimits.max_field_bytes``."""
    return MessageError(431, "header field too long")
