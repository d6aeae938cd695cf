"""Cutting message heads out of a byte stream that arrives in pieces. Start at ``HeadReader``."""

from pico_core.http import grammar, refusals
from pico_core.http.message import HeadLimits, MessageError

CARRIAGE_RETURN = 0x0D

_START_LINE_BYTES_WITHOUT_TARGET = 32 + len(" ") + len(" HTTP/1.1\r")


class HeadReader:
    """Cuts heads out of a byte stream that arrives in pieces; one reader serves all messages of a connection.

    A head is refused as soon as no continuation can make it valid, so that a peer that sends something else is not
    waited for. Only as much is checked as that takes: a head that is returned must still be parsed. A reader for
    responses is made with ``response=True``.

    Empty lines before a request are skipped (RFC 9112 section 2.2). They are not counted in ``pending_bytes``.
    """

    __slots__ = ("_buffer", "_limits", "_line_at", "_refused", "_response", "_searched_bytes")

    def __init__(self, limits: HeadLimits, *, response: bool = False) -> None:
        self._limits = limits
        self._response = response
        self._buffer = bytearray()
        self._refused = b""  # the first bytes of a head that is refused outside of the buffer
        self._searched_bytes = 0
        self._line_at = 0  # where the last, unfinished line begins; 0 is the start line

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished head is buffered; after end of stream, more than 0 means it was truncated."""
        return 0 if self._buffer == b"\r" else len(self._buffer)

    @property
    def is_head_request(self) -> bool:
        """Whether a request that is unfinished, or was refused, is a HEAD, so that its answer has no body."""
        return (self._buffer or self._refused).startswith(b"HEAD ")

    def clear(self) -> None:
        """Drop an unfinished head. The reader cannot be used again."""
        self._buffer = bytearray()

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; return the head (with its empty line) and the bytes after it, or ``None`` while it is unfinished.

        Raises ``MessageError``, after which the reader cannot be used again. Next: ``parsing.parse_request_head`` or
        ``parsing.parse_response_head``.
        """
        if not self._buffer:
            end = data.find(b"\r\n\r\n") + 4
            if end > 3 and data[0] != CARRIAGE_RETURN:
                if end > self._limits.max_head_bytes:
                    self._refused = data[:5]
                    raise refusals.head_too_large()
                return (data, b"") if end == len(data) else (data[:end], data[end:])
        return self._receive_piece(data)

    def _receive_piece(self, data: bytes) -> tuple[bytes, bytes] | None:
        buffer = self._buffer
        buffer += data
        if not self._response and not self._searched_bytes:
            while buffer.startswith(b"\r\n"):
                del buffer[:2]
            if not buffer or buffer == b"\r":  # half an empty line waits for its line feed
                return None
        end = buffer.find(b"\r\n\r\n", max(self._searched_bytes - 3, 0)) + 4
        if end > 3:
            if end > self._limits.max_head_bytes:
                raise refusals.head_too_large()
            with memoryview(buffer) as view:
                head, rest = bytes(view[:end]), bytes(view[end:])
            self._forget()
            return head, rest
        self._refuse_early()
        self._searched_bytes = len(buffer)
        return None

    def _forget(self) -> None:
        """Begin with the next head."""
        self._buffer = bytearray()
        self._searched_bytes = self._line_at = 0

    def _refuse_early(self) -> None:
        """Raise if no continuation can make the buffered bytes a head. Costs one pass over the new bytes."""
        buffer, limits, searched = self._buffer, self._limits, self._searched_bytes
        if len(buffer) > limits.max_head_bytes:
            raise refusals.head_too_large()
        unchecked_at = searched - 1 if searched and buffer[searched - 1] == CARRIAGE_RETURN else searched
        if not grammar.head_so_far.match(buffer, unchecked_at):
            raise MessageError(400, "control character or bare line end in the head")
        line_at = buffer.rfind(b"\n", searched) + 1
        if line_at and not self._line_at:
            self._refuse_start_line()
        self._line_at = line_at or self._line_at
        if self._line_at:
            if len(buffer) - self._line_at > limits.max_field_bytes + len("\r"):
                raise refusals.field_too_long()
            return
        if searched <= _START_LINE_BYTES_WITHOUT_TARGET:
            self._refuse_beginning()
        if len(buffer) > limits.max_target_bytes + _START_LINE_BYTES_WITHOUT_TARGET:
            raise refusals.start_line_too_long()

    def _refuse_start_line(self) -> None:
        """Raise if the first line, which is complete, is not a start line."""
        if not (grammar.status_line if self._response else grammar.request_line).match(self._buffer):
            raise self._invalid()

    def _refuse_beginning(self) -> None:
        """Raise if the buffered bytes cannot begin a start line."""
        if self._response:
            valid = self._buffer[:7] == b"HTTP/1."[: len(self._buffer)]
        else:
            valid = grammar.method_begins.match(self._buffer) is not None
        if not valid:
            raise self._invalid()

    def _invalid(self) -> MessageError:
        explain = refusals.invalid_response if self._response else refusals.invalid_request
        return explain(self._buffer)
