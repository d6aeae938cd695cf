"""A mux stream as a channel, and what either end of a tunnel does with the tunnel's events and output."""

from collections.abc import Callable

from pico_core.boundary import (
    Data,
)
from pico_core.machine.channel import DISCARD, ChannelUser, TcpChannel
from pico_core.mux.events import MuxEvent, SessionFailed, StreamData, StreamEnded, StreamReset, StreamWritable
from pico_core.mux.stream import Stream
from pico_core.pieces import Piece
from pico_core.tunnel.tunnel import Tunnel


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

    def receive(self, data: Piece, now: float) -> None:
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

    def receive(self, data: Piece, now: float) -> None:
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
