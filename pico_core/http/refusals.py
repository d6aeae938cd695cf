"""Why a head is refused: every function returns the ``MessageError`` to raise, with a status and a clause for people.

The grammar accepts a whole head or nothing. ``invalid_request`` and ``invalid_response`` read a refused head a second
time, piece by piece, to find out which part of it is wrong.
"""

from pico_core.http import grammar
from pico_core.http.message import MessageError


def invalid_request(head: bytes | bytearray) -> MessageError:
    """Explain a request's head, or its beginning, that the grammar does not match."""
    line = grammar.request_line.match(head)
    if line:
        return _invalid_field(head[line.end() :])
    if grammar.other_version.match(head):
        return MessageError(505, "HTTP version not supported")
    if grammar.long_method.match(head):
        return method_not_supported()
    target = grammar.target_begins.match(head)
    if target and target.end() < len(head) and head[target.end() : target.end() + 6] != b" HTTP/":
        wrong = head[target.end()]
        return MessageError(
            400, f"malformed request line: byte 0x{wrong:02x} at place {len(target[1]) + 1} of the target"
        )
    return MessageError(400, "malformed request line")


def invalid_response(head: bytes | bytearray) -> MessageError:
    """Explain a response's head, or its beginning, that the grammar does not match."""
    line = grammar.status_line.match(head)
    return _invalid_field(head[line.end() :]) if line else MessageError(400, "malformed status line")


def _invalid_field(lines: bytes | bytearray) -> MessageError:
    """Explain the first bad one of some field lines."""
    line = next(line for line in lines.split(b"\r\n") if not grammar.field_lines.fullmatch(line + b"\r\n"))
    if line[:1] == b" " or line[:1] == b"\t":
        return MessageError(400, "folded header field")
    if grammar.blank_before_colon.match(line):
        return MessageError(400, "blank before the colon of a header field")
    return MessageError(400, "malformed header field")


def method_not_supported() -> MessageError:
    """Refuse a method that Pico does not serve, or one longer than any that exists (RFC 9110 section 15.6.2)."""
    return MessageError(501, "method not supported")


def contradicting_fields() -> MessageError:
    """Refuse two values of a field where two readers may take different ones."""
    return MessageError(400, "contradicting header fields")


def head_too_large() -> MessageError:
    """Refuse a head above ``HeadLimits.max_head_bytes`` (RFC 6585 section 5)."""
    return MessageError(431, "message head too large")


def start_line_too_long() -> MessageError:
    """Refuse a start line above ``HeadLimits.max_target_bytes`` (RFC 9110 section 15.5.15)."""
    return MessageError(414, "start line too long")


def field_too_long() -> MessageError:
    """Refuse a field line above ``HeadLimits.max_field_bytes`` (RFC 6585 section 5)."""
    return MessageError(431, "header field too long")
