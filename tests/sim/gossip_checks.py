"""The invariants of ``docs/gossip.md`` that are checked while a gossip cluster runs: I1 to I4, I8 and I11.

I9 is checked where datagrams are sent (``gossip_node``), I5 to I7 where a history ends (``gossip_storm``).
"""

from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import NodeJoined, NodeLeft, NodeReachable, NodeUnreachable, Output
from pico_core.gossip.wire.records import Entry
from tests.sim.gossip_node import GossipNode
from tests.sim.world import World

LAST_WORDS_S = 1.0
"""For so long after a node died, datagrams that it sent before may still arrive."""

Entries = dict[str, list[Entry]]
"""The own entries of every node, by name."""


class GossipChecks:
    """Watches the nodes of a cluster: their writes, their events, and in ``check`` all their tables."""

    def __init__(self, world: World, nodes: dict[str, GossipNode], *, strict: bool) -> None:
        """``strict`` asks the nodes to call ``check_node`` after each of their inputs."""
        self.strict = strict
        self.false_unreachable: list[tuple[float, str, str]] = []
        """When which node called which live node unreachable."""
        self.healed_s: list[float] = []
        """How long it took until such a node was reachable again."""
        self._world = world
        self._nodes = nodes
        self._found_dead: set[tuple[str, str]] = set()
        self._written: dict[str, dict[int, list[tuple[str, str, bool]]]] = {}
        self._version: dict[str, int] = {}
        self._lives: dict[str, int] = {}

    def started(self, name: str) -> None:
        """Note a new process; one of the same name may have lived before."""
        self._lives[name] = self._lives.get(name, 0) + 1
        self._version[name] = 0
        self._written.setdefault(name, {})
        self._found_dead = {pair for pair in self._found_dead if name not in pair}

    def note_writes(self, node: GossipNode, entries: list[Entry]) -> None:
        """I3: a node has written to its own state, which now has these entries."""
        version, before = entries[-1].version if entries else 0, self._version[node.name]
        if version < before:
            raise self._world.violation(f"I3: {node.name} went back to version {version}")
        written = self._written[node.name]
        for entry in reversed(entries):
            if entry.version <= before:
                break
            written.setdefault(entry.version, []).append((entry.key, entry.value, entry.deleted))
        self._version[node.name] = version

    # --- events ---

    def check_event(self, node: GossipNode, event: Output) -> None:
        """Check an event of a node against the true state of the node that it is about."""
        if isinstance(event, (NodeJoined, NodeReachable)):
            self._check_return(node, event.node_id)
            if isinstance(event, NodeReachable):
                self._note_healed(node, event.node_id)
        elif isinstance(event, NodeUnreachable):
            if self._nodes[event.node_id].is_alive:
                self.false_unreachable.append((self._world.now, node.name, event.node_id))
            else:
                self._found_dead.add((node.name, event.node_id))
        elif isinstance(event, NodeLeft):
            if not self._nodes[event.node_id].has_left:
                raise self._world.violation(f"I8: {node.name} takes {event.node_id} for left")
            self._found_dead.add((node.name, event.node_id))

    def _check_return(self, node: GossipNode, name: str) -> None:
        """I4 and I8: a node that died is not taken for alive, neither again nor by one that did not know it.

        A process that was paused may still have to read what the dead one sent, and TCP brings it late.
        """
        other, long_ago = self._nodes[name], self._world.now - LAST_WORDS_S
        if other.is_alive or other.died_at >= long_ago:
            return
        if (node.name, name) in self._found_dead:
            raise self._world.violation(f"I4: {name} is dead and comes back at {node.name}")
        if node.paused_until < long_ago and node.reading_from != name:
            raise self._world.violation(f"I4: {node.name} takes {name} for alive, which died at {other.died_at:.3f} s")

    def _note_healed(self, node: GossipNode, other: str) -> None:
        for at, observer, observed in reversed(self.false_unreachable):
            if (observer, observed) == (node.name, other):
                self.healed_s.append(self._world.now - at)
                return

    # --- tables ---

    def check(self) -> None:
        """Check all tables of all nodes."""
        own = self._own_entries()
        for node in self._nodes.values():
            if node.is_alive:
                self._check_tables(node, own)

    def check_node(self, node: GossipNode) -> None:
        """Check the tables of one node."""
        self._check_tables(node, self._own_entries())

    def _own_entries(self) -> Entries:
        return {name: node.engine.entries(name) or [] for name, node in self._nodes.items()}

    def _check_tables(self, node: GossipNode, own: Entries) -> None:
        engine = node.engine
        if not isinstance(engine, Gossip):
            return
        held = {row.id: row.status for row in engine.snapshot(node.now())}
        for name, entries in own.items():
            if name == node.name:
                continue
            status, seen = held.get(name), node.view.get(name)
            if (seen.status if seen else None) != status:
                raise self._world.violation(f"I11: {node.name} told {seen} about {name}, which is {status} there")
            if seen is not None:
                self._check_entries(node, name, engine.entries(name) or [], entries)

    def _check_entries(self, node: GossipNode, name: str, held: list[Entry], own: list[Entry]) -> None:
        """I1, I2 and I11: a node holds the entries that the other one wrote, without a gap, and told exactly those."""
        version = held[-1].version if held else 0
        own_version = own[-1].version if own else 0
        if version > own_version:
            if self._lives[name] > 1:
                return  # from a former process; the new one will learn of it, and void it
            raise self._world.violation(f"I1: {node.name} holds version {version} of {name}, which is at {own_version}")
        by_key = {entry.key: entry for entry in held}
        for entry in own:
            if entry.version > version:
                break
            if by_key.get(entry.key) != entry:
                raise self._world.violation(f"I2: {node.name} at {version} of {name} lacks {entry}")
        written = self._written[name]
        keys = {}
        for entry in held:
            if (entry.key, entry.value, entry.deleted) not in written.get(entry.version, ()):
                raise self._world.violation(f"I1: {node.name} holds {entry}, which {name} never wrote")
            if not entry.deleted and not entry.internal:
                keys[entry.key] = entry.value
        told = node.view[name].keys
        if keys != told:
            raise self._world.violation(f"I11: the events of {node.name} told {told} about {name}, not {keys}")
