"""The table of targets for gossip, measured in simulation: ``python -m tests.sim.gossip_targets [--long] [CASE...]``.

Every case has its targets, runs a number of seeds, and prints the worst (or the named percentile) of them.
Percentiles of keys are over all pairs of a key and a node that has to learn it. The long cases are 1000 nodes, an hour
of pauses at 30 nodes, and hours at a quarter of all packets lost; they take minutes of CPU each.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.sim.gossip_node import GossipNode
from tests.sim.gossip_sim import Cluster, Faults

LOSSY = Faults(loss=0.05)
NEW_ID = "pico-4-replaced"


@dataclass
class Result:
    """The result of one case: a line for each measure, with its target and whether it was met."""

    seeds: int = 0
    lines: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def at_most(self, name: str, target: float, measured: float, unit: str = "s") -> None:
        """Record a measure that must not be above its target."""
        self.lines.append((name, f"<= {target:g} {unit}", f"{measured:.3g} {unit}", measured <= target))

    def at_least(self, name: str, target: float, measured: float, unit: str) -> None:
        """Record a measure that must not be below its target."""
        self.lines.append((name, f">= {target:g} {unit}", f"{measured:.4g} {unit}", measured >= target))


def name_of(number: int) -> str:
    """Return a node ID as Kubernetes would give it."""
    return f"pico-{number}-x7k2m9q"


def booted(nodes: int, seed: int, faults: Faults, *, spread_s: float = 0.0, dns: int | None = None) -> Cluster:
    """Return a cluster whose nodes all just started; the name resolves to the first ``dns`` of them, or to all."""
    cluster = Cluster(seed, faults, replay="python -m tests.sim.gossip_targets")
    hosts = [cluster.address() for _ in range(nodes)]
    cluster.names.set("pico", hosts[:dns])
    for number, host in enumerate(hosts):
        if spread_s:
            cluster.run(spread_s / nodes)
        cluster.boot(name_of(number), host=host)
    return cluster


def run_until(cluster: Cluster, done: Callable[[], bool], limit_s: float, step_s: float = 0.05) -> float:
    """Run until ``done()``, asked every ``step_s``; return how long it took, ``limit_s`` if it never was."""
    start = cluster.now
    while cluster.now < start + limit_s:
        if done():
            break
        cluster.run(step_s)
    return cluster.now - start


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def key_delays(cluster: Cluster, rounds: int, limit_s: float, step_s: float = 0.01) -> list[float]:
    """Set keys on random nodes, one after the other; return how long each other node took to learn each."""
    delays = []
    for number in range(rounds):
        owner = cluster.world.random.choice(cluster.alive())
        waiting = [node for node in cluster.alive() if node is not owner]
        start = cluster.now
        cluster.set_key(owner.name, "key", str(number))
        while waiting and cluster.now < start + limit_s:
            cluster.run(step_s)
            still = [node for node in waiting if not _knows(node, owner.name, str(number))]
            delays += [cluster.now - start] * (len(waiting) - len(still))
            waiting = still
        delays += [limit_s] * len(waiting)
        cluster.run(0.37)
    return delays


def is_routed_to_by(cluster: Cluster, name: str, count: int) -> bool:
    """Return whether exactly so many live nodes would route to a node."""
    return len(cluster.routes_to(name)) == count


def is_routed_to_by_no_older(cluster: Cluster, name: str) -> bool:
    """Return whether no live node would route to a node, save the one that replaced it."""
    return all(each == NEW_ID for each in cluster.routes_to(name))


def is_forgotten(cluster: Cluster, name: str) -> bool:
    """Return whether no live node has a node in its tables."""
    return all(name not in node.view for node in cluster.alive())


def _knows(node: GossipNode, owner: str, value: str) -> bool:
    seen = node.view.get(owner)
    return seen is not None and seen.keys.get("key") == value


# --- cases ---


def small(seeds: int) -> Result:
    """3 and 10 nodes, clean."""
    result = Result(seeds)
    for nodes, full_s, key_s in ((3, 0.3, 0.3), (10, 0.5, 0.5)):
        full, keys = 0.0, []
        for seed in range(seeds):
            cluster = booted(nodes, seed, Faults())
            full = max(full, run_until(cluster, cluster.has_full_view, 10, 0.01))
            keys += key_delays(cluster, 10, 5)
            cluster.checks.check()
        result.at_most(f"{nodes} nodes, full view", full_s, full)
        result.at_most(f"{nodes} nodes, key p99", key_s, percentile(keys, 0.99))
    return result


def hundred(seeds: int) -> Result:
    """100 nodes, 5 % loss."""
    result = Result(seeds)
    full, keys, sent, false = 0.0, [], 0.0, 0
    for seed in range(seeds):
        cluster = booted(100, seed, LOSSY)
        full = max(full, run_until(cluster, cluster.has_full_view, 30))
        keys += key_delays(cluster, 8, 10)
        sent = max(sent, sum(node.sent_bytes for node in cluster.nodes.values()) / 100 / cluster.now)
        cluster.checks.check()
        false += len(cluster.false_unreachable)
    result.at_most("100 nodes, full view", 4, full)
    result.at_most("100 nodes, key p99", 1.5, percentile(keys, 0.99))
    result.at_most("100 nodes, sent per node", 50, sent / 1000, "kB/s")
    result.at_most("100 nodes, false unreachable", 0, false, "pairs")
    return result


def thousand(seeds: int) -> Result:
    """1000 nodes, 5 % loss. The name resolves to three of them."""
    result = Result(seeds)
    full, keys, false, sent = 0.0, [], 0, 0.0
    for seed in range(seeds):
        cluster = booted(1000, seed, LOSSY, spread_s=1.0, dns=3)
        full = max(full, run_until(cluster, cluster.has_full_view, 60, 0.5))
        keys += key_delays(cluster, 3, 10, 0.1)
        before_bytes, before = sum(node.sent_bytes for node in cluster.nodes.values()), cluster.now
        cluster.run(60 - cluster.now)
        sent = (sum(node.sent_bytes for node in cluster.nodes.values()) - before_bytes) / 1e6 / (cluster.now - before)
        false += len(cluster.false_unreachable)
        cluster.checks.check()
    result.at_most("1000 nodes, full view", 25, full)
    result.at_most("1000 nodes, key to all", 2, max(keys))
    result.at_most("1000 nodes, false unreachable in 60 s", 0, false, "pairs")
    result.at_most("1000 nodes, sent per node", 50, sent, "kB/s")
    return result


def pauses(seeds: int, hours: float = 0.05) -> Result:
    """3 to 30 nodes, 5 % loss, pauses of a second."""
    result = Result(seeds)
    false, node_hours = 0, 0.0
    for seed in range(seeds):
        for nodes in (3, 10, 30):
            cluster = booted(nodes, seed, Faults(loss=0.05, pause_every_s=20, pause_s=1.0, tail=0.01))
            cluster.run_checked(3600 * hours, 10)
            false += len(cluster.false_unreachable)
            node_hours += nodes * hours
    result.at_most(f"pauses, 3-30 nodes, {node_hours:.3g} node-hours", 0, false, "pairs")
    return result


def heavy_loss(seeds: int, hours: float = 0.05) -> Result:
    """A quarter of all packets lost."""
    result = Result(seeds)
    false, node_hours, healed = 0, 0.0, [0.0]
    for seed in range(seeds):
        cluster = booted(10, seed, Faults(loss=0.25))
        cluster.run_checked(3600 * hours, 10)
        false += len(cluster.false_unreachable)
        healed += cluster.checks.healed_s
        node_hours += 10 * hours
    result.at_most(f"25 % loss, {node_hours:.3g} node-hours", max(1.0, node_hours / 1000), false, "false")
    result.at_most("25 % loss, false ones healed", 2, max(healed))
    return result


def crash(seeds: int, largest: int = 100) -> Result:
    """A node dies."""
    result = Result(seeds)
    for nodes, limit_s, runs in ((3, 5, seeds), (10, 5, seeds), (100, 10, max(1, seeds // 4))):
        if nodes > largest:
            break
        found, forgotten = 0.0, 0.0
        for seed in range(runs):
            cluster = booted(nodes, seed, LOSSY)
            cluster.run(10 + random.Random(seed).random())
            victim = name_of(nodes - 1)
            cluster.crash(victim)
            found = max(found, run_until(cluster, partial(is_routed_to_by, cluster, victim, 0), 60))
            if nodes == 100 and seed:
                continue
            forgotten = max(forgotten, found + run_until(cluster, partial(is_forgotten, cluster, victim), 100, 0.5))
            cluster.run_checked(30 if nodes < 100 else 5, 5)
        result.at_most(f"crash, {nodes} nodes, unreachable everywhere", limit_s, found)
        result.at_most(f"crash, {nodes} nodes, forgotten", 75, forgotten)
    return result


def restart(seeds: int) -> Result:
    """A pod is replaced by one with a new ID, at a new address; then by one at the same address."""
    result = Result(seeds)
    for is_same in (False, True):
        active, stale = 0.0, 0.0
        for seed in range(seeds):
            cluster = booted(5, seed, LOSSY)
            cluster.run(10 + random.Random(seed).random())
            old = cluster.nodes[name_of(4)]
            cluster.crash(old.name)
            host = old.host if is_same else cluster.address()
            cluster.run(0.5)
            start = cluster.now
            cluster.boot(NEW_ID, host=host)
            active = max(active, run_until(cluster, partial(is_routed_to_by, cluster, NEW_ID, 4), 30, 0.02))
            run_until(cluster, partial(is_routed_to_by_no_older, cluster, old.name), 30, 0.02)
            stale = max(stale, cluster.now - start + 0.5)
        where = "same address" if is_same else "new address"
        result.at_most(f"restart, {where}, new ID active", 1, active)
        result.at_most(f"restart, {where}, old ID not routed to", 5, stale)
    return result


def halves(seeds: int) -> Result:
    """The network between two halves is cut for ten minutes."""
    result = Result(seeds)
    worst = 0.0
    for seed in range(seeds):
        cluster = booted(6, seed, LOSSY)
        cluster.run(10)
        names = list(cluster.nodes)
        cluster.split(names[:3], names[3:])
        cluster.run_checked(600, 20)
        cluster.heal()
        cluster.false_unreachable.clear()
        worst = max(worst, run_until(cluster, cluster.has_full_view, 60))
        cluster.run_checked(5)
    result.at_most("halves for 10 minutes, one cluster again", 15, worst)
    return result


def leave(seeds: int) -> Result:
    """A node leaves while a fifth of all packets is lost, and ends as soon as it has told the others."""
    result = Result(seeds)
    late = 0
    for seed in range(seeds):
        cluster = booted(8, seed, Faults(loss=0.2))
        cluster.run(3 + random.Random(seed).random())
        cluster.leave(name_of(7))
        took = run_until(cluster, partial(is_routed_to_by, cluster, name_of(7), 0), 10)
        late += took > 2
    result.at_least("leave under 20 % loss, known in 2 s", 99.9, 100 * (1 - late / seeds), "%")
    return result


def speed(seeds: int) -> Result:
    """How fast the simulator is."""
    result = Result(seeds)
    for nodes, target, run_s in ((10, 4000, 100), (100, 400, 5)):
        cluster = booted(nodes, 0, Faults())
        cluster.run(5)
        start = time.process_time()
        cluster.run(run_s)
        taken_s = time.process_time() - start
        result.at_least(f"simulator, {nodes} nodes", target, nodes * run_s / taken_s, "node-s/CPU-s")
    return result


def speed_thousand(seeds: int) -> Result:
    """How fast the simulator is at 1000 nodes."""
    result = Result(seeds)
    cluster = booted(1000, 0, Faults(), dns=3)
    cluster.run(10)
    start = time.process_time()
    cluster.run(2)
    result.at_least("simulator, 1000 nodes", 200, 2000 / (time.process_time() - start), "node-s/CPU-s")
    return result


Case = tuple[Callable[..., Result], int]
CASES: dict[str, Case] = {
    "small": (small, 10),
    "hundred": (hundred, 2),
    "pauses": (pauses, 1),
    "loss": (heavy_loss, 2),
    "crash": (crash, 8),
    "restart": (restart, 10),
    "halves": (halves, 2),
    "leave": (leave, 100),
    "speed": (speed, 1),
}
PARTIAL_CASES: dict[str, Case] = {"crash-small": (lambda seeds: crash(seeds, 10), 8)}
"""Shorter versions of cases, for the test suite."""
LONG_CASES: dict[str, Case] = {
    "thousand": (thousand, 1),
    "pauses-hour": (lambda seeds: pauses(seeds, 1.0), 1),
    "loss-hours": (lambda seeds: heavy_loss(seeds, 1.0), 10),
    "leave-thousand-seeds": (leave, 2000),
    "speed-thousand": (speed_thousand, 1),
}


def main() -> int:
    """Run the cases asked for and print the table; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=", ".join([*CASES, *LONG_CASES]))
    parser.add_argument("--long", action="store_true", help="the long cases too")
    parser.add_argument("--seeds", type=int, help="run so many seeds of each case")
    arguments = parser.parse_args()
    every = CASES | LONG_CASES | PARTIAL_CASES
    chosen = arguments.cases or [*CASES, *(LONG_CASES if arguments.long else ())]
    missed = 0
    print(f"{'case':<52} {'target':<22} {'measured':<22} {'seeds':>6}  {'CPU s':>6}")
    for case in chosen:
        run, seeds = every[case]
        start = time.process_time()
        result = run(arguments.seeds or seeds)
        taken_s = time.process_time() - start
        for name, target, measured, is_met in result.lines:
            missed += not is_met
            mark = "" if is_met else "  MISSED"
            print(f"{name:<52} {target:<22} {measured:<22} {result.seeds:>6}  {taken_s:>6.1f}{mark}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
