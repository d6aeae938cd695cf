"""Whole clusters under virtual time: the targets that are quick to measure, and a fixed list of random histories.

More of both: ``python -m tests.sim.gossip_targets --long`` and ``python -m tests.sim.gossip_storm --count 1000``.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.sim import gossip_targets
from tests.sim.gossip_sim import Cluster, Faults, ViolationError
from tests.sim.gossip_storm import SOMETIMES, Storm

STORMS = range(100)
UNLUCKY = (162, 201, 400, 664, 842, 1117)
"""Histories that once broke an invariant: late answers brought the dead back, the buried were not found dead again."""


@pytest.mark.parametrize(
    ("case", "seeds"),
    [("small", 4), ("crash-small", 2), ("restart", 5), ("halves", 1), ("leave", 20), ("loss", 1)],
)
def test_targets(case, seeds):
    run, _ = (gossip_targets.CASES | gossip_targets.PARTIAL_CASES)[case]
    missed = [line for line in run(seeds).lines if not line[3]]
    assert missed == []


def test_storms():
    sometimes: Counter[str] = Counter()
    for seed in [*STORMS, *UNLUCKY]:
        sometimes += Storm(seed).run()
    never = [each for each in SOMETIMES if not sometimes[each]]
    assert never == []


def test_a_broken_invariant_says_how_to_replay_it():
    cluster = Cluster(7, replay="the command")
    node = cluster.boot("pico-0")
    node.engine._state.version = 0
    with pytest.raises(ViolationError, match=r"I3.*replay with: the command"):
        cluster._note_writes(node)


def test_the_same_seed_is_the_same_history_whatever_the_order_of_sets():
    traces = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.sim.gossip_storm", "--seed", "3"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        traces.append(done.stdout)
    assert traces[0] == traces[1]
    assert "trace" in traces[0]


def test_two_pods_that_boot_before_dns_knows_them_find_each_other():
    """Names are resolved again: at first each sees itself only."""
    cluster = Cluster(1)
    cluster.dns = "self"
    cluster.boot("pico-0")
    cluster.boot("pico-1")
    cluster.run_checked(30)
    assert not cluster.has_full_view()
    cluster.dns = "right"
    cluster.names["pico"] = tuple(cluster.at)
    cluster.run_checked(13)
    assert cluster.is_converged()


def test_a_link_that_one_pair_misses_makes_nobody_unreachable_for_others():
    cluster = gossip_targets.booted(5, 2, Faults(loss=0.05))
    cluster.run(5)
    first, second = list(cluster.nodes.values())[:2]
    cluster.cuts[first.host, second.host] = None
    cluster.cuts[second.host, first.host] = None
    cluster.run_checked(20)
    assert cluster.false_unreachable == []
    assert not first.engine.can_forward(second.name, cluster.now)
    assert cluster.nodes[gossip_targets.name_of(2)].engine.can_forward(second.name, cluster.now)
    cluster.set_key(second.name, "endpoint:e", "1")
    cluster.run_checked(2)
    assert cluster.is_key_everywhere(second.name, "endpoint:e", "1")


def test_a_node_that_hears_nobody_but_is_heard_is_found():
    """Requests are no proof of life: who does not hear us cannot serve us."""
    cluster = gossip_targets.booted(4, 3, Faults())
    cluster.run(5)
    deaf = gossip_targets.name_of(3)
    for node in cluster.alive():
        cluster.cuts[node.host, cluster.nodes[deaf].host] = None
    cluster.run_checked(8)
    assert [name for name in cluster.routes_to(deaf) if name != deaf] == []
    cluster.heal()
    cluster.run_checked(3)
    assert cluster.is_converged()
