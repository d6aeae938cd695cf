"""Duplex byte streams as the proxy sees them: a TCP connection, a mux stream, or a WebSocket carrying raw bytes.

The proxy is written once against ``Channel`` and ``ChannelUser``. On a server the client's side is a ``TcpChannel`` and
the upstream's a ``tunnel.channel.StreamChannel``; in an agent it is the other way round.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from pico_core.boundary import Abort, Close, Command, Data, PauseReading, ResumeReading, Send, SendEof
from pico_core.machine.turns import Turns
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
        """Send queued bytes, then end both directions. No event comes to the user any more."""

    def abort(self) -> None:
        """Reset: queued bytes are thrown away. No event comes to the user any more."""

    def pause_reading(self) -> None:
        """Stop the peer from sending more. What is on its way still arrives."""

    def resume_reading(self) -> None:
        """Let the peer send again."""


class HoldingChannel(Channel, Protocol):
    """A channel whose user may put off a part of the bytes that came."""

    @property
    def refusal(self) -> str:
        """Why the peer did not take our part of the TLS handshake, where the channel was lost for that; else empty."""

    def hold(self, rest: bytes) -> None:
        """Give ``rest`` to the user again in a later turn, and receive nothing until then.

        For a user that stops inside ``on_data``. Does nothing if the user has ended the channel.
        """


class Discard:
    """The user of a channel that was ended: it ignores every report."""

    __slots__ = ()

    def on_data(self, data: Piece, now: float) -> None:
        """Drop the bytes."""

    def on_eof(self, now: float) -> None:
        """Do nothing: both directions are ending already."""

    def on_lost(self, now: float) -> None:
        """Do nothing: the channel was closed on purpose."""

    def on_writable(self, now: float) -> None:
        """Do nothing: nothing is left to send."""


DISCARD = Discard()


class _End(Enum):
    """The part that ended behind the bytes that are held."""

    NONE = "nothing"
    EOF = "the peer's direction"
    LOST = "the channel"


class HoldingReceiver:
    """The receiving side that channels share: a user that had its share of a turn holds back the rest.

    ``held`` is ``None``, or what waits for a later turn. Bytes and ends that come behind it wait as well, and the peer
    is told to stop meanwhile, so that no more than one read waits.
    """

    refusal = ""

    __slots__ = ("_ended", "_held_end", "_queued", "_reading", "_turns", "held", "user")

    def __init__(self, turns: Turns) -> None:
        self.user: ChannelUser = DISCARD
        self.held: bytes | None = None
        self._turns = turns
        self._held_end = _End.NONE
        self._queued = False
        self._reading = True
        self._ended = False

    def hold(self, rest: bytes) -> None:
        """Give ``rest`` to the user again in a later turn, and receive nothing until then.

        For a user that stops inside ``on_data``. Does nothing if the user has ended the channel.
        """
        if self.user is not DISCARD:
            self.held = rest
            self._wait()
            self._match_reading()

    def pause_reading(self) -> None:
        """Stop the peer from sending more. What is on its way still arrives."""
        if self._reading:
            self._reading = False
            self._match_reading()

    def resume_reading(self) -> None:
        """Let the peer send again."""
        if not self._reading:
            self._reading = True
            if self.held is not None:
                self._wait()
            self._match_reading()

    def eof(self, now: float) -> None:
        """The peer sent its end of stream (for the machine, and ``dispatch``)."""
        if self.held is None:
            self.user.on_eof(now)
        else:
            self._held_end = _End.EOF

    def lost(self, now: float) -> None:
        """The channel is gone: its user may still call it, without effect (for the machine, and ``dispatch``)."""
        self._ended = True
        if self.held is None:
            user, self.user = self.user, DISCARD
            user.on_lost(now)
        else:
            self._held_end = _End.LOST
            self.resume_reading()

    def on_turn(self, now: float) -> None:
        """Hand over what was held (for ``Turns``)."""
        self._queued = False
        if self.held is None or not self._reading:
            return
        data, self.held = self.held, None
        self.user.on_data(data, now)
        self._give_end(now)

    def _give_end(self, now: float) -> None:
        """Give the user the end that waits, unless the user holds back bytes before it."""
        if self.held is None:
            end, self._held_end = self._held_end, _End.NONE
            if end is _End.EOF:
                self.user.on_eof(now)
            elif end is _End.LOST:
                self.lost(now)
            self._match_reading()

    def _wait(self) -> None:
        if not self._queued:
            self._queued = True
            self._turns.wait(self)

    def _end(self) -> None:
        """Tell the user nothing more."""
        self._ended = True
        self.user = DISCARD
        self.held = None

    def _match_reading(self) -> None:
        """Receive exactly while the user reads and nothing is held."""
        raise NotImplementedError


class TcpChannel(HoldingReceiver):
    """A TCP connection: it turns calls into commands. Its machine turns inputs into calls on ``user``."""

    __slots__ = (
        "_emit",
        "_gone",
        "_on_closing",
        "_receiving",
        "host",
        "id",
        "is_nameless",
        "refusal",
        "writable",
    )

    def __init__(
        self,
        connection: int,
        host: str,
        emit: Callable[[Command], None],
        on_closing: Callable[[int], None],
        turns: Turns,
    ) -> None:
        """``host`` is the peer's address, or that of its client where a PROXY header told it.

        ``is_nameless`` says that the PROXY header of the connection told no address: ``host`` is the proxy then, and
        the bytes are a client's. ``refusal`` says, when the connection is lost, why the peer did not take our part of
        the TLS handshake.

        ``on_closing`` is called by ``close``, to bound how long the peer may take.
        """
        super().__init__(turns)
        self.id = connection
        self.host = host
        self.is_nameless = False
        self.refusal = ""
        self.writable = True
        self._emit = emit
        self._on_closing = on_closing
        self._receiving = True
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
        """Flush and close; the machine resets the connection if the peer does not take the rest in time."""
        closing = not self._ended
        self._end()
        if closing:
            self._emit(Close(self.id))
            self._on_closing(self.id)

    def abort(self) -> None:
        """Reset the connection, also one that is being closed."""
        self._end()
        if not self._gone:
            self._gone = True
            self._emit(Abort(self.id))

    def lost(self, now: float) -> None:
        """The connection is gone (for the machine)."""
        self._gone = True
        super().lost(now)

    def _match_reading(self) -> None:
        receiving = self._reading and self.held is None
        if receiving is not self._receiving and not self._ended:
            self._receiving = receiving
            self._emit(ResumeReading(self.id) if receiving else PauseReading(self.id))
