"""A mux stream as a channel, and the steps that both ends of a tunnel share: hand events over, and send output.

The part of a machine that has the connection makes a ``StreamChannel`` for every stream, gives the events of ``Tunnel``
to ``dispatch``, and calls ``flush_tunnel`` once a turn.
"""

from collections.abc import Callable

from pico_core.boundary import Data
from pico_core.machine.channel import DISCARD, HoldingReceiver, TcpChannel
from pico_core.machine.parts import Flushable, FlushScheduler
from pico_core.machine.turns import Turns
from pico_core.mux.events import (
    MuxEvent,
    SessionFailed,
    StreamAccepted,
    StreamData,
    StreamEnded,
    StreamReset,
    StreamWritable,
)
from pico_core.mux.stream import MuxStream
from pico_core.pieces import Piece, compact
from pico_core.tunnel.tunnel import Tunnel


class StreamChannel(HoldingReceiver):
    """A mux stream as a ``Channel``; it becomes the ``owner`` of the stream, which is how ``dispatch`` finds it.

    Reading is paused by withholding the credit that the peer needs to send more than its window, and by nothing else.
    ``part`` sends the output of the tunnel: it is flushed whenever the stream has something to send. Next: set
    ``user``. ``on_accepted``, if it is set, is called once, when the peer has acknowledged the stream.
    """

    __slots__ = ("_part", "_scheduler", "_stream", "_withheld_bytes", "on_accepted")

    def __init__(self, stream: MuxStream, part: Flushable, scheduler: FlushScheduler, turns: Turns) -> None:
        super().__init__(turns)
        self._stream = stream
        self._part = part
        self._scheduler = scheduler
        self._withheld_bytes = 0
        self.on_accepted: Callable[[float], None] | None = None
        stream.owner = self

    @property
    def writable(self) -> bool:
        """Whether the stream's window and the tunnel take more."""
        return self._stream.writable

    @property
    def is_accepted(self) -> bool:
        """Whether the peer has acknowledged the stream."""
        return self._stream.accepted

    def hold_acceptance(self) -> None:
        """Do not acknowledge a stream that the peer opened. Next: ``accept``, or ``abort`` to refuse it."""
        self._stream.hold_acceptance()

    def accept(self) -> None:
        """Acknowledge the stream."""
        self._stream.accept()
        self._scheduler.mark_dirty(self._part)

    def send(self, data: Data) -> None:
        """Queue bytes; they leave with the tunnel's next message."""
        if not self._ended:
            self._stream.send(data)
            self._scheduler.mark_dirty(self._part)

    def send_eof(self) -> None:
        """Send FIN after all that is queued."""
        if not self._ended:
            self._stream.send_eof()
            self._scheduler.mark_dirty(self._part)

    def close(self) -> None:
        """Send FIN after all that is queued. A peer that still sends after that gets a RST."""
        closing = not self._ended
        self._end()
        if closing:
            self._stream.send_eof()
            self._scheduler.mark_dirty(self._part)

    def abort(self) -> None:
        """Send RST and drop all that is queued."""
        self._end()
        self._stream.reset()
        self._stream.owner = GONE
        self._scheduler.mark_dirty(self._part)

    def receive(self, data: Piece, now: float) -> None:
        """Hand data of the stream to the user, and return its credit unless reading is paused (for ``dispatch``)."""
        if self._ended:
            self.abort()
            return
        if self.held is not None:
            self.held += data
        elif self._reading:
            self.user.on_data(data, now)
        else:
            self.user.on_data(compact(data), now)
        if self._reading and self.held is None:
            self._stream.consume(len(data))
        else:
            self._withheld_bytes += len(data)

    def accepted(self, now: float) -> None:
        """The peer has acknowledged the stream (for ``dispatch``)."""
        on_accepted, self.on_accepted = self.on_accepted, None
        if on_accepted is not None and not self._ended:
            on_accepted(now)

    def lost(self, now: float) -> None:
        """The stream was reset by the peer, or its tunnel is gone (for ``dispatch``)."""
        self._stream.owner = GONE
        super().lost(now)

    def _match_reading(self) -> None:
        """Return the credit that was withheld, or withhold that of the bytes that come."""
        if self._withheld_bytes and self._reading and self.held is None and not self._ended:
            self._stream.consume(self._withheld_bytes)
            self._withheld_bytes = 0
            self._scheduler.mark_dirty(self._part)


class _Gone:
    """The owner of a stream that is over: it takes events that were on their way, and does nothing with them.

    It also ends the cycle of references between stream and channel, so that both are freed at once.
    """

    user = DISCARD

    def receive(self, data: Piece, now: float) -> None:
        pass

    def eof(self, now: float) -> None:
        pass

    def accepted(self, now: float) -> None:
        pass

    def lost(self, now: float) -> None:
        pass


GONE = _Gone()


def flush_tunnel(tunnel: Tunnel, channel: TcpChannel) -> bool:
    """Send the next message of ``tunnel``; return whether another one may be due.

    One message at a time, so that the driver can say that its buffer is full before the next is made.
    """
    if not channel.writable:
        tunnel.pause_output()
    message = tunnel.take_output()
    if message is None:
        return False
    channel.send(message)
    return tunnel.has_output


def finish_tunnel(tunnel: Tunnel, channel: TcpChannel) -> None:
    """Send everything that ``tunnel`` still has to send and may send. Next: close ``channel``."""
    while (message := tunnel.take_output()) is not None:
        channel.send(message)


def dispatch(events: list[MuxEvent], on_session_event: Callable[[MuxEvent, float], None], now: float) -> None:
    """Hand events of streams to their channels, and all others to ``on_session_event``.

    ``SessionFailed`` goes to both: first to ``on_session_event``, then to every channel as the loss of its stream.
    """
    for event in events:
        if isinstance(event, StreamData):
            event.stream.owner.receive(event.data, now)
        elif isinstance(event, StreamEnded):
            event.stream.owner.eof(now)
        elif isinstance(event, StreamAccepted):
            event.stream.owner.accepted(now)
        elif isinstance(event, StreamWritable):
            event.stream.owner.user.on_writable(now)
        elif isinstance(event, StreamReset):
            event.stream.owner.lost(now)
        else:
            on_session_event(event, now)
            if isinstance(event, SessionFailed):
                for stream in event.streams:
                    stream.owner.lost(now)
