"""Attacks: a client that sends any bytes, and a tunnel made by hand."""

import contextlib
import json

from pico_core.boundary import Data
from pico_core.mux.frame import DATA, HEADER
from pico_core.websocket.decoding import FrameDecoder
from pico_core.websocket.encoding import encode_frame
from tests.e2e.harness import LOCAL, MIB
from tests.e2e.wire import Head, dial
from tests.masks import ZeroMask

HEADER_TIMEOUT_S = 1.0
GROWTH_BYTES = 8 * MIB
"""How much a node may grow under attack: interpreters and allocators keep a little, attackers send much more."""


def attack(port: int, data: bytes) -> bytes:
    """Send ``data`` and return all that comes until the node ends the connection, which it must.

    An answer that the node sent before it reset the connection can still be received.
    """
    with dial(port) as wire:
        with contextlib.suppress(ConnectionError):  # the node need not take it all
            wire.send(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := wire.receive():
                received += more
        return received


def assert_refused(answer: bytes, *statuses: int) -> None:
    """One response with one of these statuses, and nothing behind it; the admin port answers with text."""
    start, end, body = answer.partition(b"\r\n\r\n")
    head = Head(start + end)
    assert head.status in statuses, answer
    assert int(head["content-length"]) == len(body), answer
    if head["content-type"].startswith("text/plain"):
        assert body.endswith(b"\n"), answer
    else:
        assert json.loads(body)["error"]
        assert head["connection"] == "close", answer


class HostileAgent:
    """A tunnel made by hand: it carries exactly the frames that the test sends."""

    def __init__(self, port: int, endpoint: str = "hostile") -> None:
        self.wire = dial(port)
        self.wire.send(
            f"GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nHost: {LOCAL}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert self.wire.receive_head().status == 101
        self._decoder = FrameDecoder(masked=False)
        self.frames = b""

    def __enter__(self) -> "HostileAgent":
        return self

    def __exit__(self, *exception: object) -> None:
        self.wire.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send mux frames in one message; the server may be gone already."""
        with contextlib.suppress(ConnectionError):
            self.wire.send(joined(encode_frame(frames, sum(map(len, frames)), ZeroMask())))

    def receive(self) -> bytes:
        """Return some bytes of mux frames, none when the server has ended the tunnel."""
        while True:
            try:
                data = self.wire.receive()
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            payload = b"".join(
                bytes(item) for item in self._decoder.receive(data) if isinstance(item, bytes | memoryview)
            )
            if payload:
                return payload

    def receive_frame(self) -> tuple[int, int, int, int, bytes]:
        """Return the next frame as kind, flags, stream, length and body."""
        while True:
            if len(self.frames) >= 12:
                kind, flags, stream, length = HEADER.unpack_from(self.frames)
                end = 12 + (length if kind == DATA else 0)
                if len(self.frames) >= end:
                    body, self.frames = self.frames[12:end], self.frames[end:]
                    return kind, flags, stream, length, body
            data = self.receive()
            assert data, "the server ended the tunnel"
            self.frames += data

    def receive_end(self) -> bytes:
        """Return all frames up to the end of the tunnel, which must come."""
        frames, self.frames = self.frames, b""
        while data := self.receive():
            frames += data
        return frames


def joined(data: Data) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)
