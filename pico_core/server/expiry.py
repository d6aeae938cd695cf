"""The end of raw connections whose token has expired: TCP and WebSockets, which no request ends."""

from typing import Protocol

from pico_core.machine.parts import WallClock
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.states import PIPED
from pico_core.timers import NEVER, Timers

CHECK_S = 1.0
"""How late a connection may be cut; the check takes 0.1 us for each."""


class ExpiryHost(WallClock, Protocol):
    """What the checks need of the machine."""

    timers: Timers


class PipeExpiry:
    """Watches exchanges that were piped under a token, and cuts them when it has expired."""

    def __init__(self, host: ExpiryHost) -> None:
        self._host = host
        self.watched: dict[Exchange, float] = {}
        """Until when (wall time) each of them may last."""

    def watch(self, exchange: Exchange, expires_at: float, now: float) -> None:
        """Cut ``exchange`` at ``expires_at``. Next: ``forget``, when it is over."""
        if expires_at == NEVER:
            return
        if not self.watched:
            self._host.timers.schedule(now + CHECK_S, self._check)
        self.watched[exchange] = expires_at

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over, whether it was ever watched or not."""
        self.watched.pop(exchange, None)

    def _check(self, now: float) -> None:
        wall_s = self._host.wall_s(now)
        for exchange in [each for each, expires_at in self.watched.items() if expires_at <= wall_s]:
            if exchange.state is PIPED:
                exchange.cut_pipe(now)
        if self.watched:
            self._host.timers.schedule(now + CHECK_S, self._check)
