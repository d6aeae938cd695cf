"""Duplex byte streams as the proxy sees them: a TCP connection, a mux stream, or a WebSocket carrying raw bytes.

The proxy is written once against ``Channel`` and ``ChannelUser``. On a server the client's side is a ``TcpChannel`` and
the upstream's a ``tunnel.channel.StreamChannel``; in an agent it is the other way round.
"""

from collections.abc import Callable
from typing import Protocol

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
from pico_core.pieces import Piece


class ChannelUser(Protocol):
    """The part a channel reports to. Exactly one ``on_lost`` comes last, unless the user itself ended the channel."""

    def on_data(self, data: Piece, now: float) -> None:
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
    """The user of a channel that was ended: it ignores every report."""

    __slots__ = ()

    def on_data(self, data: Piece, now: float) -> None:
        """Drop the bytes."""

    def on_eof(self, now: float) -> None:
        """Nothing to do: both directions are ending already."""

    def on_lost(self, now: float) -> None:
        """Nothing to do: it is gone as it was asked to be."""

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
        """The connection is gone (called by the machine): its user may still call this channel, without effect."""
        user, self.user = self.user, DISCARD
        self._ended = self._gone = True
        user.on_lost(now)
