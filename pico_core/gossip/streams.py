"""One gossip stream over TCP: one request and one answer per connection, to join, to repair, and to leave.

A join carries the sender's own state and a digest of all it knows; the answer is everything that digest lacks. The
same request repairs what datagrams cannot: a gap, an entry above the packet size, or being far behind.
"""

from enum import Enum
from typing import Protocol

from pico_core.gossip.wire.reading import StreamReader
from pico_core.gossip.wire.records import Join, Leave

REQUEST_TIMEOUT_S = 5.0
MAX_STREAM_BYTES = 16 << 20
"""4096 nodes with ten endpoints each take 5 MiB."""


class Purpose(Enum):
    """Why we opened a stream."""

    JOIN = "join"
    SYNC = "sync"
    LEAVE = "leave"


class OutboundStream:
    """One request of ours, until it is answered or failed. ``asked`` are the versions that our digest gave."""

    __slots__ = ("address", "asked", "began_at", "purpose", "reader")

    def __init__(self, purpose: Purpose, address: tuple[str, int], asked: dict[str, int], now: float) -> None:
        self.began_at = now
        self.purpose = purpose
        self.address = address
        self.asked = asked
        self.reader = StreamReader(is_request=False, max_bytes=MAX_STREAM_BYTES)

    @property
    def values(self) -> int:
        """The number of values in the answer."""
        return 1 if self.purpose is Purpose.LEAVE else 2


class RequestHandler(Protocol):
    """The part of the engine that answers whole requests."""

    def answer_stream(self, request: Join | Leave, host: str, now: float) -> bytes:
        """Take the request and return the answer."""

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """Count bytes of a stream."""


class InboundStream:
    """One connection that a peer opened to our gossip port. Feed it with ``receive``."""

    __slots__ = ("_handler", "_host", "_is_done", "_reader")

    def __init__(self, handler: RequestHandler, host: str) -> None:
        self._handler = handler
        self._host = host
        self._is_done = False
        self._reader = StreamReader(is_request=True, max_bytes=MAX_STREAM_BYTES)

    def receive(self, data: bytes, now: float) -> bytes | None:
        """Take bytes; return the answer once the request is whole: send it and close.

        Raises ``WireError``: close the connection without an answer. Bytes after the request are ignored.
        """
        if self._is_done:
            return None
        self._handler.count_stream(len(data), 0)
        if not self._reader.receive(data):
            return None
        self._is_done = True
        answer = self._handler.answer_stream(self._reader.request(), self._host, now)
        self._handler.count_stream(0, len(answer))
        return answer
