"""A channel that waits for another one to be dialed, and is then joined with it: raw TCP in the agent and forwarder."""

from collections.abc import Callable

from pico_core.machine.channel import Channel
from pico_core.pieces import Piece
from pico_core.proxy.pipe import Pipe


class WaitingChannel:
    """Holds what a channel receives until ``join``. What is held is bounded: the channel is paused at once."""

    __slots__ = ("_channel", "_eof", "_held", "_on_lost", "lost")

    def __init__(self, channel: Channel, on_lost: Callable[[float], None]) -> None:
        """``on_lost`` is called if the channel is gone before ``join``: the other one is not wanted any more."""
        self.lost = False
        self._on_lost = on_lost
        self._channel = channel
        self._held: list[Piece] = []
        self._eof = False
        channel.user = self
        channel.pause_reading()

    def join(self, other: Channel, now: float, on_end: Callable[[float], None]) -> None:
        """Pass on what was held and pipe both channels from now on. ``other`` is reset if the first is lost already.

        ``on_end`` is called when both have ended, and not where the first is lost already.
        """
        if self.lost:
            other.abort()
            return
        pipe = Pipe(self._channel, other, on_end)
        user = self._channel.user
        for data in self._held:
            user.on_data(data, now)
        if self._eof:
            user.on_eof(now)
        pipe.start()

    def refuse(self) -> None:
        """The other channel will not come: reset this one."""
        if not self.lost:
            self.lost = True
            self._channel.abort()

    def on_data(self, data: Piece, now: float) -> None:
        """Hold bytes that were on their way when reading was paused."""
        self._held.append(data)

    def on_eof(self, now: float) -> None:
        """Remember the end of stream."""
        self._eof = True

    def on_lost(self, now: float) -> None:
        """The client left before the other channel was ready."""
        self.lost = True
        self._on_lost(now)

    def on_writable(self, now: float) -> None:
        """Do nothing: nothing was sent yet."""
