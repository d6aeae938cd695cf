"""From what an application says of its response to a head that the next hop can trust."""

from pico_core.http import grammar
from pico_core.http.message import MessageError, ResponseHead
from pico_core.http.writing import PHRASES
from pico_core.program import Fields

NOT_THE_APPS = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade".split()
    + b"x-pico-failure x-pico-error x-pico-request-id".split()
)
"""Fields of the connection, which is the tunnel's, and Pico's own."""


def response_head(status: int, fields: Fields, whole_bytes: int) -> ResponseHead:
    """Return the head; ``whole_bytes`` is the length of a body that came whole, else -1.

    A body without a length leaves in chunks. Raises ``MessageError`` for what must not be passed on.
    """
    if not 200 <= status <= 999:
        raise MessageError(502, f"the application answered with status {status}")
    lines: list[bytes] = []
    length = -1
    dated = False
    for name, value in fields:
        name = name.lower()
        if name == b"content-length":
            length = _length(value, length)
        elif name not in NOT_THE_APPS:
            dated = dated or name == b"date"
            lines.append(b"%b: %b\r\n" % (name, value))
    block = b"".join(lines)
    if not grammar.field_lines.fullmatch(block) or block.count(b"\n") != len(lines):
        raise MessageError(502, "the application's response has an invalid header field")
    if length < 0:
        length = whole_bytes
    return ResponseHead(status, 1, PHRASES.get(status, b""), block, True, length, dated=dated)


def trailer_lines(fields: Fields) -> bytes:
    """Return trailers as lines. Raises ``MessageError`` for what must not be passed on."""
    block = b"".join([b"%b: %b\r\n" % (name.lower(), value) for name, value in fields])
    if not grammar.field_lines.fullmatch(block) or block.count(b"\n") != len(fields):
        raise MessageError(502, "the application's response has an invalid trailer")
    return block


def _length(value: bytes, before: int) -> int:
    if not value.isdigit() or len(value) > grammar.MAX_LENGTH_DIGITS or before >= 0:
        raise MessageError(502, "the application's response has an invalid Content-Length")
    return int(value)
