"""Further tunnels for an endpoint: as many as are configured, and more while all of them fill.

A tunnel carries only so many streams, a service may take more. A further tunnel is an ``AgentListener`` of its own with
the same service, so that it may lead to another node, or another worker of one. Beyond the configured number it is left
again when the others can carry everything twice.
"""

from collections.abc import Callable
from typing import Protocol

from pico_core.agent.listener import AgentListener, ListenerState
from pico_core.bounds import TUNNEL_STREAMS
from pico_core.config.agent import ListenerConfig
from pico_core.machine.parts import Logger
from pico_core.timers import Timers

RELEASE_CHECK_S = 10.0
"""How often it is asked whether a further tunnel is still needed. The server keeps idle streams for a minute anyway."""

MAX_MOVES = 10
"""How often a tunnel is opened anew because its worker has another one of the endpoint, and further workers have none.
The kernel deals connections out by chance: with two workers, one in a thousand such tunnels stays where it is."""

REFUSED_PAUSE_S = 60.0
"""How long no further tunnel is tried after the server refused one."""


MAX_TUNNELS = 1_024
"""Of one endpoint. As many carry the highest ``max_streams``, where the server does not permit a tunnel fewer streams
than usual."""


def wanted_tunnels(config: ListenerConfig) -> int:
    """Return how many tunnels an endpoint has at least: as configured, as far as each of them may have a stream."""
    return min(config.connections, config.max_streams)


def tunnel_streams(config: ListenerConfig) -> int:
    """Return how many streams each of those tunnels has."""
    return min(config.max_streams // wanted_tunnels(config), TUNNEL_STREAMS)


class GrowthHost(Logger, Protocol):
    """The part of the machine that growth needs."""

    timers: Timers
    listeners: dict[AgentListener, None]


class Growth:
    """The listeners of an agent beyond one for each endpoint. ``make(config, streams)`` returns another one."""

    def __init__(self, host: GrowthHost, make: Callable[[ListenerConfig, int], AgentListener]) -> None:
        self.further: dict[AgentListener, None] = {}
        self._host = host
        self._make = make
        self._pause_until = 0.0
        self._is_checking = False

    def opened(self, listener: AgentListener, now: float) -> None:
        """Open what is missing of the configured number of tunnels: the server takes them, as the first one shows."""
        if self._open_missing(listener, now):
            self._check_later(now)
        group = self._group(listener)
        nodes = {each.node for each in group if each is not listener and each.has_tunnel}
        if listener.node not in nodes:
            listener.moves = 0
        elif len(nodes) < min(listener.workers, len(group)) and listener.moves < MAX_MOVES:
            listener.move(now)

    def filling(self, listener: AgentListener, now: float) -> None:
        """Open a further tunnel, if all tunnels of the endpoint fill and the service may get more."""
        group = self._group(listener)
        left = listener.config.max_streams - sum(each.permitted_streams for each in group)
        if left <= 0 or len(group) >= MAX_TUNNELS or now < self._pause_until:
            return
        if not all(each.is_filling for each in group):
            return
        self._host.log(
            "info",
            "agent",
            "opening a further tunnel",
            endpoint=listener.config.endpoint_id,
            streams=sum(each.stream_count for each in group),
        )
        self._open(listener.config, min(left, TUNNEL_STREAMS), now)
        self._check_later(now)

    def refused(self, listener: AgentListener, now: float) -> None:
        """Wait before the next one: the server does not want this one."""
        self.over(listener)
        self._pause_until = now + REFUSED_PAUSE_S

    def over(self, listener: AgentListener) -> None:
        """Forget a listener that is over."""
        self.further.pop(listener, None)

    def _open_missing(self, listener: AgentListener, now: float) -> int:
        """Open what is missing of the tunnels of a listener's endpoint; return how many those are."""
        config = listener.config
        missing = max(wanted_tunnels(config) - len(self._group(listener)), 0)
        if now >= self._pause_until:
            for _ in range(missing):
                self._open(config, tunnel_streams(config), now)
        return missing

    def _open(self, config: ListenerConfig, streams: int, now: float) -> None:
        further = self._make(config, streams)
        self.further[further] = self._host.listeners[further] = None
        further.start(now)

    def _check_later(self, now: float) -> None:
        if not self._is_checking:
            self._is_checking = True
            self._host.timers.schedule(now + RELEASE_CHECK_S, self._check)

    def _check(self, now: float) -> None:
        self._is_checking = False
        for listener in list(self.further):
            group = self._group(listener)
            rest = sum(each.permitted_streams for each in group) - listener.permitted_streams
            is_spare = listener in group and len(group) > wanted_tunnels(listener.config)
            if is_spare and 2 * sum(each.stream_count for each in group) <= rest:
                self._host.log(
                    "info", "agent", "leaving a tunnel that is not needed", endpoint=listener.config.endpoint_id
                )
                listener.leave(now)
        missing = sum(self._open_missing(each, now) for each in list(self._host.listeners) if self._is_first(each))
        if self.further or missing:
            self._check_later(now)

    def _is_first(self, listener: AgentListener) -> bool:
        """Return whether it is the one that an endpoint always has, and serves."""
        return listener not in self.further and listener.state is ListenerState.SERVING

    def _group(self, listener: AgentListener) -> list[AgentListener]:
        """Return the listeners of the same endpoint and service that stay."""
        return [
            each
            for each in self._host.listeners
            if each.config is listener.config and each.state not in (ListenerState.LEAVING, ListenerState.DONE)
        ]
