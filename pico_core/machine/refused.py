"""A connection for which there was no place, until its peer has read the answer."""

from collections.abc import Callable

from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece


class RefusedConnection:
    """The user of a refused connection: its bytes are dropped until the peer has had time to read the answer."""

    __slots__ = ("_channel", "_is_over", "_on_over")

    def __init__(self, channel: TcpChannel, answer: bytes, on_over: Callable[[], None]) -> None:
        self._channel = channel
        self._on_over = on_over
        self._is_over = False
        channel.user = self
        channel.send(answer)
        channel.send_eof()

    def on_data(self, data: Piece, now: float) -> None:
        """Drop the bytes."""

    def on_writable(self, now: float) -> None:
        """Do nothing: all that is sent was sent at once."""

    def on_eof(self, now: float) -> None:
        """The peer has seen the end, or its time is over."""
        self._channel.close()
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """Tell ``Admission``, once, that the refused peer is gone."""
        if not self._is_over:
            self._is_over = True
            self._on_over()
