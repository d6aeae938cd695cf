"""When a node that has joined its cluster calls itself ready."""

from collections.abc import Callable
from typing import Protocol

from pico_core.machine.parts import Logger
from pico_core.server.cluster import ClusterSide
from pico_core.server.facts import Facts, NodePhase
from pico_core.timers import Timers

SETTLE_S = 2.0
"""How long a node waits for the routes of a cluster before it calls itself ready without them."""

SETTLED_CHECK_S = 0.05
"""How often a node looks whether it knows the routes. A test or a script that waits for it loses no more than this."""


class ReadinessHost(Logger, Protocol):
    """The part of the machine that readiness needs."""

    timers: Timers


class Readiness:
    """Takes a node from ``STARTING`` to ``RUNNING``, and calls ``on_ready`` then."""

    def __init__(
        self, host: ReadinessHost, facts: Facts, cluster: ClusterSide, on_ready: Callable[[float], None]
    ) -> None:
        self._host = host
        self._facts = facts
        self._cluster = cluster
        self._on_ready = on_ready
        self._ready_by = 0.0
        self._names_by = 0.0

    def begin(self, now: float) -> None:
        """The node joins: all of its ports are open."""
        self._ready_by = now + SETTLE_S
        self._names_by = now + self._facts.config.cluster.join_timeout_s
        self._check(now)

    def _check(self, now: float) -> None:
        """Become ready once the routes of the cluster are known, or soon, whether any node answers or not.

        While lookups of the names to join fail, nothing is known about other nodes: that may take ``join_timeout``.
        """
        facts = self._facts
        if facts.state is not NodePhase.STARTING:
            return
        ready_by = self._names_by if facts.unanswered_names else self._ready_by
        if not self._cluster.settled and now < ready_by:
            self._host.timers.schedule(now + SETTLED_CHECK_S, self._check)
            return
        facts.state = NodePhase.RUNNING
        facts.ready_at = now
        self._host.log("info", "server", "ready", node_id=facts.node_id)
        if facts.config.cluster.join and not facts.view:
            join = ", ".join(facts.config.cluster.seeds)
            self._host.log("warning", "cluster", "no other node was found: this one is alone", join=join)
        self._on_ready(now)
