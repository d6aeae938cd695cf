"""Further tunnels for an endpoint whose tunnels fill: a tunnel carries only so many streams, a service may take more.

A further tunnel is an ``AgentListener`` of its own with the same service, so that it may lead to another node. It is
left again when the others can carry everything twice.
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

REFUSED_PAUSE_S = 60.0
"""How long no further tunnel is tried after the server refused one."""


class GrowthHost(Logger, Protocol):
    """What growth needs of the machine."""

    timers: Timers
    listeners: dict[AgentListener, None]


class Growth:
    """The listeners of an agent beyond one for each endpoint. ``make(config, streams)`` returns another one."""

    def __init__(self, host: GrowthHost, make: Callable[[ListenerConfig, int], AgentListener]) -> None:
        self.further: dict[AgentListener, None] = {}
        self._host = host
        self._make = make
        self._pause_until = 0.0

    def filling(self, listener: AgentListener, now: float) -> None:
        """Open a further tunnel, if all tunnels of the endpoint fill and the service may get more."""
        group = self._group(listener)
        left = listener.config.max_streams - sum(each.max_streams for each in group)
        if left <= 0 or now < self._pause_until or not all(each.is_filling for each in group):
            return
        further = self._make(listener.config, min(left, TUNNEL_STREAMS))
        self._host.log(
            "info",
            "agent",
            "opening a further tunnel",
            endpoint=listener.config.endpoint_id,
            streams=sum(each.stream_count for each in group),
        )
        if not self.further:
            self._host.timers.schedule(now + RELEASE_CHECK_S, self._check)
        self.further[further] = self._host.listeners[further] = None
        further.start(now)

    def refused(self, listener: AgentListener, now: float) -> None:
        """Wait before the next one: the server does not want this one."""
        self.over(listener)
        self._pause_until = now + REFUSED_PAUSE_S

    def over(self, listener: AgentListener) -> None:
        """Forget a listener that is over."""
        self.further.pop(listener, None)

    def _check(self, now: float) -> None:
        for listener in list(self.further):
            group = self._group(listener)
            rest = sum(each.max_streams for each in group) - listener.max_streams
            if listener in group and 2 * sum(each.stream_count for each in group) <= rest:
                self._host.log(
                    "info", "agent", "leaving a tunnel that is not needed", endpoint=listener.config.endpoint_id
                )
                listener.leave(now)
        if self.further:
            self._host.timers.schedule(now + RELEASE_CHECK_S, self._check)

    def _group(self, listener: AgentListener) -> list[AgentListener]:
        """Return the listeners of the same endpoint and service that stay."""
        return [
            each
            for each in self._host.listeners
            if each.config is listener.config and each.state not in (ListenerState.LEAVING, ListenerState.DONE)
        ]
