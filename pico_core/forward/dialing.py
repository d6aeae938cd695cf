"""The forwarder inside a program: the program's own connections instead of ports, and it learns what became of each."""

from pico_core.boundary import ConnectionLost, Exit, ShutdownRequested
from pico_core.config.forward import ForwardConfig
from pico_core.entropy import Entropy
from pico_core.forward.machine import ForwardMachine, PendingConnection
from pico_core.forward.pages import EndpointCounts
from pico_core.machine.channel import TcpChannel
from pico_core.program import DIAL, DialFailed, DialOpened


class DialMachine(ForwardMachine):
    """A ``Machine``. A connection accepted from listener ``DIAL + endpoint`` leads to that endpoint.

    On shutdown it ends when all of them have ended, which the program has to see to.
    """

    def __init__(self, config: ForwardConfig, entropy: Entropy) -> None:
        """``config.ports`` stay empty."""
        super().__init__(config, entropy)
        self._leaving = False
        self._handlers[ConnectionLost] = self._lost

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Reach the endpoint through the server, then join both."""
        PendingConnection(self, listener.removeprefix(DIAL), EndpointCounts(), channel, now)

    def reached(self, endpoint: str, channel: TcpChannel) -> None:
        """Tell the program."""
        self.emit(DialOpened(channel.id))

    def unreachable(self, endpoint: str, channel: TcpChannel, status: int, reason: str) -> None:
        """Tell the program."""
        self.emit(DialFailed(channel.id, status, reason))

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """End when the last byte is sent; a second request ends at once."""
        if self._leaving or not self.connection_count:
            self.emit(Exit(0, ""))
        self._leaving = True

    def _lost(self, event: ConnectionLost, now: float) -> None:
        self._connection_lost(event, now)
        if self._leaving and not self.connection_count:
            self.emit(Exit(0, ""))
