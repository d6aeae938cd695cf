"""WebSocket (RFC 6455): both handshakes, and the frames after them.

Server: ``accept_handshake``, then a ``FrameDecoder(masked=True)`` and ``encode_frame(..., entropy=None)``.
Client: ``ClientHandshake``, then a ``FrameDecoder(masked=False)`` and ``encode_frame(..., entropy)``.
Only binary messages carry data, and their borders mean nothing. There is never an extension or a subprotocol.
"""

import base64
import json
import re
import struct
from collections.abc import Sequence
from typing import NoReturn, Protocol, TypeAlias

import h11
from wsproto import ConnectionType
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError as HandshakeRefusal
from wsproto.utilities import generate_accept_token

from pico_core.boundary import Data, Record
from pico_core.errors import LocalProtocolError, RemoteProtocolError

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform: slow, and the same bytes
    from websockets.utils import apply_mask

MAX_HEAD_BYTES = 16_384
"""Of a handshake, either way. Browsers and proxies stay below 8 KiB; a token may take another 8."""

MAX_REFUSAL_BYTES = 16_384
"""Of the body of a refused handshake. Ours are one line."""

MAX_RESPONSE_BYTES = 65_536
"""Of everything before the client handshake is decided: interim responses, the head, the refusal with its framing."""

MAX_REASON_CHARACTERS = 200

VIEW_BYTES = 4_096
"""Payloads from this size on are never copied for joining; below it, a copy costs less than another piece."""

JOIN_BELOW_BYTES = 16_384
"""Messages smaller than this are joined without a look at each of their pieces, of which there may be a hundred."""

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FINAL = 0x80
RESERVED = 0x70
OPCODE = 0x0F
MASKED = 0x80
LENGTH_BITS = 0x7F
CONTROL = 0x08
FINAL_BINARY = FINAL | BINARY
MAX_CONTROL_BYTES = 125
LENGTH_16 = 126
LENGTH_64 = 127
MAX_FRAME_BYTES = 2**63 - 1

NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS = 1005
INVALID_DATA = 1007

ZERO_MASK = bytes(4)
HEAD_16 = struct.Struct(">BBH")
HEAD_64 = struct.Struct(">BBQ")
UINT_64 = struct.Struct(">Q")

SHORT_HEADS = tuple(bytes((FINAL_BINARY, size)) for size in range(LENGTH_16))

REQUEST_LINE = re.compile(rb"GET [!-~]+ HTTP/1\.1\r\n")
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class Entropy(Protocol):
    """Where random bits come from: ``random.Random`` in simulations, ``random.SystemRandom`` in life."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` random bits."""


class ZeroMask:
    """Entropy that makes every masking key zero, so that masking costs nothing.

    For clients inside TLS only: masking keeps chosen plaintext from confusing proxies on the way (RFC 6455, 10.3),
    and inside TLS none of them can read.
    """

    def getrandbits(self, _k: int, /) -> int:
        """Return no bit set."""
        return 0


class HandshakeError(RemoteProtocolError):
    """The handshake failed.

    On a server ``status`` is what to answer with, and 426 wants the header ``Sec-WebSocket-Version: 13``. On a client
    it is the status of the answer, or 0 when there was no proper one. ``reason`` is one short line, fit for a log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"WebSocket handshake failed: {status} {reason}")
        self.status = status
        self.reason = reason


class FrameError(RemoteProtocolError):
    """The peer broke the framing: close with ``code``. ``items`` are what it sent before that; they still count."""

    def __init__(self, code: int, reason: str, items: "list[Item]") -> None:
        super().__init__(reason)
        self.code = code
        self.items = items


# --- handshake, server -----------------------------------------------------------------------------------------------


def accept_handshake(head: bytes) -> bytes:
    """Return the 101 response to a request head (with its empty line, nothing behind). RFC 6455, section 4.2.

    Raises ``HandshakeError``. Which target and which headers are welcome is for the caller to check before.
    """
    if len(head) > MAX_HEAD_BYTES:
        raise HandshakeError(400, "request head too large")
    if not REQUEST_LINE.match(head):
        raise HandshakeError(400, "not a GET request in HTTP/1.1")
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(head)
        request = next(handshake.events(), None)
    except HandshakeRefusal as error:
        status = 426 if getattr(error.event_hint, "status_code", 400) == 426 else 400
        raise HandshakeError(status, "not a WebSocket handshake of version 13") from error
    except UnicodeError as error:  # wsproto decodes some headers before it looks at them
        raise HandshakeError(400, "not a WebSocket handshake of version 13") from error
    if not isinstance(request, Request):
        raise HandshakeError(400, "incomplete request head")
    names = [name.lower() for name, _ in request.extra_headers]
    if names.count(b"sec-websocket-key") != 1 or not KEY.fullmatch(dict(request.extra_headers)[b"sec-websocket-key"]):
        raise HandshakeError(400, "invalid Sec-WebSocket-Key")
    if b"content-length" in names or b"transfer-encoding" in names:
        raise HandshakeError(400, "WebSocket handshake with a body")
    return handshake.send(AcceptConnection())


# --- handshake, client -----------------------------------------------------------------------------------------------


class ClientHandshake:
    """The client's side of the opening handshake: ``request_bytes``, then ``receive`` until it is decided."""

    def __init__(self, host: str, target: str, headers: Sequence[tuple[bytes, bytes]], entropy: Entropy) -> None:
        """``host`` is what the Host header says. Raises ``LocalProtocolError`` if it cannot be put into a request."""
        self._key = base64.b64encode(entropy.getrandbits(128).to_bytes(16, "big"))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._received_bytes = 0
        self._refusal: h11.Response | None = None
        self._body = b""
        fields = [
            (b"Host", host.encode()),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", b"13"),
            *headers,
        ]
        try:
            request = h11.Request(method=b"GET", target=target.encode(), headers=fields)
            self._request = self._http.send(request) or b""
        except h11.LocalProtocolError as error:
            raise LocalProtocolError(f"no WebSocket handshake for {host} {target}: {error}") from error

    def request_bytes(self) -> bytes:
        """Return the request to send first. Next: ``receive``."""
        return self._request

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the answer. ``None`` needs more; bytes are what came behind an accepted 101, maybe none.

        Raises ``HandshakeError``: with the server's ``{"error": ...}`` where it gave one.
        """
        self._http.receive_data(data)
        rest = self._progress()
        self._received_bytes += len(data)
        if rest is None and self._received_bytes > MAX_RESPONSE_BYTES:
            self._give_up("the answer is too large")
        return rest

    def receive_eof(self) -> NoReturn:
        """Take the end of the stream before the handshake was accepted; raises the ``HandshakeError`` it means."""
        self._give_up("connection closed during the handshake")

    def _progress(self) -> bytes | None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._give_up("the answer is not HTTP/1.1")
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._check(event)
                    return self._http.trailing_data[0]
            elif isinstance(event, h11.Response):
                self._refusal = event
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_REFUSAL_BYTES:
                    self._give_up("refused")
            elif isinstance(event, h11.EndOfMessage):
                self._give_up("refused")
            else:
                return None

    def _check(self, response: h11.InformationalResponse) -> None:
        """Hold the 101 against RFC 6455, section 4.1; nothing was offered, so nothing may have been agreed on."""
        fields: dict[bytes, list[bytes]] = {}
        for name, value in response.headers:
            fields.setdefault(name, []).append(value.strip())
        connection = [token.strip().lower() for token in b",".join(fields.get(b"connection", ())).split(b",")]
        if (
            [value.lower() for value in fields.get(b"upgrade", ())] != [b"websocket"]
            or b"upgrade" not in connection
            or fields.get(b"sec-websocket-accept") != [generate_accept_token(self._key)]
            or b"sec-websocket-extensions" in fields
            or b"sec-websocket-protocol" in fields
        ):
            raise HandshakeError(101, "the answer does not complete the WebSocket handshake")

    def _give_up(self, reason: str) -> NoReturn:
        """Raise with what the server said, or with ``reason`` if it did not even give a status."""
        if self._refusal is None:
            raise HandshakeError(0, reason)
        reason = self._refusal.reason.decode("latin-1")
        try:
            content = json.loads(self._body[:MAX_REFUSAL_BYTES])
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and isinstance(content.get("error"), str):
            reason = content["error"]
        printable = "".join(each for each in reason if each.isprintable())
        raise HandshakeError(self._refusal.status_code, printable[:MAX_REASON_CHARACTERS] or "refused")


# --- frames, receiving -----------------------------------------------------------------------------------------------


class Ping(Record, frozen=True, gc=False):
    """The peer wants a pong with the same payload; of several only the last needs one."""

    payload: bytes


class Pong(Record, frozen=True, gc=False):
    """Answer to a ping, or a sign of life on its own."""

    payload: bytes


class CloseReceived(Record, frozen=True, gc=False):
    """The peer sends nothing after this. ``code`` is 1005 when it gave none."""

    code: int
    reason: str


Item: TypeAlias = bytes | memoryview | Ping | Pong | CloseReceived


class FrameDecoder:
    """Frames in, what they carry out. ``masked``: the peer is a client and has to mask, else it must not.

    Holds no byte while idle: at most a cut frame head or control frame, 138 bytes, waits for its rest.
    """

    __slots__ = ("_ended", "_in_message", "_mask", "_masked", "_partial", "_payload_bytes")

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._ended = False
        self._in_message = False
        self._mask = ZERO_MASK
        self._partial = b""
        self._payload_bytes = 0

    def receive(self, data: bytes) -> list[Item]:
        """Take bytes, cut anywhere, and return payload of binary messages as it comes, and control frames.

        Payload from 4 KiB on that need not be unmasked is a view of ``data``. Raises ``FrameError`` once, with what
        came before it; after that, or after ``CloseReceived``, bytes are ignored.
        """
        items: list[Item] = []
        if self._ended:
            return items
        if self._partial:
            data = self._partial + data
            self._partial = b""
        size = len(data)
        at = 0
        masked = self._masked
        while at < size:
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
        return items

    def _receive_payload(self, data: bytes, at: int, items: list[Item]) -> int:
        """Take what has come of a frame's payload and return where it ends."""
        end = min(at + self._payload_bytes, len(data))
        size = end - at
        self._payload_bytes -= size
        piece: bytes | memoryview = memoryview(data)[at:end] if size >= VIEW_BYTES else data[at:end]
        if self._mask != ZERO_MASK:
            piece = apply_mask(piece, self._mask)
            self._mask = rotated(self._mask, size)
        items.append(piece)
        return end

    def _check_first(self, first: int, items: list[Item]) -> None:
        """Hold the first byte of a frame against RFC 6455, section 5.2, and against the message it is a part of."""
        opcode = first & OPCODE
        if first & RESERVED:
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
        """Read a length of 2 or 8 bytes, which must not fit into a shorter form (RFC 6455, section 5.2)."""
        length = data[at] << 8 | data[at + 1] if end - at == 2 else int.from_bytes(data[at:end], "big")
        if length < LENGTH_16 or (end - at == 8 and not 0xFFFF < length <= MAX_FRAME_BYTES):
            raise self._error(PROTOCOL_ERROR, "invalid frame length", items)
        return length

    def _receive_control(self, data: bytes, at: int, first: int, length: int, items: list[Item]) -> int:
        """Take a control frame, whole or not at all yet, and return where to go on: nowhere after a close frame."""
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
        """Read a close frame: nothing, or a code that may be sent (RFC 6455, section 7.4) and a reason."""
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


# --- frames, sending -------------------------------------------------------------------------------------------------


def encode_frame(pieces: Sequence[bytes | memoryview], size: int, entropy: Entropy | None) -> Data:
    """Return one binary message with the ``size`` bytes of ``pieces``; clients give ``entropy`` (RFC 6455, 5.3).

    Small messages and small pieces are joined; pieces from 4 KiB on stay as they are, or are copied once by masking.
    """
    if entropy is None:
        head = encode_head(size, 0)
        if size < JOIN_BELOW_BYTES:
            return head + b"".join(pieces)
        return tuple(joined((head, *pieces)))
    mask = entropy.getrandbits(32).to_bytes(4, "big")
    head = encode_head(size, MASKED) + mask
    if size < JOIN_BELOW_BYTES:
        payload = b"".join(pieces)
        return head + (payload if mask == ZERO_MASK else apply_mask(payload, mask))
    if mask == ZERO_MASK:
        return tuple(joined((head, *pieces)))
    masked: list[bytes | memoryview] = [head]
    for piece in joined(pieces):
        masked.append(apply_mask(piece, mask))
        mask = rotated(mask, len(piece))
    return tuple(masked)


def encode_ping(payload: bytes, entropy: Entropy | None) -> bytes:
    """Return a ping with at most 125 bytes of payload."""
    return encode_control(PING, payload, entropy)


def encode_pong(payload: bytes, entropy: Entropy | None) -> bytes:
    """Return the answer to a ping: with the payload it had."""
    return encode_control(PONG, payload, entropy)


def encode_close(code: int, reason: str, entropy: Entropy | None) -> bytes:
    """Return a close frame; nothing may be sent after it. ``reason`` is cut to what fits, 1005 gives no code."""
    if code == NO_STATUS:
        return encode_control(CLOSE, b"", entropy)
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return encode_control(CLOSE, code.to_bytes(2, "big") + text, entropy)


def encode_control(opcode: int, payload: bytes, entropy: Entropy | None) -> bytes:
    """Return a control frame. Raises ``LocalProtocolError`` if the payload is over 125 bytes."""
    if len(payload) > MAX_CONTROL_BYTES:
        raise LocalProtocolError(f"control frame with {len(payload)} bytes")
    if entropy is None:
        return bytes((FINAL | opcode, len(payload))) + payload
    mask = entropy.getrandbits(32).to_bytes(4, "big")
    return bytes((FINAL | opcode, MASKED | len(payload))) + mask + apply_mask(payload, mask)


def encode_head(size: int, masked: int) -> bytes:
    """Return the head of a binary message up to the masking key; ``masked`` is 0 or ``MASKED``."""
    if size < LENGTH_16:
        return bytes((FINAL_BINARY, masked | size)) if masked else SHORT_HEADS[size]
    if size < 0x10000:
        return HEAD_16.pack(FINAL_BINARY, masked | LENGTH_16, size)
    return HEAD_64.pack(FINAL_BINARY, masked | LENGTH_64, size)


def rotated(mask: bytes, size: int) -> bytes:
    """Return the key as it has to be applied to what follows ``size`` masked bytes."""
    offset = size & 3
    return mask[offset:] + mask[:offset] if offset else mask


def joined(pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Join runs of small pieces; large ones stay on their own."""
    result: list[bytes | memoryview] = []
    run: list[bytes | memoryview] = []
    for piece in pieces:
        if len(piece) < VIEW_BYTES:
            run.append(piece)
            continue
        if run:
            result.append(b"".join(run))
            run = []
        result.append(piece)
    if run:
        result.append(b"".join(run))
    return result
