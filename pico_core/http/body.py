"""HTTP/1.1 message bodies: where a body ends, and its payload without copies (RFC 9112 sections 6 and 7).

``request_body`` and ``response_body`` pick the reader that the head calls for, or ``None`` where there is no body. A
reader takes the bytes that follow the head and returns the payload in pieces as it comes; nothing is held back except
an unfinished line. It also returns the bytes that it did not read. A piece of ``VIEW_BYTES`` or more is the received
object itself or a view into it.

To write chunks: ``framed``.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, TypeAlias

from pico_core.http import grammar
from pico_core.http.message import MessageError, RequestHead, ResponseHead
from pico_core.pieces import VIEW_BYTES, Piece, join_small

MAX_CHUNK_LINE_BYTES = 4_096
"""Size and extensions of one chunk. Extensions carry at most a signature (a few hundred bytes) where they are used.
A bound on peers, which has nothing to do with ``VIEW_BYTES``."""

MAX_IDLE_EXTENSION_BYTES = 16_384
"""How far a body's chunk extensions may be ahead of its payload: they are dropped, so they must not be the bulk."""

_STEPS_AT_ONCE: Final = range(1_024)
"""How many chunks one call reads, or half as many large ones: a millisecond. A full read may hold 43,000."""

BODY_TOO_LONG = "request body too long"
"""The answer to a request with a longer body than its endpoint takes."""

MAX_TRAILER_BYTES = 8_192
"""The trailer section as a whole; it holds checksums and a status."""

# The grammar of RFC 9112 section 7.1.1, except that no blank may come before the first semicolon in a request: h11
# refuses it, and no known client sends it. In a response blanks may come behind a size: older services fill its line up
# with them, and all browsers read that. Repetitions are possessive or atomic, as in ``grammar``.
_TOKEN = grammar.TOKEN_CHARACTER + rb"++"
_QUOTED = rb"\"(?>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)\""
_EXTENSION = rb";[\t ]*+" + _TOKEN + rb"(?>(?:[\t ]*+=[\t ]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)"
_EXTENSIONS = rb"(?>(?:" + _EXTENSION + rb"(?>(?:[\t ]*+" + _EXTENSION + rb")*))?)"
_size_line = re.compile(rb"([0-9A-Fa-f]{1,15}+)" + _EXTENSIONS + rb"\r\n")
_size_begins = re.compile(rb"[0-9A-Fa-f]{1,15}+(?:;|\r?\Z)")
_padded_size_line = re.compile(rb"([0-9A-Fa-f]{1,15}+)[\t ]*+" + _EXTENSIONS + rb"[\t ]*+\r\n")
_padded_size_begins = re.compile(rb"[0-9A-Fa-f]{1,15}+[\t ]*+(?:;|\r?\Z)")

# RFC 9110 section 6.5.1 keeps fields out of trailers on which the handling of a message depends. They are dropped, as
# it permits: framing and route were chosen by the head alone.
_dropped_in_trailers = re.compile(
    rb"content-.*+|transfer-encoding|host|trailer|te|connection|keep-alive|upgrade|proxy-.*+|expect|max-forwards|range|if-.*+|cache-control"
    rb"|pragma|authorization|cookie|set-cookie|www-authenticate|age|date|expires|location|retry-after|vary|warning"
    rb"|forwarded|x-forwarded(?:-.*+)?|x-real-ip|proxy|x-pi[ck]o-.*+"
)


class LengthBody:
    """A body of known length (RFC 9112 section 6.3, rules 5 and 6)."""

    __slots__ = ("_remaining_bytes", "trailers")

    def __init__(self, length: int) -> None:
        self._remaining_bytes = length
        self.trailers = b""  # there are none; so that every reader can be asked

    @property
    def done(self) -> bool:
        """Whether the whole body has come."""
        return not self._remaining_bytes

    def receive(self, data: Piece) -> tuple[list[Piece], bytes]:
        """Take bytes; return payload and, once ``done``, the bytes after the body. Never raises."""
        remaining = self._remaining_bytes
        size = len(data)
        if size <= remaining:
            self._remaining_bytes = remaining - size
            return [data] if size else [], b""
        self._remaining_bytes = 0
        return [_cut(data, 0, remaining)] if remaining else [], bytes(data[remaining:])

    def eof(self) -> bool:
        """Take the end of the stream; return whether the body is whole. If not, it is truncated."""
        return self.done


class EofBody:
    """A response's body that ends with the connection (RFC 9112 section 6.3, rule 8)."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers = b""  # as in ``LengthBody``

    def receive(self, data: Piece) -> tuple[list[Piece], bytes]:
        """Take bytes; all of them are payload. Never raises. Next: ``eof`` when the stream ends."""
        return [data] if data else [], b""

    def eof(self) -> bool:
        """Take the end of the stream, which is the end of the body; return ``True``."""
        self.done = True
        return True


# How a chunked body goes on (RFC 9112 section 7.1).
#
# A body is a run of chunks, each a line with its size, as many bytes of data, and an empty line end. A chunk of size 0
# has no data: it is the last one, and the trailer section follows in its place, which is field lines up to an empty
# line. The next message begins behind it.
#
# Only DATA is passed on as it comes. In the other states an unfinished line waits for its rest, and it is refused as
# soon as no continuation can make it valid. An end of the stream in any state but DONE means a truncated body. Small
# chunks nearly always come whole: those are read in SIZE, data and all, and SIZE follows again.
#
#   state      the next byte belongs to        ends with        next state
#   --------   -----------------------------   --------------   ---------------------------------
#   SIZE       size and extensions             CRLF             DATA, or TRAILERS after a size of 0
#   DATA       data                            its last byte    DATA_END
#   DATA_END   the line end after data         CRLF             SIZE
#   TRAILERS   a trailer field line            an empty line    DONE
#   DONE       the next message                -                -


class ChunkedState(Enum):
    """The part of a chunked body that the next byte belongs to. The table above has the transitions."""

    SIZE = "size line"
    DATA = "chunk data"
    DATA_END = "line end after chunk data"
    TRAILERS = "trailer section"
    DONE = "after the body"


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1), read as strictly as the grammar allows.

    Line ends are CRLF everywhere, blanks around a size are refused but behind one in a response, and sizes have at most
    15 digits, so that they overflow in no service behind us. ``ChunkedState`` says how one state follows another.
    """

    __slots__ = ("_carry", "_extension_bytes", "_padded", "_remaining_bytes", "_state", "_trailer_bytes", "trailers")

    def __init__(self, *, padded: bool = False) -> None:
        """``padded`` lets blanks come behind a size."""
        self._padded = padded
        self._state = ChunkedState.SIZE
        self._carry = b""  # an unfinished line
        self._remaining_bytes = 0
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self.trailers = b""
        """Trailer field lines to pass on, each with its CRLF; final once ``done``."""

    @property
    def done(self) -> bool:
        """Whether the whole body, trailer section included, has come."""
        return self._state is ChunkedState.DONE

    def receive(self, data: Piece) -> tuple[list[Piece], bytes]:
        """Take bytes; return payload, and the bytes that were not read. Raises ``MessageError``.

        Those are the bytes after the body once it is ``done``. Before that they are what is behind very many chunks.
        Next: ``receive`` with them, after others had their turn.
        """
        if self.done:
            return [], bytes(data)
        if self._carry:
            data, self._carry = self._carry + data, b""
        pieces: list[Piece] = []
        position, end = 0, len(data)
        for _ in _STEPS_AT_ONCE:
            if position == end:
                return _coalesced(pieces), b""
            state = self._state
            if state is ChunkedState.DATA:
                position = self._read_data(data, position, pieces)
            elif state is ChunkedState.SIZE:
                position = self._read_size(data, position, pieces)
            elif state is ChunkedState.DATA_END:
                position = self._read_data_end(data, position)
            elif state is ChunkedState.TRAILERS:
                position = self._read_trailers(data, position)
            else:
                break
        return _coalesced(pieces), bytes(data[position:])

    def eof(self) -> bool:
        """Take the end of the stream; return whether the body is whole. If not, it is truncated."""
        return self.done

    def _read_size(self, data: Piece, position: int, pieces: list[Piece]) -> int:
        line = _size_line.match(data, position)
        if line is None and self._padded:
            line = _padded_size_line.match(data, position)
        if line is None:
            begins = _padded_size_begins if self._padded else _size_begins
            if b"\n" in bytes(data[position:]) or not begins.match(data, position):
                raise MessageError(400, "malformed chunk size or extension")
            return self._wait(data, position, MAX_CHUNK_LINE_BYTES)
        digits_end, line_end = line.end(1), line.end()
        size = int(line[1], 16)
        if line_end - digits_end > 2:
            self._count_extension(line_end - position, size)
        end = line_end + size
        if size and data[end : end + 2] == b"\r\n":  # the whole chunk is here, as with nearly all small ones
            pieces.append(_cut(data, line_end, end))
            return end + 2
        self._remaining_bytes = size
        self._state = ChunkedState.DATA if size else ChunkedState.TRAILERS
        return line_end

    def _count_extension(self, line_bytes: int, size: int) -> None:
        ahead = max(self._extension_bytes + line_bytes - size, 0)
        if line_bytes > MAX_CHUNK_LINE_BYTES or ahead > MAX_IDLE_EXTENSION_BYTES:
            raise MessageError(400, "chunk extensions too long")
        self._extension_bytes = ahead

    def _read_data(self, data: Piece, position: int, pieces: list[Piece]) -> int:
        end = min(position + self._remaining_bytes, len(data))
        pieces.append(_cut(data, position, end))
        self._remaining_bytes -= end - position
        if not self._remaining_bytes:
            self._state = ChunkedState.DATA_END
        return end

    def _read_data_end(self, data: Piece, position: int) -> int:
        if data[position : position + 2] == b"\r\n":
            self._state = ChunkedState.SIZE
            return position + 2
        if data[position:] != b"\r":
            raise MessageError(400, "chunk data without its line end")
        return self._wait(data, position, 2)

    def _read_trailers(self, data: Piece, position: int) -> int:
        room = MAX_TRAILER_BYTES - self._trailer_bytes
        line, line_end, _ = bytes(data[position : position + room]).partition(b"\n")
        if not line_end:
            return self._wait(data, position, room)
        line += line_end
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            self._state = ChunkedState.DONE
        elif not grammar.field_lines.fullmatch(line):
            raise MessageError(400, "malformed trailer field")
        else:
            self._keep_trailer(line)
        return position + len(line)

    def _keep_trailer(self, line: bytes) -> None:
        name = line[: line.index(b":")].lower().replace(b"_", b"-")
        if not _dropped_in_trailers.fullmatch(name):
            self.trailers += line

    def _wait(self, data: Piece, position: int, limit_bytes: int) -> int:
        """Keep an unfinished line until more comes; return the end of ``data``."""
        if len(data) - position > limit_bytes:
            raise MessageError(400, "line too long in a chunked body")
        self._carry = bytes(data[position:])
        return len(data)


class WrappedBody:
    """A body that another reader reads. Next: ``receive`` of the classes that add something to its rules."""

    __slots__ = ("_body",)

    def __init__(self, body: "BodyReader") -> None:
        self._body = body

    @property
    def done(self) -> bool:
        """Whether the whole body has come."""
        return self._body.done

    @property
    def trailers(self) -> bytes:
        """The trailer field lines, once ``done``."""
        return self._body.trailers

    def eof(self) -> bool:
        """Take the end of the stream; return whether the body is whole."""
        return self._body.eof()


class LimitedBody(WrappedBody):
    """A chunked body of at most ``left_bytes`` more; the rules of what it wraps, and one more."""

    __slots__ = ("_left_bytes",)

    def __init__(self, body: "BodyReader", left_bytes: int) -> None:
        super().__init__(body)
        self._left_bytes = left_bytes

    def receive(self, data: Piece) -> tuple[list[Piece], bytes]:
        """Take bytes; return payload and the bytes that were not read. Raises ``MessageError`` (413) as well."""
        pieces, rest = self._body.receive(data)
        self._left_bytes -= sum(map(len, pieces))
        if self._left_bytes < 0:
            raise MessageError(413, BODY_TOO_LONG)
        return pieces, rest


class WatchedBody(WrappedBody):
    """The body that another one reads; ``watch`` is told of the pieces as they come."""

    __slots__ = ("_watch",)

    def __init__(self, body: "BodyReader", watch: Callable[[list[Piece]], None]) -> None:
        super().__init__(body)
        self._watch = watch

    def receive(self, data: Piece) -> tuple[list[Piece], bytes]:
        """Take bytes; return payload and the bytes that were not read. Raises what the wrapped one raises."""
        pieces, rest = self._body.receive(data)
        if pieces:
            self._watch(pieces)
        return pieces, rest


BodyReader: TypeAlias = LengthBody | ChunkedBody | EofBody | LimitedBody | WatchedBody


def request_body(head: RequestHead) -> BodyReader | None:
    """Return the reader for a request's body, ``None`` where there is none (RFC 9112 section 6.3)."""
    if head.chunked:
        return ChunkedBody()
    return LengthBody(head.content_length) if head.content_length > 0 else None


def is_bodiless(head: ResponseHead, request_method: bytes) -> bool:
    """Say whether a response has no body, whatever its framing fields say (RFC 9112 section 6.3, rules 1 and 2)."""
    return request_method == b"HEAD" or head.status < 200 or head.status == 204 or head.status == 304


def response_body(head: ResponseHead, request_method: bytes) -> BodyReader | None:
    """Return the reader for a response's body, ``None`` where there is none (RFC 9112 section 6.3).

    After a 101 there is no body but another protocol; after any other 1xx, another head.
    """
    if is_bodiless(head, request_method):
        return None
    if head.chunked:
        return ChunkedBody(padded=True)
    if head.content_length < 0:
        return EofBody()
    return LengthBody(head.content_length) if head.content_length else None


LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body without trailers (RFC 9112 section 7.1)."""


def framed(pieces: Sequence[Piece], *, last: bool, trailers: bytes) -> list[Piece]:
    """Return ``pieces`` as one chunk, and with ``last`` the end of the body with its trailer field lines behind it.

    No bytes make no chunk: an empty one would end the body (RFC 9112 section 7.1).
    """
    size = sum(map(len, pieces))
    out: list[Piece] = [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []
    if last:
        out.append(b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK)
    return out


def _cut(data: Piece, start: int, end: int) -> Piece:
    """Return a part of ``data``: itself, a view, or a copy of a short part."""
    size = end - start
    if size == len(data):
        return data
    return memoryview(data)[start:end] if size >= VIEW_BYTES else bytes(data[start:end])


def _coalesced(pieces: list[Piece]) -> list[Piece]:
    """Join neighbouring short pieces, so that a body in tiny chunks does not cost a write for each."""
    return pieces if len(pieces) < 3 else join_small(pieces)
