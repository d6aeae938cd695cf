"""Clusters under a key in the simulator: keys that change, nodes that restart, and a stranger that has heard it all."""

import random

import pytest

from pico_core.gossip.sealing.refusals import NO_KEY_HERE, NO_KEY_THERE
from tests.sim.gossip_node import PORT
from tests.sim.gossip_sim import Cluster, Faults

KEY, NEXT = bytes(range(32)), bytes(range(1, 33))


def cluster_of(size: int, seed: int, **faults: float) -> Cluster:
    cluster = Cluster(seed, Faults(**faults), secrets=(KEY,))
    for number in range(size):
        cluster.boot(f"n{number}", keys=3)
        cluster.names.set("pico", [node.host for node in cluster.nodes.values()])
    settle(cluster)
    return cluster


def settle(cluster: Cluster, within_s: float = 30.0) -> None:
    end = cluster.now + within_s
    while not cluster.is_converged():
        assert cluster.now < end, "not whole"
        cluster.run_checked(0.1)


def give(cluster: Cluster, names: list[str], *keys: bytes) -> None:
    for name in names:
        cluster.nodes[name].gossip.take_keys(keys)


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_cluster_under_a_key_becomes_whole(loss: float) -> None:
    cluster = cluster_of(8, seed=1, loss=loss)
    assert not any(node.seals_refused for node in cluster.nodes.values())
    assert cluster.false_unreachable == []


def test_keys_change_while_the_cluster_runs() -> None:
    """In the three steps of the documentation, one node after the other: no node ever finds another dead."""
    cluster = cluster_of(5, seed=2, loss=0.02)
    for keys in ((KEY, NEXT), (NEXT, KEY), (NEXT,)):
        for name in list(cluster.nodes):
            give(cluster, [name], *keys)
            cluster.run_checked(0.7)
            cluster.set_key(name, "endpoint:e", str(cluster.now))
        settle(cluster)
    assert not any(node.seals_refused for node in cluster.nodes.values())
    assert cluster.false_unreachable == []


def test_keys_change_in_the_middle_of_a_partition() -> None:
    """One half is a step ahead of the other when the network heals."""
    cluster = cluster_of(6, seed=3)
    one, other = ["n0", "n1", "n2"], ["n3", "n4", "n5"]
    give(cluster, one + other, KEY, NEXT)
    cluster.split(one, other)
    cluster.run_checked(5.0)
    give(cluster, one, NEXT, KEY)
    cluster.run_checked(120.0, 10.0)
    cluster.heal()
    settle(cluster)
    give(cluster, other, NEXT, KEY)
    cluster.run_checked(1.0)
    give(cluster, one + other, NEXT)
    cluster.run_checked(5.0)
    assert cluster.is_converged()


def test_nodes_that_restart_are_not_locked_out() -> None:
    """At once and at their old address, without an address to join: others must come back to them by themselves."""
    cluster = cluster_of(4, seed=4)
    for number in range(3):
        old = cluster.nodes[f"n{number}"]
        cluster.crash(old.name)
        cluster.run_checked(0.3)
        cluster.boot(f"again-{number}", seeds=(), host=old.host)
        settle(cluster)


def test_what_a_stranger_has_heard_is_worth_nothing_to_it() -> None:
    """It sends all datagrams again, to the right node and to others, cut and altered, and after restarts."""
    cluster = cluster_of(4, seed=5)
    chance = random.Random(5)
    for number in range(3):
        cluster.run_checked(2.0)
        heard = list(cluster.network.overheard)
        dead = cluster.nodes[f"n{number}"]
        cluster.crash(dead.name)
        cluster.boot(f"new-{number}")
        cluster.names.set("pico", [node.host for node in cluster.alive()])
        cluster.run_checked(80.0, 10.0)
        before = {node.name: {name: seen.status for name, seen in node.view.items()} for node in cluster.alive()}
        sources = [node.host for node in cluster.nodes.values()]
        for _ in range(2000):
            data = bytearray(chance.choice(heard))
            if chance.random() < 0.3:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            elif chance.random() < 0.1:
                del data[chance.randrange(len(data)) :]
            target, source = chance.choice(cluster.alive()).host, chance.choice([dead.host, *sources])
            cluster.network.forge_datagram(source, PORT, target, PORT, bytes(data), 0.001)
            cluster.run(0.01)
        after = {node.name: {name: seen.status for name, seen in node.view.items()} for node in cluster.alive()}
        assert after == before
        assert not any(dead.name in node.view for node in cluster.alive())
        settle(cluster)


def test_a_node_without_a_key_and_one_with_it_say_so() -> None:
    cluster = cluster_of(2, seed=6)
    plain = cluster.boot("plain", seeds=(cluster.nodes["n0"].host,), secrets=())
    cluster.run_checked(3.0)
    assert {each.problem for each in plain.seals_refused} == {NO_KEY_HERE}
    assert {each.problem for each in cluster.nodes["n0"].seals_refused} == {NO_KEY_THERE}
    assert plain.view == {}
    assert "plain" not in cluster.nodes["n0"].view
