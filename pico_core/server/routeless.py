"""Requests for an endpoint that has no route now, and may soon: they wait a moment instead of failing.

A route may still come while this node starts and does not know the cluster yet, while it drains, and for a moment after
the last route of an endpoint was lost: its agent is looking for another node, and gossip spreads the change.
"""

from collections.abc import Callable
from typing import Protocol

from pico_core.config.ports import ProxyConfig
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.states import OVER
from pico_core.timers import NEVER, Timers

MAX_LOST = 4_096
"""Endpoints whose loss is remembered."""


class RoutelessHost(Protocol):
    """The part of the machine that waiting needs."""

    timers: Timers


class Routeless:
    """``waiting`` are the requests that wait, with the end of their time, in its order."""

    __slots__ = (
        "_closed",
        "_give_up",
        "_host",
        "_lost_at",
        "_most",
        "_route",
        "_wait_s",
        "deadline_at",
        "waiting",
    )

    def __init__(
        self,
        host: RoutelessHost,
        waiting: dict[Exchange, float],
        route: Callable[[Exchange, float], None],
        give_up: Callable[[Exchange, float], None],
    ) -> None:
        """``route`` chooses again for a request whose endpoint has a route now; ``give_up`` answers it if none came."""
        self.deadline_at = NEVER
        self._closed = False
        self._host = host
        self._route = route
        self._give_up = give_up
        self._lost_at: dict[str, float] = {}
        self._wait_s = 0.0
        self._most = 0
        self.waiting = waiting

    def configure(self, config: ProxyConfig) -> None:
        """Go by ``config`` from now on; what waits goes on waiting."""
        self._wait_s = config.wait_timeout_s
        self._most = config.max_waiting

    def lost(self, endpoint: str, now: float) -> None:
        """The endpoint lost a route just now, so its requests may wait for a new one."""
        self._lost_at.pop(endpoint, None)
        if len(self._lost_at) >= MAX_LOST:
            del self._lost_at[next(iter(self._lost_at))]
        self._lost_at[endpoint] = now

    def was_lost(self, endpoint: str, now: float) -> bool:
        """Return whether the endpoint lost a route a moment ago."""
        return now - self._lost_at.get(endpoint, -NEVER) < self._wait_s

    def hold(self, exchange: Exchange, now: float) -> bool:
        """Let a request wait; return whether there was room. Next: ``route`` or ``give_up`` is called."""
        if self._closed or len(self.waiting) >= self._most:
            return False
        self.waiting[exchange] = until = now + self._wait_s
        if until < self.deadline_at:
            self.deadline_at = until
            self._host.timers.watch(self, now)
        return True

    def forget(self, exchange: Exchange) -> None:
        """A request is over; it may be one that waits."""
        self.waiting.pop(exchange, None)

    def found(self, endpoint: str, now: float) -> None:
        """The endpoint has a route: send what waits for it there."""
        for exchange in [each for each in self.waiting if each.endpoint == endpoint]:
            if self.waiting.pop(exchange, None) is not None:
                self._route(exchange, now)

    def on_deadline(self, now: float) -> None:
        """Answer those that waited long enough."""
        self._end([exchange for exchange, until in self.waiting.items() if until <= now], now)
        self.deadline_at = min(self.waiting.values(), default=NEVER)
        if self.deadline_at == NEVER:
            self._host.timers.unwatch(self)

    def close(self, now: float) -> None:
        """The node stops: no route will come."""
        self._closed = True
        self._end(list(self.waiting), now)

    def _end(self, due: list[Exchange], now: float) -> None:
        for exchange in due:
            if self.waiting.pop(exchange, None) is not None and exchange.state is not OVER:
                self._give_up(exchange, now)
