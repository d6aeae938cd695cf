"""How a node leaves: it still serves while balancers and agents go elsewhere, then closes what is left, and exits."""

from collections.abc import Collection
from typing import Protocol

from pico_core.boundary import StopListening
from pico_core.machine.parts import STOP_HINT, Emitter, Logger
from pico_core.server.cluster import ClusterSide
from pico_core.server.facts import Facts, NodePhase
from pico_core.server.ports import Port
from pico_core.server.router import ProxyRouter
from pico_core.timers import Timers

DRAIN_CHECK_S = 0.1
"""How often a draining node looks whether it can leave."""

DRAIN_SPREAD_S = 1.0
"""Over how long a draining node asks its agents to leave, so that the other nodes do not get all tunnels at once."""

LEAVE_S = 1.0
"""How long a leaving node waits for other nodes to confirm that they know."""

LEFT_CHECK_S = 0.05
"""How often a leaving node looks whether they have confirmed it."""

STOP_RESERVE_S = 2.0
"""How long before the grace period ends a node gives up on what is still in flight."""


class DrainingHost(Emitter, Logger, Protocol):
    """The part of the machine that draining needs."""

    timers: Timers

    def stop(self, code: int, message: str) -> None:
        """Leave the driver."""


class Draining:
    """Takes a node from ``RUNNING`` to its end."""

    def __init__(
        self, host: DrainingHost, facts: Facts, router: ProxyRouter, cluster: ClusterSide, ports: Collection[Port]
    ) -> None:
        self._host = host
        self._facts = facts
        self._router = router
        self._cluster = cluster
        self._ports = ports
        self._began_at = 0.0
        self._leave_by = 0.0

    def begin(self, now: float) -> None:
        """Ask the agents to go elsewhere, and leave once that and what is in flight is done."""
        self._facts.state = NodePhase.DRAINING
        self._began_at = now
        self._router.closing = True
        tunnels = list(self._facts.tunnels)
        self._host.log(
            "info",
            "server",
            "draining",
            requests=self._facts.metrics.requests_in_flight,
            tunnels=len(tunnels),
            at_most_s=self._facts.config.grace_period_s,
            hint=STOP_HINT,
        )
        self._cluster.drain(now)
        for index, tunnel in enumerate(tunnels):
            self._host.timers.schedule(now + DRAIN_SPREAD_S * index / len(tunnels), tunnel.drain)
        self._host.timers.schedule(now + DRAIN_CHECK_S, self._check_drained)

    def _check_drained(self, now: float) -> None:
        """Leave when nothing is in flight and balancers had their time, or when the grace period is nearly over."""
        config = self._facts.config
        since = now - self._began_at
        idle = not self._facts.metrics.requests_in_flight and since >= config.drain_delay_s
        out_of_time = since >= max(config.grace_period_s - STOP_RESERVE_S, 0.0)
        if not idle and not out_of_time:
            self._host.timers.schedule(now + DRAIN_CHECK_S, self._check_drained)
            return
        for port in self._ports:
            if not port.row.until_exit:
                self._host.emit(StopListening(port.row.listener))
        self._router.routing.routeless.close(now)
        self._router.routing.crowding.close(now)
        for tunnel in list(self._facts.tunnels):
            tunnel.close(now)
        self._cluster.leave(now)
        self._leave_by = now + LEAVE_S
        self._check_left(now)

    def _check_left(self, now: float) -> None:
        """Exit once the others know."""
        if not self._facts.left and now < self._leave_by:
            self._host.timers.schedule(now + LEFT_CHECK_S, self._check_left)
            return
        self._host.log("info", "server", "stopped", in_flight=self._facts.metrics.requests_in_flight)
        self._host.stop(0, "")
