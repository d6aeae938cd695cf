"""Bodies spelt in ways that hide a name from a search for it: escapes of JSON, and UTF-16.

A search reads the plain spelling, and what it takes out is written in the body's own encoding. Next: ``plain_of``.
"""

import codecs
import re
from collections.abc import Callable
from typing import NamedTuple

from pico_core.agent.inspector.searching import STEP_BYTES, Steps

_ESCAPE = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
_ESCAPE_BYTES = 6
_KEPT = {0x5C: b"\\\\", 0x22: b'\\"', 0x7F: b"\\u007f"}
"""What would end a text or begin an escape stays escaped."""


class Plain(NamedTuple):
    """The plain spelling of a body, and what writes a piece of it in the encoding of the body."""

    data: bytes
    written: Callable[[bytes], bytes]


def plain_of(data: bytes, charset: bytes) -> Steps[Plain]:
    """Return in steps the plain spelling of a decoded body; the same object if it is plain. ``charset`` as declared."""
    encoding = _utf_16(data, charset)
    plain = data
    if encoding:
        plain = yield from _as_utf_8(data, encoding)
    if b"\\u00" in plain:
        plain = yield from _without_escapes(plain)

    def written(shown: bytes) -> bytes:
        return shown.decode(errors="replace").encode(encoding) if encoding else shown

    return Plain(plain, written)


def _utf_16(data: bytes, charset: bytes) -> str:
    """Return the name of the encoding if it is UTF-16: by its mark, as declared, or by the zeros of ASCII in it."""
    start = data[:4]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if charset.lower() in (b"utf-16", b"utf-16be") or (start[:3:2] == b"\0\0" and all(start[1::2])):
        return "utf-16-be"
    if charset.lower() == b"utf-16le" or (start[1::2] == b"\0\0" and all(start[:3:2])):
        return "utf-16-le"
    return ""


def _as_utf_8(data: bytes, encoding: str) -> Steps[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    out: list[bytes] = []
    for begin in range(0, len(data), STEP_BYTES):
        out.append(decoder.decode(data[begin : begin + STEP_BYTES]).encode(errors="replace"))
        yield STEP_BYTES
    return b"".join(out)


def _without_escapes(data: bytes) -> Steps[bytes]:
    """Return data with the characters for which its escapes stand, those of ASCII."""
    out: list[bytes] = []
    at = 0
    while at < len(data):
        end = min(at + STEP_BYTES, len(data))
        cut = data.rfind(b"\\", max(at + 1, end - _ESCAPE_BYTES), end)
        if end < len(data) and cut > 0:
            end = cut  # maybe within an escape
        out.append(_ESCAPE.sub(_character, data[at:end]))
        yield end - at
        at = end
    return b"".join(out)


def _character(found: re.Match[bytes]) -> bytes:
    number = int(found[1], 16)
    return _KEPT.get(number) or bytes((number,))
