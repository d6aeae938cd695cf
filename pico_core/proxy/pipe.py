"""Raw bytes both ways between two channels: what follows a 101, and TCP."""

from collections.abc import Callable

from pico_core.machine.channel import Channel
from pico_core.pieces import Piece


class Pipe:
    """Joins two channels until both directions have ended. Half-close passes through; a reset resets the other side.

    ``on_end(now)`` is called once both channels are closed. ``left_bytes`` and ``right_bytes`` count the bytes
    from each side.
    """

    __slots__ = ("_ended", "_left", "_on_end", "_right", "left_bytes", "right_bytes")

    def __init__(self, left: Channel, right: Channel, on_end: Callable[[float], None]) -> None:
        self.left_bytes = 0
        self.right_bytes = 0
        self._ended = False
        self._on_end = on_end
        self._left = PipeEnd(self, left, right)
        self._right = PipeEnd(self, right, left)
        left.user = self._left
        right.user = self._right

    def start(self) -> None:
        """Let both sides read; call it once what was held back before the pipe has been sent."""
        self._left.match_reading()
        self._right.match_reading()

    def eof(self, now: float) -> None:
        """One direction has ended; close both channels when both have."""
        if self._left.ended and self._right.ended:
            self._left.channel.close()
            self._right.channel.close()
            self._end(now)

    def lost(self, end: "PipeEnd", survivor: Channel, now: float) -> None:
        """One channel is gone: after its end of stream that is orderly, else the reset is passed on."""
        if end.ended:
            survivor.close()
        else:
            survivor.abort()
        self._end(now)

    def cut(self, now: float) -> None:
        """Reset both channels."""
        self._left.channel.abort()
        self._right.channel.abort()
        self._end(now)

    def count(self, end: "PipeEnd", size: int) -> None:
        """Add ``size`` bytes to those received from one side."""
        if end is self._left:
            self.left_bytes += size
        else:
            self.right_bytes += size

    def _end(self, now: float) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(now)


class PipeEnd:
    """One side of a pipe: hands what its channel receives to the other channel."""

    __slots__ = ("_other", "_pipe", "channel", "ended")

    def __init__(self, pipe: Pipe, channel: Channel, other: Channel) -> None:
        self.channel = channel
        self.ended = False
        self._pipe = pipe
        self._other = other

    def match_reading(self) -> None:
        """Read from this side exactly as long as the other side takes more."""
        if self._other.writable:
            self.channel.resume_reading()
        else:
            self.channel.pause_reading()

    def on_data(self, data: Piece, now: float) -> None:
        """Pass bytes on."""
        self._pipe.count(self, len(data))
        self._other.send(data if type(data) is bytes else (data,))
        if not self._other.writable:
            self.channel.pause_reading()

    def on_eof(self, now: float) -> None:
        """Pass the end of stream on; the other direction goes on."""
        self.ended = True
        self._other.send_eof()
        self._pipe.eof(now)

    def on_lost(self, now: float) -> None:
        """This side is gone."""
        self._pipe.lost(self, self._other, now)

    def on_writable(self, now: float) -> None:
        """This side takes more again: read from the other."""
        self._other.resume_reading()
