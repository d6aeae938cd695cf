"""A gossip cluster without the rest of a server: up to a thousand engines on one simulated network.

Everything random comes from one seeded generator, so a seed is a whole history: the same seed gives the same trace.
While it runs, the invariants of ``docs/gossip.md`` are checked; a broken one raises ``Violation``, whose text holds
the command that replays it::

    python -m tests.sim.gossip_storm --seed 1234
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pico_core.gossip.engine import Gossip
from pico_core.gossip.keys import ENDPOINT_PREFIX
from tests.sim import network
from tests.sim.gossip_checks import GossipChecks
from tests.sim.gossip_node import PORT, Engine, GossipNode
from tests.sim.gossip_reference import Reference
from tests.sim.network import NameFaults, Network
from tests.sim.world import World

LONGEST_LEAVE_S = 1.0


@dataclass
class Faults(network.Faults):
    """The faults of the network, and those of the hosts. Shares are between 0 and 1, times in seconds."""

    latency_s: float = 0.0005
    jitter_s: float = 0.001
    pause_every_s: float = 0.0
    """Mean time between pauses of one node; 0 for none."""
    pause_s: float = 1.0
    clock_skew: float = 0.0
    """The most by which a node's clock may run fast or slow, as a share."""

    @property
    def is_mild(self) -> bool:
        """Whether no live node may be called unreachable under these."""
        return self.loss <= 0.1 and self.pause_s <= 1.5 and self.tail_s <= 0.5 and self.clock_skew <= 0.1


class Cluster:
    """Boot nodes, break things, ``run`` for a while, and look. The name ``pico`` is for the nodes' seeds."""

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        *,
        strict: bool = False,
        replay: str = "",
        show: Callable[[str], None] | None = None,
        secrets: Sequence[bytes] = (),
    ) -> None:
        """``strict`` checks a node's tables after each of its inputs; ``replay`` and ``show`` are as in ``World``.

        ``secrets`` are the keys of the nodes that boot.
        """
        self.world = World(seed, replay=replay or f"Cluster(seed={seed})", show=show)
        self.faults = faults if faults is not None else Faults()
        self.network = Network(self.world, self.faults)
        self.names = self.network.names
        self.nodes: dict[str, GossipNode] = {}
        self.secrets = secrets
        self.checks = GossipChecks(self.world, self.nodes, strict=strict)

    @property
    def now(self) -> float:
        """The time."""
        return self.world.now

    @property
    def false_unreachable(self) -> list[tuple[float, str, str]]:
        """When which node called which live node unreachable."""
        return self.checks.false_unreachable

    # --- operations ---

    def address(self) -> str:
        """Return the address of a new host."""
        return self.network.new_host().address

    def boot(
        self,
        name: str,
        seeds: tuple[str, ...] = ("pico",),
        host: str | None = None,
        keys: int = 0,
        *,
        is_name_fixed: bool = False,
        secrets: Sequence[bytes] | None = None,
    ) -> GossipNode:
        """Start a node, on ``host`` or on a new one, with some keys of its own."""
        host = host or self.address()
        engine = Gossip(
            name,
            entropy=self._entropy(),
            seeds=seeds,
            is_name_fixed=is_name_fixed,
            keys=self.secrets if secrets is None else secrets,
        )
        skew = self.faults.clock_skew * (2 * self.world.random.random() - 1) if self.faults.clock_skew else 0.0
        node = self._add(name, host, engine, 1.0 + skew)
        now = node.now()
        engine.set_local("proxy_addr", f"{host}:8000", now)
        engine.set_local("admin_addr", f"{host}:8002", now)
        for number in range(keys):
            engine.set_endpoint(f"e{number}", 1, now)
        engine.start(f"{host}:{PORT}", now)
        node.drain()
        if self.faults.pause_every_s:
            self.world.after(self._pause_gap_s(), self._pause_again, node)
        return node

    def boot_reference(self, name: str, seed_hosts: tuple[str, ...], kind: type[Reference] = Reference) -> GossipNode:
        """Start a node that speaks the wire as Piko does."""
        host = self.address()
        engine = kind(name, f"{host}:{PORT}", tuple((each, PORT) for each in seed_hosts), self._entropy())
        node = self._add(name, host, engine, 1.0)
        engine.set_local("proxy_addr", f"{host}:8000", self.now)
        engine.start(self.now)
        node.drain()
        return node

    def reboot(self, old: GossipNode) -> GossipNode:
        """Start a node under the configured name and the address of one that died, without any of its state."""
        return self.boot(old.name, host=old.host, is_name_fixed=True)

    def crash(self, name: str) -> None:
        """Kill a node at once."""
        self.nodes[name].crash()

    def leave(self, name: str) -> None:
        """Let a node leave; its process ends when that is done, or after a second."""
        node = self.nodes[name]
        node.has_left = True
        node.gossip.leave(node.now())
        node.drain()
        self.world.after(LONGEST_LEAVE_S, node.crash)

    def split(self, *sides: list[str]) -> None:
        """Cut the network between groups of nodes, given by name; a node of no group reaches all."""
        self.network.split(*([self.nodes[name].host for name in side] for side in sides))

    def heal(self) -> None:
        """End cuts and splits."""
        self.network.heal()

    def end_faults(self) -> None:
        """End everything that is wrong with the network, the names and the hosts."""
        self.heal()
        self.faults = self.network.faults = Faults()
        self.names.faults = NameFaults()

    def set_key(self, name: str, key: str, value: str) -> int:
        """Write a key on a node; return the node's version."""
        node = self.nodes[name]
        node.engine.set_local(key, value, node.now())
        node.drain()
        return node.version

    def delete_key(self, name: str, key: str) -> None:
        """Delete the key of an endpoint on a node."""
        node = self.nodes[name]
        node.gossip.set_endpoint(key.removeprefix(ENDPOINT_PREFIX), 0, node.now())
        node.drain()

    def _add(self, name: str, host: str, engine: Engine, clock_rate: float) -> GossipNode:
        self.checks.started(name)
        node = self.nodes[name] = GossipNode(self.network, name, host, engine, self.checks, clock_rate=clock_rate)
        return node

    def _entropy(self) -> random.Random:
        return random.Random(self.world.random.getrandbits(64))

    def _pause_gap_s(self) -> float:
        return self.world.random.expovariate(1.0 / self.faults.pause_every_s)

    def _pause_again(self, node: GossipNode) -> None:
        """Pause a node now and then."""
        if node.is_alive and self.faults.pause_every_s:
            node.pause(self.faults.pause_s * self.world.random.random())
            self.world.after(self.faults.pause_s + self._pause_gap_s(), self._pause_again, node)

    # --- time ---

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.world.run(duration_s)

    def run_checked(self, duration_s: float, every_s: float = 1.0) -> None:
        """Let time pass, checking all tables now and then."""
        end = self.now + duration_s
        while self.now < end:
            self.run(min(every_s, end - self.now))
            self.checks.check()

    # --- looking ---

    def alive(self) -> list[GossipNode]:
        """Return the nodes that run, have not left, and are not references."""
        return [
            node
            for node in self.nodes.values()
            if node.is_alive and not node.has_left and not isinstance(node.engine, Reference)
        ]

    def has_full_view(self) -> bool:
        """Whether every live node has every live node as active, with its address."""
        alive = self.alive()
        for node in alive:
            view = node.view
            if len(view) < len(alive) - 1:
                return False
            for other in alive:
                if other is not node:
                    seen = view.get(other.name)
                    if seen is None or seen.status != "active" or "proxy_addr" not in seen.keys:
                        return False
        return True

    def is_converged(self) -> bool:
        """Whether all live nodes have equal tables: which nodes are active, and at which version."""
        alive = self.alive()
        versions = {node.name: node.version for node in alive}
        return self.has_full_view() and all(self._active_versions(node) == versions for node in alive)

    def _active_versions(self, node: GossipNode) -> dict[str, int]:
        return {row.id: row.version for row in node.gossip.snapshot(node.now()) if row.status == "active"}

    def is_key_everywhere(self, name: str, key: str, value: str) -> bool:
        """Whether every other live node has seen this value."""
        for node in self.alive():
            if node.name != name:
                seen = node.view.get(name)
                if seen is None or seen.keys.get(key) != value:
                    return False
        return True

    def routes_to(self, name: str) -> list[str]:
        """Return the live nodes that would still route to a node."""
        return [node.name for node in self.alive() if name in node.view and node.view[name].status == "active"]
