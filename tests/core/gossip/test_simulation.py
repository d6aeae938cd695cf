"""Whole clusters under virtual time: the targets that are quick to measure, and a fixed list of random histories.

More of both: ``python -m tests.sim.gossip_targets --long`` and ``python -m tests.sim.gossip_storm --count 1000``.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from pico_core.gossip.state import Budget, NodeState
from tests.sim import gossip_targets
from tests.sim.gossip_reference import Reference
from tests.sim.gossip_sim import Cluster, Faults
from tests.sim.gossip_storm import SOMETIMES, Storm
from tests.sim.world import Violation

STORMS = range(105)
UNLUCKY = (1117, 1157)
"""Histories that fail if nodes do not report the removed nodes that their peers still list, and if a process with a
configured ID continues just behind a version of the process before it."""


@pytest.mark.parametrize(
    ("case", "seeds"),
    [("small", 4), ("crash-small", 2), ("restart", 5), ("halves", 1), ("leave", 20), ("loss", 1)],
)
def test_targets(case: str, seeds: int) -> None:
    run, _ = (gossip_targets.CASES | gossip_targets.PARTIAL_CASES)[case]
    missed = [line for line in run(seeds).lines if not line[3]]
    assert missed == []


@pytest.mark.slow
def test_storms() -> None:
    sometimes: Counter[str] = Counter()
    for seed in [*STORMS, *UNLUCKY]:
        sometimes += Storm(seed).run()
    never = [each for each in SOMETIMES if not sometimes[each]]
    assert never == []


class Forgetful(Reference):
    """A node that loses its own state at its first tick."""

    def tick(self, now: float) -> None:
        self.known[self.id] = (self.addr, NodeState(Budget(0)))
        super().tick(now)


def test_a_broken_invariant_says_how_to_replay_it() -> None:
    cluster = Cluster(7, replay="the command")
    cluster.boot_reference("pico-0", (), Forgetful)
    with pytest.raises(Violation, match=r"I3: pico-0 went back to version 0\n.*replay with: the command"):
        cluster.run(1.0)


def test_the_same_seed_is_the_same_history_whatever_the_order_of_sets() -> None:
    traces = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.sim.gossip_storm", "--seed", "3"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        traces.append(done.stdout)
    assert traces[0] == traces[1]
    assert "trace" in traces[0]


def test_two_pods_that_boot_before_dns_knows_them_find_each_other() -> None:
    """At first each answer names the asker alone; names are resolved again later."""
    cluster = Cluster(1)
    cluster.names.faults.only_self = 1.0
    cluster.names.set("pico", [node.host for node in (cluster.boot("pico-0"), cluster.boot("pico-1"))])
    cluster.run_checked(30)
    assert not cluster.has_full_view()
    cluster.names.faults.only_self = 0.0
    cluster.run_checked(13)
    assert cluster.is_converged()


@pytest.mark.parametrize("seed", range(5))
def test_a_process_that_restarts_in_place_never_takes_its_predecessor_for_alive(seed: int) -> None:
    """Its peers have not found the predecessor dead yet, and list it; nor does any other newcomer take it for alive."""
    cluster = gossip_targets.booted(3, seed, Faults(loss=0.05))
    cluster.run(3)
    old = cluster.nodes[gossip_targets.name_of(2)]
    cluster.crash(old.name)
    newcomers = [cluster.boot("in-place", host=old.host), cluster.boot("elsewhere")]
    for _ in range(100):
        cluster.run_checked(0.05)
        assert all(old.name not in node.view for node in newcomers)
    assert cluster.routes_to(old.name) == []
    assert cluster.is_converged()


def test_a_cut_between_two_nodes_makes_neither_unreachable_for_the_others() -> None:
    cluster = gossip_targets.booted(5, 2, Faults(loss=0.05))
    cluster.run(5)
    first, second = list(cluster.nodes.values())[:2]
    cluster.network.cut(first.host, second.host)
    cluster.network.cut(second.host, first.host)
    cluster.run_checked(20)
    assert cluster.false_unreachable == []
    assert not first.gossip.can_forward(second.name, cluster.now)
    assert cluster.nodes[gossip_targets.name_of(2)].gossip.can_forward(second.name, cluster.now)
    cluster.set_key(second.name, "endpoint:e", "1")
    cluster.run_checked(2)
    assert cluster.is_key_everywhere(second.name, "endpoint:e", "1")


def test_a_node_that_sends_but_receives_nothing_is_found_unreachable() -> None:
    """A request does not prove that its sender can serve: a node that receives nothing sends requests too."""
    cluster = gossip_targets.booted(4, 3, Faults())
    cluster.run(5)
    deaf = gossip_targets.name_of(3)
    for node in cluster.alive():
        cluster.network.cut(node.host, cluster.nodes[deaf].host)
    cluster.run_checked(8)
    assert [name for name in cluster.routes_to(deaf) if name != deaf] == []
    cluster.heal()
    cluster.run_checked(3)
    assert cluster.is_converged()
