"""A port that Pico does not have: one that sends back what it gets. Its row is all that a node needs to open it."""

from pico_core.config.server_ports import PORTS, PortRow, Ports
from pico_core.config.values import LOCALHOST, Address
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece


class Echo:
    """The user of a connection of the port."""

    def __init__(self, channel: TcpChannel) -> None:
        self._channel = channel
        channel.user = self

    def on_data(self, data: Piece, now: float) -> None:
        """Send it back, and read no more than the peer takes."""
        self._channel.send(bytes(data))
        if not self._channel.writable:
            self._channel.pause_reading()

    def on_writable(self, now: float) -> None:
        """Read on."""
        self._channel.resume_reading()

    def on_eof(self, now: float) -> None:
        """End, once all is sent."""
        self._channel.close()

    def on_lost(self, now: float) -> None:
        """Nothing is kept of it."""


def _echo(channel: TcpChannel, _now: float) -> None:
    Echo(channel)


ECHO = PortRow(
    "echo",
    "echo",
    "echo",
    "echo.bind_addr",
    bind_addr=lambda _config: Address(LOCALHOST, 0),
    accept=lambda _node: _echo,
)

WITH_ECHO: Ports = (*PORTS, ECHO)
