"""A random history of a small cluster: faults of all kinds, then an end of all faults and one whole cluster again.

``python -m tests.sim.gossip_storm --seed 1234`` replays one history and prints the digest of its trace; ``--first 0
--count 500`` runs many. The last line says how often each rare event happened; all of ``SOMETIMES`` must.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from pico_core.gossip.events import LISTENER
from tests.sim.gossip_node import PORT
from tests.sim.gossip_sim import Cluster, Faults
from tests.sim.network import STRANGER, NameFaults

KEY = bytes(range(32))
"""The key of every third history; the others are without."""
WHOLE_AGAIN_S = 25.0
"""Two lookups of the name, an attempt to join, and the time to spread it."""
DEAD_KNOWN_S = 12.0

DNS_FAULTS = (
    NameFaults(),
    NameFaults(lag_s=30.0),
    NameFaults(failure=1.0),
    NameFaults(only_self=1.0),
    NameFaults(stranger=1.0),
    NameFaults(silence=0.5, failure=0.3),
)

SOMETIMES = (
    "datagram cut short",
    "compaction while split",
    "stale delta after expiry",
    "refutation",
    "join while leaving",
    "versions of a former process voided",
    "sync",
    "gap refused",
    "datagram corrupted",
    "healed",
    "leave done",
)


class Storm:
    """One history, made of its seed."""

    def __init__(self, seed: int, *, digest: bool = False, show: Callable[[str], None] | None = None) -> None:
        """``show`` takes the lines of a readable trace; ``digest`` keeps at least the digest of it."""
        self.random = chance = random.Random(f"storm {seed}")
        faults = Faults(
            loss=chance.choice((0.0, 0.05, 0.1, 0.25)),
            duplication=chance.choice((0.0, 0.05)),
            corruption=chance.choice((0.0, 0.02)),
            truncation=chance.choice((0.0, 0.05)),
            tail=chance.choice((0.0, 0.02)),
            tail_s=chance.choice((0.2, 1.0)),
            pause_every_s=chance.choice((0.0, 20.0)),
            pause_s=chance.choice((1.0, 3.0)),
            clock_skew=chance.choice((0.0, 0.05)),
        )
        replay = f"python -m tests.sim.gossip_storm --seed {seed}"
        secrets = (KEY,) if seed % 3 == 0 else ()
        self.cluster = Cluster(seed, faults, strict=chance.random() < 0.1, replay=replay, show=show, secrets=secrets)
        if digest:
            self.cluster.world.trace_digest_only()
        self.booted = 0
        self.is_split = False
        self.was_cut = False

    def run(self) -> Counter[str]:
        """Play the history; return how often each rare event happened. Raises ``Violation``."""
        cluster, chance = self.cluster, self.random
        for _ in range(chance.choice((2, 3, 5, 8))):
            self.boot()
        acts = (
            [self.write] * 8
            + [self.delete, self.churn, self.boot, self.crash, self.restart, self.restart_in_place, self.leave]
            + [self.pause, self.cut, self.one_way, self.split, self.isolate, self.heal, self.garbage, self.forward]
            + [self.dns, self.rest, self.long_rest, self.drain, self.same_name]
        )
        for _ in range(chance.randrange(15, 50)):
            chance.choice(acts)()
            self.update_names()
            cluster.run_checked(chance.choice((0.0, 0.05, 0.3, 1.0, 5.0)), 0.5)
        self.end()
        return cluster.world.sometimes

    def end(self) -> None:
        """End all faults, then check everything that must hold."""
        cluster, world = self.cluster, self.cluster.world
        if cluster.faults.is_mild and not self.was_cut and cluster.false_unreachable:
            raise world.violation(f"I6: {cluster.false_unreachable[0]} under mild faults")
        cluster.end_faults()
        if not cluster.alive():
            self.boot()
        self.update_names()
        cluster.run_checked(DEAD_KNOWN_S, 2.0)
        for node in cluster.nodes.values():
            if not node.is_alive and node.died_at < cluster.now - DEAD_KNOWN_S and cluster.routes_to(node.name):
                raise world.violation(f"I7: {node.name} is dead, {cluster.routes_to(node.name)} route to it")
        cluster.run_checked(WHOLE_AGAIN_S - DEAD_KNOWN_S, 2.0)
        for _ in range(20):  # a write may be on its way
            if cluster.is_converged():
                break
            cluster.run_checked(0.1)
        else:
            raise world.violation(f"I5: not whole again, {self.differences()}")
        self.note()

    def differences(self) -> str:
        """Return the table of each node, for the text of a violation."""
        tables = []
        for node in self.cluster.alive():
            rows = node.gossip.snapshot(node.now())
            tables.append(f"{node.name}: " + " ".join(f"{row.id}={row.status}@{row.version}" for row in rows))
        return "; ".join(tables)

    def note(self) -> None:
        """Count the rare events that the engines have counted."""
        sometimes = self.cluster.world.sometimes
        for node in self.cluster.nodes.values():
            counters = node.gossip.counters
            sometimes["refutation"] += counters.refutations
            sometimes["stale delta after expiry"] += counters.strangers_refused
            sometimes["sync"] += counters.syncs
            sometimes["gap refused"] += counters.gaps_refused
            sometimes["versions of a former process voided"] += counters.name_conflicts
            sometimes["leave done"] += node.leave_told is not None and node.leave_told > 0
        sometimes["healed"] += len(self.cluster.checks.healed_s)

    def update_names(self) -> None:
        """Have the name resolve to the nodes that run."""
        self.cluster.names.set("pico", [node.host for node in self.cluster.nodes.values() if node.is_alive])

    # --- operations ---

    def any_node(self) -> str | None:
        """Return a node that runs and has not left."""
        alive = self.cluster.alive()
        return self.random.choice(alive).name if alive else None

    def boot(self, host: str | None = None) -> None:
        """A new node."""
        if len(self.cluster.alive()) < 10:
            self.booted += 1
            self.cluster.boot(f"pico-{self.booted}", host=host, keys=self.random.choice((0, 0, 3, 40)))

    def crash(self) -> None:
        """A node dies."""
        name = self.any_node()
        if name is not None:
            self.cluster.crash(name)

    def restart(self) -> None:
        """A node dies and comes back elsewhere."""
        self.crash()
        self.cluster.run(self.random.random() * 3)
        self.boot()

    def restart_in_place(self) -> None:
        """A container dies and comes back in the same pod, with the same address, at once."""
        name = self.any_node()
        if name is not None:
            self.cluster.crash(name)
            self.cluster.run(self.random.random())
            self.boot(self.cluster.nodes[name].host)

    def same_name(self) -> None:
        """A node with a configured ID restarts: the same name, without any of its state."""
        name = self.any_node()
        if name is not None:
            old = self.cluster.nodes[name]
            self.was_cut = True
            self.cluster.crash(name)
            self.cluster.run(1 + self.random.random())
            self.cluster.reboot(old)

    def leave(self) -> None:
        """A node leaves."""
        name = self.any_node()
        if name is not None:
            self.cluster.leave(name)
            if self.random.random() < 0.5:
                self.boot()

    def write(self) -> None:
        """A node writes a key."""
        name = self.any_node()
        if name is not None:
            self.cluster.set_key(name, f"endpoint:{self.random.randrange(30)}", str(self.random.randrange(5)))

    def delete(self) -> None:
        """A node deletes a key."""
        name = self.any_node()
        if name is not None:
            self.cluster.delete_key(name, f"endpoint:{self.random.randrange(30)}")

    def churn(self) -> None:
        """A node writes and deletes many keys, so that it compacts."""
        name = self.any_node()
        if name is not None:
            for number in range(120):
                self.cluster.set_key(name, f"endpoint:churn-{number}", "1")
                if self.random.random() < 0.2:
                    self.cluster.run(0.05)
                if self.cluster.nodes[name].is_alive:
                    self.cluster.delete_key(name, f"endpoint:churn-{number}")
            self.cluster.world.sometimes["compaction while split"] += self.is_split

    def pause(self) -> None:
        """A process is paused for a while."""
        name = self.any_node()
        if name is not None:
            self.was_cut = True
            self.cluster.nodes[name].pause(self.random.choice((0.5, 2.0, 6.0)))

    def cut(self) -> None:
        """The path between two nodes is cut in both directions."""
        self.one_way(both=True)

    def one_way(self, *, both: bool = False) -> None:
        """The path between two nodes is cut in one direction."""
        alive = self.cluster.alive()
        if len(alive) > 1:
            self.was_cut = True
            first, second = self.random.sample(alive, 2)
            self.cluster.network.cut(first.host, second.host)
            if both:
                self.cluster.network.cut(second.host, first.host)

    def split(self) -> None:
        """The network between two groups is cut; sometimes one more node reaches both."""
        names = [node.name for node in self.cluster.alive()]
        self.random.shuffle(names)
        bridge = self.random.choice((0, 0, 1))
        names = names[bridge:]
        self.cluster.split(names[: len(names) // 2], names[len(names) // 2 :])
        self.is_split = self.was_cut = True

    def isolate(self) -> None:
        """One node is cut off from all others."""
        names = [node.name for node in self.cluster.alive()]
        self.cluster.split(names[:1], names[1:])
        self.is_split = self.was_cut = True

    def heal(self) -> None:
        """The network is whole."""
        self.cluster.heal()
        self.is_split = False

    def garbage(self) -> None:
        """Random bytes arrive, some of them behind the first bytes of a message."""
        name = self.any_node()
        if name is not None:
            head = self.random.choice((b"", b"\x01\x00", b"\x02\x00\x83"))
            data = head + self.random.randbytes(self.random.randrange(60))
            self.cluster.nodes[name].datagram_arrived(LISTENER, data, STRANGER, PORT)

    def forward(self) -> None:
        """A node cannot forward to another."""
        alive = self.cluster.alive()
        if len(alive) > 1:
            first, second = self.random.sample(alive, 2)
            first.gossip.report_forward_failure(second.name, first.now())

    def drain(self) -> None:
        """A node begins to drain."""
        name = self.any_node()
        if name is not None:
            node = self.cluster.nodes[name]
            node.gossip.set_draining(node.now())

    def dns(self) -> None:
        """The faults of DNS change."""
        self.cluster.names.faults = self.random.choice(DNS_FAULTS)

    def rest(self) -> None:
        """Nothing happens for a while."""
        self.cluster.run_checked(10.0, 2.0)

    def long_rest(self) -> None:
        """Nothing happens for longer than it takes to forget a node."""
        if self.random.random() < 0.3:
            self.cluster.run_checked(75.0, 5.0)


def main() -> int:
    """Run one seed or many; return 1 if a rare event never happened in a run of 100 or more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="the history to replay")
    parser.add_argument("--trace", action="store_true", help="with --seed: show every datagram and output")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        storm = Storm(arguments.seed, digest=True, show=print if arguments.trace else None)
        storm.run()
        print(f"seed {arguments.seed}: trace {storm.cluster.world.digest} after {storm.cluster.now:.1f} s")
        return 0
    sometimes: Counter[str] = Counter()
    start = time.process_time()
    for seed in range(arguments.first, arguments.first + arguments.count):
        sometimes += Storm(seed).run()
    print(f"{arguments.count} seeds in {time.process_time() - start:.0f} CPU s: {dict(sometimes)}")
    return int(arguments.count >= 100 and any(not sometimes[each] for each in SOMETIMES))


if __name__ == "__main__":
    sys.exit(main())
