"""Duplex byte streams as the proxy sees them: a TCP connection, a mux stream, or a WebSocket carrying raw bytes.

The proxy is written once against ``Channel`` and ``ChannelUser``. On a server the client's side is a ``TcpChannel`` and
the upstream's a ``StreamChannel``; in an agent it is the other way round.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from pico_core.boundary import (
    Abort,
    Close,
    Command,
    Data,
    PauseReading,
    ResumeReading,
    Send,
    SendEof,
)
from pico_core.mux.session import MuxEvent, SessionFailed, StreamData, StreamEnded, StreamReset, StreamWritable
from pico_core.mux.stream import Stream
from pico_core.tunnel import Tunnel

Payload: TypeAlias = bytes | memoryview


class ChannelUser(Protocol):
    """Whoever a channel reports to. Exactly one ``on_lost`` comes last, unless the user itself ended the channel."""

    def on_data(self, data: Payload, now: float) -> None:
        """Bytes arrived."""

    def on_eof(self, now: float) -> None:
        """The peer sent its end of stream; it can still receive."""

    def on_lost(self, now: float) -> None:
        """The channel is gone in both directions."""

    def on_writable(self, now: float) -> None:
        """The channel takes more after ``writable`` had been false."""


class Channel(Protocol):
    """A duplex byte stream with back-pressure and half-close."""

    user: ChannelUser

    @property
    def writable(self) -> bool:
        """Whether more should be sent now. What is sent all the same is kept, so stop soon."""

    def send(self, data: Data) -> None:
        """Send bytes after everything sent before. Next: look at ``writable``."""

    def send_eof(self) -> None:
        """Send our end of stream; receiving goes on."""

    def close(self) -> None:
        """Send what is queued, then end both directions. No event comes to the user any more."""

    def abort(self) -> None:
        """Reset: what is queued is thrown away. No event comes to the user any more."""

    def pause_reading(self) -> None:
        """Stop the peer from sending more. What is on its way still arrives."""

    def resume_reading(self) -> None:
        """Let the peer send again."""


class Discard:
    """The user of a channel nobody listens to any more."""

    __slots__ = ()

    def on_data(self, data: Payload, now: float) -> None:
        """Drop the bytes."""

    def on_eof(self, now: float) -> None:
        """Nothing to do: both directions are ending already."""

    def on_lost(self, now: float) -> None:
        """Nothing to do: nobody waits for it."""

    def on_writable(self, now: float) -> None:
        """Nothing to do: nothing is left to send."""


DISCARD = Discard()


class TcpChannel:
    """A TCP connection of this node: turns calls into commands. The node turns inputs into calls on ``user``."""

    __slots__ = ("_emit", "_ended", "_gone", "_on_closing", "_reading", "host", "id", "user", "writable")

    def __init__(
        self, connection: int, host: str, emit: Callable[[Command], None], on_closing: Callable[[int], None]
    ) -> None:
        """``host`` is the peer's address; ``on_closing`` hears of ``close``, to bound how long the peer may take."""
        self.id = connection
        self.host = host
        self.user: ChannelUser = DISCARD
        self.writable = True
        self._emit = emit
        self._on_closing = on_closing
        self._reading = True
        self._ended = False
        self._gone = False

    def send(self, data: Data) -> None:
        """Send bytes; nothing happens once the channel was closed."""
        if not self._ended:
            self._emit(Send(self.id, data))

    def send_eof(self) -> None:
        """Send our end of stream."""
        if not self._ended:
            self._emit(SendEof(self.id))

    def close(self) -> None:
        """Flush and close; the node resets the connection if the peer does not take what is left in time."""
        if not self._ended:
            self._ended = True
            self.user = DISCARD
            self._emit(Close(self.id))
            self._on_closing(self.id)

    def abort(self) -> None:
        """Reset the connection, also one that is being closed."""
        self._ended = True
        self.user = DISCARD
        if not self._gone:
            self._gone = True
            self._emit(Abort(self.id))

    def pause_reading(self) -> None:
        """Stop receiving."""
        if self._reading and not self._ended:
            self._reading = False
            self._emit(PauseReading(self.id))

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._reading and not self._ended:
            self._reading = True
            self._emit(ResumeReading(self.id))

    def lost(self, now: float) -> None:
        """The connection is gone (called by the node): whatever its user still asks for comes to nothing."""
        user, self.user = self.user, DISCARD
        self._ended = self._gone = True
        user.on_lost(now)


class StreamChannel:
    """A mux stream. Pausing withholds the credit the peer needs to send more (its window), and nothing else."""

    __slots__ = ("_ended", "_on_output", "_reading", "_stream", "_withheld_bytes", "user")

    def __init__(self, stream: Stream, on_output: Callable[[], None]) -> None:
        self._stream = stream
        self._on_output = on_output
        self._reading = True
        self._withheld_bytes = 0
        self._ended = False
        self.user: ChannelUser = DISCARD
        stream.owner = self

    @property
    def writable(self) -> bool:
        """Whether the stream's window and the tunnel take more."""
        return self._stream.writable

    def send(self, data: Data) -> None:
        """Queue bytes; they leave with the tunnel's next message."""
        if not self._ended:
            self._stream.send(data)
            self._on_output()

    def send_eof(self) -> None:
        """Send FIN after what is queued."""
        if not self._ended:
            self._stream.send_eof()
            self._on_output()

    def close(self) -> None:
        """Send FIN after what is queued. A peer that still sends after that is told to stop by RST."""
        if not self._ended:
            self._ended = True
            self.user = DISCARD
            self._stream.send_eof()
            self._on_output()

    def abort(self) -> None:
        """Send RST and drop what is queued."""
        self._ended = True
        self.user = DISCARD
        self._stream.reset()
        self._stream.owner = GONE
        self._on_output()

    def pause_reading(self) -> None:
        """Grant the peer no more credit."""
        self._reading = False

    def resume_reading(self) -> None:
        """Grant the credit that was withheld."""
        self._reading = True
        if self._withheld_bytes:
            self._stream.consume(self._withheld_bytes)
            self._withheld_bytes = 0
            self._on_output()

    def receive(self, data: Payload, now: float) -> None:
        """Hand over data of the stream (called by the tunnel's side) and settle its credit."""
        if self._ended:
            self.abort()
            return
        self.user.on_data(data, now)
        if self._reading:
            self._stream.consume(len(data))
        else:
            self._withheld_bytes += len(data)

    def lost(self, now: float) -> None:
        """The stream was reset by the peer, or its tunnel is gone (called by the tunnel's side)."""
        user, self.user = self.user, DISCARD
        self._ended = True
        self._stream.owner = GONE
        user.on_lost(now)


class _Gone:
    """The owner of a stream that is over, for events that were on their way. It also unties stream and channel."""

    user = DISCARD

    def receive(self, data: Payload, now: float) -> None:
        """Drop the bytes: the stream was reset."""

    def lost(self, now: float) -> None:
        """Nothing to do: it is over."""


GONE = _Gone()


def flush_tunnel(tunnel: Tunnel, channel: TcpChannel, on_more: Callable[[], None]) -> None:
    """Send the next message of ``tunnel``; ``on_more`` is called if another one may be due.

    One message at a time: the driver has the chance to say that its buffer is full before the next is made.
    """
    if not channel.writable:
        tunnel.pause_output()
    message = tunnel.take_output()
    if message is not None:
        channel.send(message)
        on_more()


def finish_tunnel(tunnel: Tunnel, channel: TcpChannel) -> None:
    """Send all that ``tunnel`` still has to say. Next: close ``channel``."""
    while (message := tunnel.take_output()) is not None:
        channel.send(message)


def dispatch(events: list[MuxEvent], on_session_event: Callable[[MuxEvent, float], None], now: float) -> None:
    """Hand events of streams to their channels, and all others to ``on_session_event``."""
    for event in events:
        if isinstance(event, StreamData):
            event.stream.owner.receive(event.data, now)
        elif isinstance(event, StreamEnded):
            event.stream.owner.user.on_eof(now)
        elif isinstance(event, StreamWritable):
            event.stream.owner.user.on_writable(now)
        elif isinstance(event, StreamReset):
            event.stream.owner.lost(now)
        else:
            on_session_event(event, now)
            if isinstance(event, SessionFailed):
                for stream in event.streams:
                    stream.owner.lost(now)
