"""Decoding of frames (RFC 6455 section 5). Start at ``FrameDecoder``."""

from typing import Final, TypeAlias

from pico_core.errors import RemoteProtocolError
from pico_core.pieces import VIEW_BYTES, Piece
from pico_core.records import Record
from pico_core.websocket.frame import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    FINAL,
    FINAL_BINARY,
    INVALID_DATA,
    LENGTH_16,
    LENGTH_BITS,
    MASKED,
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    NO_STATUS,
    OPCODE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RESERVED_BITS,
    TEXT,
    UNSUPPORTED_DATA,
)
from pico_core.websocket.masking import ZERO_MASK, apply_mask, rotated


class FrameError(RemoteProtocolError):
    """The peer broke the framing.

    ``items`` came before that; they still count. Next: act on them, then send ``encoding.encode_close``
    with ``code`` (RFC 6455 section 7.4) and close the connection.
    """

    def __init__(self, code: int, reason: str, items: "list[Item]") -> None:
        super().__init__(reason)
        self.code = code
        self.items = items


class Ping(Record, frozen=True, gc=False):
    """The peer wants a pong with the same payload; of several pings only the last needs one (RFC 6455 section 5.5.3).

    Next: ``encoding.encode_pong``.
    """

    payload: bytes


class Pong(Record, frozen=True, gc=False):
    """The answer to a ping, or one that was not asked for (RFC 6455 section 5.5.3). No answer is due."""

    payload: bytes


class CloseReceived(Record, frozen=True, gc=False):
    """The peer sends nothing after this. ``code`` is 1005 when it gave none (RFC 6455 section 7.1.5).

    Next: ``encoding.encode_close``, unless one was sent already.
    """

    code: int
    reason: str


Item: TypeAlias = Piece | Ping | Pong | CloseReceived
"""Payload of a binary message, or a control frame."""


_FRAMES_AT_ONCE: Final = range(512)
"""How many frames one call reads: half a millisecond of work. A full read may hold 128,000 empty ones."""


class FrameDecoder:
    """Takes the bytes after the handshake and returns the payload and control frames in them.

    ``masked`` says that the peer is a client, which has to mask; a server must not (RFC 6455 section 5.1). The decoder
    keeps at most a cut frame head or control frame, 130 bytes, until its rest has come; payload is passed on at once.
    Only after very many frames in one call it keeps the rest, and ``behind`` is true. Next: ``receive(b"")``, after
    others had their turn.
    """

    __slots__ = ("_ended", "_in_message", "_mask", "_masked", "_partial", "_payload_bytes", "behind")

    def __init__(self, *, masked: bool) -> None:
        self.behind = False
        self._masked = masked
        self._ended = False
        self._in_message = False
        self._mask = ZERO_MASK
        self._partial = b""
        self._payload_bytes = 0

    def receive(self, data: bytes) -> list[Item]:
        """Take bytes, cut anywhere, and return payload of binary messages as it comes, and control frames.

        Payload from ``VIEW_BYTES`` on that need not be unmasked is a view of ``data``. Raises ``FrameError`` once, with
        the items before it; after that, or after ``CloseReceived``, bytes are ignored.
        """
        items: list[Item] = []
        self.behind = False
        if self._ended:
            return items
        data = self._partial + data  # no copy where one of them is empty
        self._partial = b""
        size = len(data)
        at = 0
        masked = self._masked
        for _ in _FRAMES_AT_ONCE:
            if at >= size:
                break
            if self._payload_bytes:
                at = self._receive_payload(data, at, items)
                continue
            if size - at < 2:
                self._partial = data[at:]
                break
            first = data[at]
            length = data[at + 1]
            if first != FINAL_BINARY or self._in_message:
                self._check_first(first, items)
            if (length >= MASKED) is not masked:
                raise self._error(PROTOCOL_ERROR, "masking is wrong for this side", items)
            length &= LENGTH_BITS
            if first & CONTROL:
                at = self._receive_control(data, at, first, length, items)
                continue
            start = at + 2
            if length >= LENGTH_16:
                start += 2 if length == LENGTH_16 else 8
                if start <= size:
                    length = self._long_length(data, at + 2, start, items)
            if masked:
                start += 4
            if start > size:
                self._partial = data[at:]
                break
            self._in_message = first < FINAL
            if masked:
                self._mask = data[start - 4 : start]
            at = start + length
            if at <= size and length < VIEW_BYTES:
                if length:
                    piece = data[start:at]
                    items.append(apply_mask(piece, self._mask) if masked and self._mask != ZERO_MASK else piece)
            else:
                self._payload_bytes = length
                at = start
        else:
            self._partial = data[at:]
            self.behind = at < size
        return items

    def _receive_payload(self, data: bytes, at: int, items: list[Item]) -> int:
        """Take the part of a frame's payload that has come, and return where it ends."""
        end = min(at + self._payload_bytes, len(data))
        size = end - at
        self._payload_bytes -= size
        piece: Piece = memoryview(data)[at:end] if size >= VIEW_BYTES else data[at:end]
        if self._mask != ZERO_MASK:
            piece = apply_mask(piece, self._mask)
            self._mask = rotated(self._mask, size)
        items.append(piece)
        return end

    def _check_first(self, first: int, items: list[Item]) -> None:
        """Check the first byte of a frame against RFC 6455 section 5.2, and against the message it is a part of."""
        opcode = first & OPCODE
        if first & RESERVED_BITS:
            raise self._error(PROTOCOL_ERROR, "reserved bits are set", items)
        if opcode in (CLOSE, PING, PONG):
            if not first & FINAL:
                raise self._error(PROTOCOL_ERROR, "control frame in fragments", items)
        elif opcode == TEXT:
            raise self._error(UNSUPPORTED_DATA, "text message", items)
        elif opcode not in (BINARY, CONTINUATION):
            raise self._error(PROTOCOL_ERROR, f"unknown opcode {opcode}", items)
        elif (opcode == CONTINUATION) is not self._in_message:
            raise self._error(PROTOCOL_ERROR, "fragment out of order", items)

    def _long_length(self, data: bytes, at: int, end: int, items: list[Item]) -> int:
        """Read a length of 2 or 8 bytes, which must not fit into a shorter form (RFC 6455 section 5.2)."""
        length = data[at] << 8 | data[at + 1] if end - at == 2 else int.from_bytes(data[at:end], "big")
        if length < LENGTH_16 or (end - at == 8 and not 0xFFFF < length <= MAX_FRAME_BYTES):
            raise self._error(PROTOCOL_ERROR, "invalid frame length", items)
        return length

    def _receive_control(self, data: bytes, at: int, first: int, length: int, items: list[Item]) -> int:
        """Take a control frame, or wait for the rest of it; return where the next frame begins.

        Nothing is read after a close frame: the end of ``data`` is returned then.
        """
        if length > MAX_CONTROL_BYTES:
            raise self._error(PROTOCOL_ERROR, "control frame too large", items)
        start = at + 6 if self._masked else at + 2
        end = start + length
        if end > len(data):
            self._partial = data[at:]
            return len(data)
        payload = data[start:end]
        if self._masked:
            payload = apply_mask(payload, data[start - 4 : start])
        opcode = first & OPCODE
        if opcode == PING:
            items.append(Ping(payload))
        elif opcode == PONG:
            items.append(Pong(payload))
        else:
            items.append(self._close(payload, items))
            return len(data)
        return end

    def _close(self, payload: bytes, items: list[Item]) -> CloseReceived:
        """Read a close frame: nothing, or a code that may be sent (RFC 6455 section 7.4) and a reason."""
        code = int.from_bytes(payload[:2], "big") if payload else NO_STATUS
        if payload and not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise self._error(PROTOCOL_ERROR, "invalid close code", items)
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError as error:
            raise self._error(INVALID_DATA, "close reason is not UTF-8", items) from error
        self._ended = True
        return CloseReceived(code, reason)

    def _error(self, code: int, reason: str, items: list[Item]) -> FrameError:
        self._ended = True
        return FrameError(code, reason, items)
