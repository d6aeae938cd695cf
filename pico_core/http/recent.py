"""Readers of the heads on one connection: they cut, parse, and remember what they have read.

A client repeats its header fields from request to request: only the request line changes, and matching it is short
(0.5 us instead of 5). An origin repeats whole response heads within a second. So the last head is remembered: its bytes
are compared one by one, equal bytes give the same result, and different ones cost a comparison that fails early. Where
a few values differ each time, ``learning`` reads the head without a parser (2.5 us). Why each connection has a memory
of its own: ``docs/decisions/remembered-heads.md``.
"""

import re

from msgspec.structs import replace

from pico_core.http.cutting import HeadReader
from pico_core.http.learning import LearntRequests, LearntResponses, plain_line
from pico_core.http.message import HeadLimits, MessageError, RequestHead, ResponseHead
from pico_core.http.parsing import parse_request_head, parse_response_head
from pico_core.http.repair import HeadRepair
from pico_core.http.writing import VERSION_LINE_END

MAX_REMEMBERED_BYTES = 4_096
"""Longer heads are not remembered: few heads are longer, and a connection must stay small."""

BAD_SYNTAX = 400
"""The status of errors that a repair may mend: not those of sizes, or of what is not supported."""


_numbered = re.compile(rb"X-Pico-Request-ID: ([0-9a-f]{16})\r\n\r\n")
_NUMBERED_BYTES = len("X-Pico-Request-ID: 0123456789abcdef\r\n\r\n")
"""The last line of what a Pico node forwards: it differs from request to request where all other fields are equal."""


class RequestReader(HeadReader):
    """Reads the requests of one connection; ``read`` is ``receive`` and ``parse_request_head`` with a memory.

    Between requests, ``pending_bytes`` says whether one has begun.
    """

    __slots__ = ("_differs", "_fields", "_last", "_learnt", "_line_bytes", "_read_before", "_tail_bytes")

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self._fields = b""
        self._last: RequestHead | None = None
        self._learnt: LearntRequests | None = None
        self._differs = False  # the last head was read by its shape, so the next one is hardly the remembered one
        self._read_before: tuple[bytes, int, bytes, bytes] | None = None  # what may differ in that head but its ID
        self._line_bytes = 0  # how much of a request line the limits leave before those fields
        self._tail_bytes = 0  # how long the line of the request's ID is that comes behind them, where there is one

    def read(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Take bytes; return a request's head and the bytes after it, or ``None`` while it is unfinished.

        Raises ``MessageError``, after which the reader cannot be used again. Next: ``body.request_body``.
        """
        if not self._buffer:
            head = None if self._differs else self._recall(data)
            if head is not None:
                return head, b""
            read = None if self._learnt is None else self._learnt.recall(data)
            if read is not None:
                self._note_repetition(data, *read)
                return read
        cut = self.receive(data)
        if cut is None:
            return None
        head_bytes, rest = cut
        head = None if head_bytes is data else self._recall(head_bytes)
        if head is None:
            try:
                head = parse_request_head(head_bytes, self._limits)
            except MessageError:
                self._refused = head_bytes[:5]
                raise
            line_bytes = self._remember(head_bytes, head)
            if line_bytes:
                if self._learnt is None:
                    self._learnt = LearntRequests(self._limits)
                self._learnt.learn(head_bytes[line_bytes:] if self._tail_bytes else self._fields, head)
        return head, rest

    def _note_repetition(self, data: bytes, head: RequestHead, rest: bytes) -> None:
        """Remember a head that was read by its shape if it is as the one before: to compare all of it is faster."""
        size = len(data) - len(rest)
        read = head.fields, head.content_length, head.forwarded_for, head.forwarded_host
        if read == self._read_before:
            self._remember(data[:size], head)
        else:
            self._differs = True
            self._read_before = read if size <= MAX_REMEMBERED_BYTES else None

    def _recall(self, head_bytes: bytes) -> RequestHead | None:
        """Return the remembered head with a new request line, if ``head_bytes`` are a plain line and the same fields.

        A line is plain if every parser reads it alike: a served method, a target in origin-form, and HTTP/1.1.
        """
        if self._tail_bytes:
            return self._recall_numbered(head_bytes)
        line_bytes = len(head_bytes) - len(self._fields)
        if self._last is None or line_bytes > self._line_bytes or not head_bytes.endswith(self._fields):
            return None
        line = plain_line.fullmatch(head_bytes, 0, line_bytes)
        return None if line is None else replace(self._last, method=line[1], target=line[2])

    def _recall_numbered(self, head_bytes: bytes) -> RequestHead | None:
        """Do the same where the ID of the request, which differs each time, comes behind the fields."""
        end = len(head_bytes) - self._tail_bytes
        line_bytes = end - len(self._fields)
        if self._last is None or line_bytes > self._line_bytes or not head_bytes.endswith(self._fields, 0, end):
            return None
        line = plain_line.fullmatch(head_bytes, 0, line_bytes)
        tail = _numbered.fullmatch(head_bytes, end)
        if line is None or tail is None:
            return None
        return replace(self._last, method=line[1], target=line[2], request_id=tail[1])

    def _remember(self, head_bytes: bytes, head: RequestHead) -> int:
        """Remember a short head with a plain line; return the size of that line without HTTP/1.1, or 0 for others."""
        self._differs = False
        line_bytes = head_bytes.find(VERSION_LINE_END)
        numbered = head.request_id and _numbered.fullmatch(head_bytes, len(head_bytes) - _NUMBERED_BYTES)
        tail_bytes = _NUMBERED_BYTES if numbered else 0
        fields = head_bytes[line_bytes : len(head_bytes) - tail_bytes]
        if not 0 < len(fields) <= MAX_REMEMBERED_BYTES or not plain_line.fullmatch(head_bytes, 0, line_bytes):
            return 0
        self._fields = fields
        self._last = head
        self._tail_bytes = tail_bytes
        limits = self._limits
        self._line_bytes = min(limits.max_target_bytes, limits.max_head_bytes - len(fields) - tail_bytes)
        return line_bytes


class ResponseReader(HeadReader):
    """Reads the responses of one connection; ``read`` is ``receive`` and ``parse_response_head`` with a memory.

    A head that they refuse is repaired where that is safe (``repair``).
    """

    __slots__ = ("_last", "_last_bytes", "_learnt", "_repair")

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits, response=True)
        self._last_bytes = b""
        self._last: ResponseHead | None = None
        self._learnt: LearntResponses | None = None
        self._repair: HeadRepair | None = None

    def read(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Take bytes; return a response's head and the bytes after it, or ``None`` while it is unfinished.

        Raises ``MessageError``, after which the reader cannot be used again. Next: ``body.response_body``.
        """
        if self._last is not None and not self._buffer and data.startswith(self._last_bytes):
            return self._last, data[len(self._last_bytes) :]
        if self._repair is not None:
            return self._repaired(self._repair, data)
        if self._learnt is not None and not self._buffer:
            learnt = self._learnt.recall(data)
            if learnt is not None:
                head, end = learnt
                if end <= MAX_REMEMBERED_BYTES:
                    self._last, self._last_bytes = head, data[:end]
                return head, data[end:]
        cut = None
        try:
            cut = self.receive(data)
            if cut is None:
                return None
            head_bytes, rest = cut
            head = parse_response_head(head_bytes, self._limits)
        except MessageError as error:
            if error.status != BAD_SYNTAX:
                raise
            return self._repaired(
                HeadRepair(self._limits, error), bytes(self._buffer) if cut is None else b"".join(cut)
            )
        if len(head_bytes) <= MAX_REMEMBERED_BYTES:
            self._last_bytes, self._last = head_bytes, head
            if self._learnt is None:
                self._learnt = LearntResponses(self._limits)
            self._learnt.learn(head_bytes, head)
        return head, rest

    def _repaired(self, repair: HeadRepair, data: bytes) -> tuple[ResponseHead, bytes] | None:
        self._repair = None
        read = repair.receive(data)
        if read is None:
            self._repair = repair
        else:
            self._forget()
        return read
