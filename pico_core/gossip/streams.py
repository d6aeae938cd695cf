"""One gossip stream over TCP: one request and one answer per connection, to join, to repair, and to leave.

A join carries the sender's own state and a digest of all it knows; the answer is everything that digest lacks. The
same request repairs what datagrams cannot: a gap, an entry above the packet size, or being far behind.

A message may have many thousand entries. Reading it and answering it are cut into steps, each a few hundred
microseconds long at most, so that the node serves everything else in between.
"""

from collections.abc import Generator
from enum import Enum
from typing import Protocol, TypeAlias

from pico_core.gossip.address import HostPort
from pico_core.gossip.sealing.streams import InboundSeal, OutboundSeal, check_unsealed
from pico_core.gossip.wire.reading import StreamReader

REQUEST_TIMEOUT_S = 5.0
"""Of a request of our own, in all: half of what the other side grants it (``STREAM_TIMEOUT_S``)."""
MAX_STREAM_BYTES = 16 << 20
"""4096 nodes with ten endpoints each take 5 MiB."""
TURN_US = 4_000.0
"""About how long a stream works in one turn, in microseconds."""
WALK_VALUES = 1_000
VALUE_US = 0.4
"""The cost of looking at a value, at most; the costs of this module are estimates, above those measured."""
ENTRY_US = 6.0
"""The cost of taking an entry or a digest entry, with all that it changes in the node."""
PACKED_ENTRY_US = 2.0

Steps: TypeAlias = Generator[float | bytes, float, None]
"""The work of a stream, in steps. Each yields its cost in microseconds, or bytes to send; it is resumed with the time.

Raises ``WireError``.
"""


class Purpose(Enum):
    """Why we opened a stream."""

    JOIN = "join"
    SYNC = "sync"
    LEAVE = "leave"


class Work:
    """The steps of one stream, done in turns. ``is_busy`` says that a turn is due, also without further bytes."""

    def __init__(self, reader: StreamReader) -> None:
        self.reader = reader
        self.is_done = False
        self.is_busy = False
        self.spent_us = 0.0
        self._steps: Steps | None = None

    def begin(self, steps: Steps) -> None:
        """Take the steps, which begin when the message is whole."""
        self._steps = steps
        next(steps)

    def end(self) -> None:
        """Do nothing more: what was gathered can be freed at once."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        self.is_busy = False

    def turn(self, now: float) -> bytes:
        """Work for one turn and return the bytes to send. Raises ``WireError``."""
        steps, reader = self._steps, self.reader
        output: list[bytes] = []
        spent_us = 0.0
        self.is_busy = steps is not None
        while steps is not None and spent_us < TURN_US:
            if not reader.is_whole:
                walked = reader.walk(WALK_VALUES)
                spent_us += 1.0 + VALUE_US * walked
                if walked < WALK_VALUES and not reader.is_whole:
                    self.is_busy = False
                    break
                continue
            try:
                step = steps.send(now)
            except StopIteration:
                self.is_done, self.is_busy = True, False
                break
            if isinstance(step, bytes):
                output.append(step)
            else:
                spent_us += step
        self.spent_us += spent_us
        return b"".join(output)


class OutboundStream:
    """One request of ours, until it is answered or failed. ``asked`` are the versions that our digest gave.

    With a ``seal``, ``sealed_later`` is the request, which waits for the peer's hello.
    """

    __slots__ = ("address", "asked", "began_at", "purpose", "seal", "sealed_later", "work")

    def __init__(
        self,
        purpose: Purpose,
        address: HostPort,
        asked: dict[str, int],
        now: float,
        seal: OutboundSeal | None = None,
        sealed_later: bytes = b"",
    ) -> None:
        self.seal = seal
        self.sealed_later = sealed_later
        self.began_at = now
        self.purpose = purpose
        self.address = address
        self.asked = asked
        values = 1 if purpose is Purpose.LEAVE else 2
        self.work = Work(StreamReader(is_request=False, max_bytes=MAX_STREAM_BYTES, values=values))


class RequestHandler(Protocol):
    """The part of the engine that answers whole requests."""

    def answer_stream(self, reader: StreamReader, host: str, accepted_at: float) -> Steps:
        """Take the request and yield the answer."""

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """Add bytes of a stream to the counters of all streams."""


class InboundStream:
    """One connection that a peer opened to our gossip port. Feed it with ``gather``, and ``work`` while it is busy.

    Send the result of ``work``, and close the connection once ``is_done``. Both raise ``WireError``: close the
    connection without an answer. Bytes after the request are ignored.
    """

    def __init__(self, handler: RequestHandler, host: str, accepted_at: float, seal: InboundSeal | None = None) -> None:
        self.host = host
        self._seal = seal
        self._handler = handler
        self._work = Work(StreamReader(is_request=True, max_bytes=MAX_STREAM_BYTES))
        self._work.begin(handler.answer_stream(self._work.reader, host, accepted_at))

    @property
    def is_done(self) -> bool:
        """Whether the whole answer was returned."""
        return self._work.is_done

    @property
    def is_busy(self) -> bool:
        """Whether ``work`` is to be called, without waiting for more bytes."""
        return self._work.is_busy or (self._seal is not None and self._seal.has_hello)

    @property
    def spent_us(self) -> float:
        """About how long it has worked so far, in microseconds."""
        return self._work.spent_us

    def gather(self, data: bytes) -> None:
        """Take bytes. Next: ``work``, now or later."""
        self._handler.count_stream(len(data), 0)
        if self._work.reader.is_whole:
            return
        if self._seal is not None:
            data = self._seal.receive(data)
        elif not self._work.reader.has_begun:
            check_unsealed(data)
        if data:
            self._work.reader.receive(data)
            self._work.is_busy = True

    def work(self, now: float) -> bytes:
        """Work for about ``TURN_US`` at most, and return what is to be sent. Raises ``WireError``."""
        output = self._work.turn(now)
        if self._seal is not None:
            output = self._seal.take_hello() + self._seal.seal(output)
        self._handler.count_stream(0, len(output))
        return output
