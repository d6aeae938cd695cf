"""Repairing the heads of responses where RFC 9112 lets a recipient do so. Start at ``HeadRepair``.

Small devices and CGI programs end lines with a bare line feed (section 2.2), put blanks before a colon (section 5.1),
fold values (section 5.2), set blanks freely in the status line (section 4), or send a line end too many behind a body,
which is an empty line before the next status line. Browsers read all of that.

Requests are never repaired: an attacker chooses their bytes, and a service may read the original differently. A
response is written anew for the next hop, which sees the repaired form only, and nothing more is read from a connection
whose response was repaired. What makes the end of a body doubtful stays refused.
"""

import re

from pico_core.http import grammar, refusals
from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.parsing import parse_response_head

_head_end = re.compile(rb"\n\r?\n")
_line_ends = re.compile(rb"(?:\r?\n)*")
_blanks = re.compile(rb"[ \t]++")
_never_in_response = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)")
_BEGINNING = b"HTTP/1."

MAX_LINE_ENDS_BYTES = 8
"""Of empty lines before a status line: services that send too many send one."""


class HeadRepair:
    """One response head that the strict reader refused with ``error``."""

    __slots__ = ("_buffer", "_error", "_limits", "_searched_bytes", "_skipped_bytes")

    def __init__(self, limits: HeadLimits, error: MessageError) -> None:
        self._limits = limits
        self._error = error
        self._buffer = bytearray()
        self._searched_bytes = 0
        self._skipped_bytes = 0

    def receive(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Take bytes, from the first one of the head on; return the head and the bytes after it, or ``None``: go on.

        Raises ``MessageError``: the error of the strict reader where nothing could be repaired.
        """
        buffer = self._buffer
        buffer += data
        if not self._searched_bytes:
            self._skip_line_ends()
            if not buffer or buffer == b"\r":  # half an empty line waits for its line feed
                return None
        end = _head_end.search(buffer, max(self._searched_bytes - 2, 0))
        size = end.end() if end else len(buffer)
        if size > self._limits.max_head_bytes:
            raise refusals.head_too_large()
        if end:
            return self._read(bytes(buffer[:size])), bytes(buffer[size:])
        self._refuse_early()
        self._searched_bytes = size
        return None

    def _skip_line_ends(self) -> None:
        """Drop the empty lines before the status line."""
        match = _line_ends.match(self._buffer)
        skipped_bytes = match.end() if match else 0
        self._skipped_bytes += skipped_bytes
        if self._skipped_bytes > MAX_LINE_ENDS_BYTES:
            raise self._error
        del self._buffer[:skipped_bytes]

    def _read(self, head: bytes) -> ResponseHead:
        repaired = repaired_head(head)
        if repaired == head and not self._skipped_bytes:
            raise self._error
        response = parse_response_head(repaired, self._limits)
        response.keep_alive = False
        return response

    def _refuse_early(self) -> None:
        """Raise if no continuation can make the buffered bytes a head, as ``HeadReader`` does."""
        buffer = self._buffer
        line, line_end, _ = bytes(buffer[: self._limits.max_target_bytes]).partition(b"\n")
        begun = line.lstrip(b" \t")
        repaired = _status_line(line.removesuffix(b"\r")) + b"\r\n"
        if begun[:7] != _BEGINNING[: len(begun)] or (line_end and not grammar.status_line.fullmatch(repaired)):
            raise refusals.invalid_response(begun)
        if _never_in_response.search(buffer, max(self._searched_bytes - 1, 0)):
            raise self._error


def repaired_head(head: bytes) -> bytes:
    """Return a response's head, which ends with its empty line, as the grammar wants it as far as RFC 9112 permits.

    Raises ``MessageError`` where a repair is not safe. Next: ``parsing.parse_response_head``, which may refuse it too.
    """
    first, *others = [line.removesuffix(b"\r") for line in head.split(b"\n")[:-2]]
    fields: list[list[bytes]] = []
    for line in others:
        if line[:1] in (b" ", b"\t"):
            if not fields:
                raise MessageError(400, "blank before the first header field")
            if grammar.framing_look_alike.fullmatch(fields[-1][0].partition(b":")[0].lower()):
                raise MessageError(400, "folded framing field")
            fields[-1].append(line.strip(b" \t"))
            continue
        blank = grammar.blank_before_colon.match(line)
        if blank:
            line = blank[0][:-1].rstrip(b" \t") + line[blank.end() - 1 :]
        fields.append([line])
    lines = [_status_line(first), *(b" ".join(field) for field in fields), b"", b""]
    return b"\r\n".join(lines)


def _status_line(line: bytes) -> bytes:
    """Return a status line with one space where blanks separate its parts; its phrase stays as it is."""
    return line if grammar.status_line.fullmatch(line + b"\r\n") else b" ".join(_blanks.split(line.strip(b" \t"), 2))
