"""What the parts of a machine may ask of it, as narrow protocols: none of them knows the whole machine."""

from typing import Protocol

from pico_core.machine.channel import TcpChannel

LogField = str | int | float | bool


class Dialer(Protocol):
    """Whoever asked for an outbound connection."""

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """The connection is open. Set ``channel.user``."""

    def on_connect_failed(self, reason: str, now: float) -> None:
        """It could not be opened."""


class Flushable(Protocol):
    """Something that gathers output during a turn and emits it once, when the node is polled."""

    def flush(self, now: float) -> None:
        """Emit what was gathered."""
