"""The classes that a loop calls for one TCP connection: two protocols, each the fastest of its loop.

Protocol classes and not streams, because a stream costs a task and a future per read (220 us a request against 15).
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from pico_core.boundary import Data, EofReceived, Received, WritingPaused, WritingResumed
from pico_driver.connection import HIGH_WATER_BYTES, LOW_WATER_BYTES, ConnectionOwner
from pico_driver.reads import RECEIVE_BUFFER_BYTES
from pico_driver.sockets import endpoint, received_before_loss, reset_on_close

RECEIVED_PER_TURN_BYTES = 131_072
"""How much may be received before the turn ends. uvloop reads up to 256,000 bytes at once, and after a full read it
reads again, up to 32 times, from one connection. Without this bound the machine could not ask for a pause before all
of that had been read and kept."""


class TransportOwner(ConnectionOwner, Protocol):
    """The part of its driver that a protocol of a loop needs."""

    def opened(self, connection: "Connection") -> None:
        """Give a connection that was opened its number and tell the machine."""

    def end_turn(self) -> None:
        """Hand the inputs of this turn to the machine now, and carry its commands out."""


class Connection(asyncio.BaseProtocol):
    """One accepted or outgoing connection; the machine knows it by ``number``.

    ``listener`` is empty for an outgoing one. ``sendable`` turns false with ``SendEof`` and ``Close``.
    """

    __slots__ = ("closing", "ended", "failure", "listener", "number", "owner", "sendable", "transport", "write")

    transport: asyncio.Transport
    write: Callable[[bytes], None]
    """Sends one piece."""

    def __init__(self, owner: TransportOwner, listener: str, number: int) -> None:
        self.owner = owner
        self.listener = listener
        self.number = number
        self.sendable = True
        self.closing = False
        self.ended = False
        self.failure: OSError | None = None  # what was found outside the loop's own calls

    # --- what the loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the loop opened the connection."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        self.transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        self.owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take the bytes read; after much of it, end the turn, since libuv reads on unless it is told to stop."""
        owner = self.owner
        owner.hand_over(Received(self.number, data))
        owner.turn_bytes += len(data)
        if owner.turn_bytes >= RECEIVED_PER_TURN_BYTES:
            owner.end_turn()

    def eof_received(self) -> bool:
        """Take the peer's end of stream, once; true keeps our own direction open."""
        self.ended = True
        self.owner.hand_over(EofReceived(self.number))
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """End: nothing is called after this. The socket is still open: the loop closes it next."""
        error = error or self.failure
        if error is not None and not self.ended and not self.closing:
            for data in received_before_loss(self.transport.get_extra_info("socket").fileno()):
                self.owner.hand_over(Received(self.number, data))
        self.owner.lost(self.number, error)

    def pause_writing(self) -> None:
        """Note that the transport holds more than the high-water mark (called from within ``write``)."""
        self.owner.hand_over(WritingPaused(self.number))

    def resume_writing(self) -> None:
        """Note that the transport has drained below the low-water mark."""
        self.owner.hand_over(WritingResumed(self.number))

    # --- what the machine commands ---

    def send(self, data: Data) -> None:
        """Send one piece or several."""
        if isinstance(data, bytes):
            self.write(data)
        else:
            self.send_pieces(data)

    def send_pieces(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        """Send several pieces in order, as one: ``writelines`` joins too on 3.11, and on 3.12 ignores the high mark."""
        self.transport.write(b"".join(pieces))

    def send_eof(self) -> None:
        """Half-close, after what is buffered."""
        if not self.sendable:
            return
        self.sendable = False
        try:
            self.transport.write_eof()
        except OSError as error:  # the peer has reset the connection, and the loop has not noticed yet
            self.failure = error
            self.transport.abort()

    def close(self) -> None:
        """Close, after what is buffered."""
        self.sendable = False
        self.closing = True
        self.transport.close()

    def reset(self) -> None:
        """Throw away what is buffered and reset the connection."""
        self.sendable = False
        self.closing = True
        reset_on_close(self.transport.get_extra_info("socket"))
        self.transport.abort()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the peer, or an empty host when it is gone already."""
        return endpoint(self.transport.get_extra_info("peername") or ("", 0))

    @property
    def unsent(self) -> bool:
        """Whether something waits for the peer to take it."""
        return bool(self.transport.get_write_buffer_size())

    def flush(self) -> None:
        """Do nothing: the loop sends by itself whatever can leave."""

    def change_owner(self, owner: TransportOwner) -> None:
        """Tell ``owner`` what happens from now on."""
        self.owner = owner

    def pause_reading(self) -> None:
        """Stop receiving."""
        if not self.ended and not self.closing:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again; after the end of stream this would report the end a second time."""
        if not self.ended and not self.closing:
            self.transport.resume_reading()


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """For plain asyncio, which with ``Protocol`` maps and unmaps 256 KiB of memory for every read."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer all connections share: it is read and copied from before the next one is."""
        return self.owner.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes read into the shared buffer."""
        self.data_received(bytes(self.owner.receive_buffer[:nbytes]))


class StreamConnection(Connection, asyncio.Protocol):
    """For uvloop, which reads into a buffer of its own and writes pieces without joining them."""

    __slots__ = ("_small_reads",)

    def __init__(self, owner: TransportOwner, listener: str, number: int) -> None:
        super().__init__(owner, listener, number)
        self._small_reads = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the loop opened the connection."""
        super().connection_made(transport)
        self._fit_reads()

    def resume_reading(self) -> None:
        """Receive again; after the end of stream this would report the end a second time."""
        self._fit_reads()
        super().resume_reading()

    def _fit_reads(self) -> None:
        """Let uvloop read into our buffer while that is smaller than its own; the next start of reading obeys."""
        small = len(self.owner.receive_buffer) < RECEIVE_BUFFER_BYTES
        if small is not self._small_reads:
            self._small_reads = small
            self.transport.set_protocol(SmallReads(self) if small else self)

    def send_pieces(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        """Send with one ``writev``, without joining."""
        self.transport.writelines(pieces)


class SmallReads(asyncio.BufferedProtocol):
    """Stands in for a ``StreamConnection`` while its reads are small: uvloop reads into our buffer then."""

    __slots__ = ("_connection",)

    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer all connections share."""
        return self._connection.owner.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes read into the shared buffer; after a full one, end the turn, for the machine may pause it."""
        owner = self._connection.owner
        more = nbytes == len(owner.receive_buffer)
        self._connection.data_received(bytes(owner.receive_buffer[:nbytes]))
        if more:
            owner.end_turn()

    def eof_received(self) -> bool:
        """Take the peer's end of stream."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the transport is closed; ``exc`` is why, ``None`` for an end without error."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the transport holds more than the high-water mark."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the transport has drained."""
        self._connection.resume_writing()
