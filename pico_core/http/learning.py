"""The shapes that one connection learns from the heads that it parses, to read the next ones without a parser.

``LearntRequests`` and ``LearntResponses`` belong to one connection each and share nothing. A shape (``shape``) is made
of two heads with the same names in the same order. It is used only if it gives, for the head that it was made of, just
what the parser gave. ``docs/decisions/remembered-heads.md`` says why that is enough.
"""

import re
from typing import TypeVar

from msgspec.structs import replace

from pico_core.http import grammar
from pico_core.http.message import HeadLimits, RequestHead, ResponseHead
from pico_core.http.shape import READ_IN_REQUEST, READ_IN_RESPONSE, ReadFields, Shape, shape_of
from pico_core.http.writing import VERSION_LINE_END, own_request_lines, own_response_lines, status_line

MAX_LEARNT_BYTES = 4_096
"""Longer heads are parsed each time. A shape and its example take four times as much at most."""

MAX_MISSES = 8
MISSES_WITHOUT_LEARNING = 64
"""To learn from a head costs as much as to parse it. So after ``MAX_MISSES`` heads in a row that had to be parsed, a
connection does not learn from the next 64."""

plain_line = re.compile(rb"(?!CONNECT |TRACE )([A-Z]{1,32}) (/" + grammar.TARGET_CHARACTER + rb"*+)")
"""A request line that every parser reads alike: a served method, and a target in origin-form."""

_authorization_line = re.compile(rb"(?im)^authorization:[^\r\n]*\r\n")


Head = TypeVar("Head", RequestHead, ResponseHead)


class _Examples:
    """Compares the heads that one connection had parsed. ``shape`` is what they have in common, if that helps."""

    __slots__ = ("_differing", "_notable", "_readable", "example", "misses", "shape")

    def __init__(self, notable: re.Pattern[bytes], readable: ReadFields) -> None:
        self._notable = notable
        self._readable = readable
        self._differing: frozenset[int] = frozenset()
        self.example = b""
        self.misses = 0
        self.shape: Shape | None = None

    def compare(self, head: bytes) -> Shape | None:
        """Take a head that was parsed, with its empty line; return the shape if there is a new one, made of it."""
        self.misses += 1
        if self.misses > MAX_MISSES:
            if self.misses > MAX_MISSES + MISSES_WITHOUT_LEARNING:
                self.misses = 0
            self.example, self.shape = b"", None
            return None
        if len(head) > MAX_LEARNT_BYTES:
            return None
        before, lines = self.example.split(b"\r\n"), head.split(b"\r\n")
        if not _same_names(before, lines):
            if self.shape is None or self.misses > 1:  # a single head of another kind does not replace the example
                self.example, self.shape, self._differing = head, None, frozenset()
            return None
        self._differing |= {at for at in range(1, len(lines)) if lines[at] != before[at]}
        self.example = head
        self.shape = shape_of(lines[:-1], self._differing, self._notable, self._readable)
        if self.shape is None:
            self._differing = frozenset()
        return self.shape


def _same_names(some: list[bytes], others: list[bytes]) -> bool:
    """Return whether the lines of two heads have the same names in the same order."""
    return len(some) == len(others) and all(
        one == other or one.partition(b":")[0] == other.partition(b":")[0]
        for one, other in zip(some, others, strict=True)
    )


class LearntRequests:
    """The shape that a connection has learnt of its client's requests."""

    __slots__ = ("_examples", "_max_bytes", "_max_target_bytes", "_model", "_own_lines", "_parsed_fields")

    _model: RequestHead
    _parsed_fields: bytes
    _own_lines: bytes | None

    def __init__(self, limits: HeadLimits) -> None:
        self._examples = _Examples(grammar.notable_in_request, READ_IN_REQUEST)
        self._max_bytes = min(limits.max_head_bytes, limits.max_field_bytes)
        self._max_target_bytes = limits.max_target_bytes

    def learn(self, fields: bytes, head: RequestHead) -> None:
        """Take a head that was parsed, and its bytes behind the target of a plain line."""
        shape = self._examples.compare(fields)
        if shape is not None:
            self._model, self._parsed_fields = head, head.fields
            self._own_lines = None if shape.sets("content_length") else own_request_lines(head)
            if _made_of(fields, shape, head) != head:
                self._examples.shape = None

    def recall(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return the head that ``data`` begin with, and the bytes behind it, if it has the known shape."""
        shape = self._examples.shape
        if shape is None or (line := plain_line.match(data)) is None:
            return None
        model = self._model
        if model.fields is not self._parsed_fields:
            model = self._follow_model(shape)
        line_end = line.end()
        read = shape.read(data, line_end)
        if read is None:
            return None
        fields, changes, end = read
        method, target = line.group(1, 2)
        if end > self._max_bytes or len(target) > self._max_target_bytes:
            return None
        self._examples.misses = 0
        own = self._own_lines
        onward = b"" if own is None else VERSION_LINE_END + fields + own
        head = replace(model, method=method, target=target, fields=fields, onward=onward)
        for attribute, value in changes:
            setattr(head, attribute, value)
            if attribute == "host" and not head.endpoint:
                head.endpoint_id = ""  # the host decides it (``proxy.endpoint``)
        return head, data[end:]

    def _follow_model(self, shape: Shape) -> RequestHead:
        """Return a model of which the next heads may be made, after the last one was completed.

        A verified token was taken out of its fields (``server.access``). Where the token is in the bytes that all have
        in common, it is theirs as well; else each of them has its own, which is still to be verified.
        """
        model, kept = self._model, shape.kept
        shape.leave_out(_authorization_line)
        made = _made_of(self._examples.example, shape, model)
        if made is not None and made.fields == model.fields:
            self._parsed_fields = model.fields
        else:
            shape.kept = kept
            model = replace(model, fields=self._parsed_fields, authorization=b"", grant=None, onward=b"")
            self._model = model
        return model


class LearntResponses:
    """The shape that a connection has learnt of the service's responses."""

    __slots__ = ("_examples", "_first_line", "_max_bytes", "_model", "_own_lines")

    _model: ResponseHead
    _first_line: bytes
    _own_lines: bytes | None

    def __init__(self, limits: HeadLimits) -> None:
        self._examples = _Examples(grammar.notable_in_response, READ_IN_RESPONSE)
        self._max_bytes = min(limits.max_head_bytes, limits.max_field_bytes)

    def learn(self, head_bytes: bytes, head: ResponseHead) -> None:
        """Take a head that was parsed, and its bytes. Those of interim and bodiless responses are not learnt from."""
        if head.status < 200 or head.status == 204:
            return
        shape = self._examples.compare(head_bytes)
        if shape is not None:
            self._model = head
            self._first_line = status_line(head)
            self._own_lines = None if shape.sets("content_length") else own_response_lines(head) + b"\r\n"
            if _made_of(head_bytes, shape, head) != head:
                self._examples.shape = None

    def recall(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Return the head that ``data`` begin with, and where it ends, if it has the known shape."""
        shape = self._examples.shape
        if shape is None or (read := shape.read(data, 0)) is None:
            return None
        fields, changes, end = read
        if end > self._max_bytes:
            return None
        self._examples.misses = 0
        own = self._own_lines
        onward = b"" if own is None else self._first_line + fields + own
        head = replace(self._model, fields=fields, onward=onward)
        for attribute, value in changes:
            setattr(head, attribute, value)
        return head, end


def _made_of(example: bytes, shape: Shape, head: Head) -> Head | None:
    """Return the result of the shape for the head that it was made of, all else taken from ``head``."""
    read = shape.read(example, 0)
    return None if read is None else replace(head, fields=read[0], **dict(read[1]))
