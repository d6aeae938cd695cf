"""Clusters of Pico's and the reference's nodes."""

from tests.sim.gossip_reference import Reference
from tests.sim.gossip_sim import Cluster, Faults


def mixed(seed: int, picos: int, references: int, faults: Faults) -> Cluster:
    cluster = Cluster(seed, faults)
    first = cluster.boot("pico-0", seeds=())
    cluster.names.set("pico", [first.host])
    for number in range(1, picos):
        cluster.boot(f"pico-{number}")
    for number in range(references):
        cluster.boot_reference(f"piko-{number}", (first.host,))
    return cluster


def known_by_references(cluster: Cluster, name: str) -> list[int]:
    engines = [node.engine for node in cluster.nodes.values() if isinstance(node.engine, Reference)]
    return [engine.known[name][1].version if name in engine.known else -1 for engine in engines]


def test_both_kinds_learn_of_each_other() -> None:
    cluster = mixed(1, 2, 3, Faults(loss=0.05))
    cluster.run_checked(3)
    for node in cluster.alive():
        assert sorted(node.view) == sorted(name for name in cluster.nodes if name != node.name)
        assert all("proxy_addr" in seen.keys for seen in node.view.values())
    version = cluster.set_key("pico-1", "endpoint:e", "2")
    cluster.run_checked(2)
    assert known_by_references(cluster, "pico-1") == [version] * 3
    cluster.set_key("piko-2", "endpoint:f", "1")
    cluster.run_checked(2)
    assert cluster.is_key_everywhere("piko-2", "endpoint:f", "1")
    assert cluster.false_unreachable == []


def test_a_dead_node_that_references_continue_to_list_stays_dead() -> None:
    """The reference's most serious bug, seen from outside: its nodes go on listing the dead."""
    cluster = mixed(2, 3, 3, Faults(loss=0.05))
    cluster.run(3)
    cluster.crash("pico-2")
    cluster.crash("piko-2")
    cluster.run_checked(6)
    assert cluster.routes_to("pico-2") == cluster.routes_to("piko-2") == []
    cluster.run_checked(150, 5)
    views = {node.name: sorted(node.view) for node in cluster.alive()}
    assert views == {"pico-0": ["pico-1", "piko-0", "piko-1"], "pico-1": ["pico-0", "piko-0", "piko-1"]}
    assert cluster.false_unreachable == []


def test_a_newcomer_never_takes_for_alive_what_references_list_and_is_dead() -> None:
    """A reference is all it joins, and that lists the dead for ever."""
    cluster = mixed(5, 2, 2, Faults(loss=0.05))
    cluster.run(3)
    cluster.crash("pico-1")
    cluster.crash("piko-1")
    cluster.run_checked(8)
    newcomer = cluster.boot("pico-9", seeds=(f"{cluster.nodes['piko-0'].host}:8003",))
    other = cluster.boot("pico-8", seeds=(f"{newcomer.host}:8003",))
    for _ in range(300):
        cluster.run_checked(0.1)
        assert newcomer.view.keys() <= {"pico-0", "piko-0", "pico-8"}
        assert other.view.keys() <= {"pico-0", "piko-0", "pico-9"}
    assert len(newcomer.view) == len(other.view) == 3
    assert all("proxy_addr" in seen.keys for node in (newcomer, other) for seen in node.view.values())
    cluster.run_checked(100, 5)
    assert len(newcomer.view) == len(other.view) == 3


def test_one_pico_among_references_trusts_its_own_evidence() -> None:
    cluster = mixed(3, 1, 4, Faults(loss=0.05))
    cluster.run(3)
    cluster.crash("piko-3")
    cluster.run_checked(6)
    assert cluster.routes_to("piko-3") == []
    cluster.run_checked(60, 5)
    assert cluster.false_unreachable == []


def test_a_leave_reaches_references() -> None:
    cluster = mixed(4, 2, 3, Faults())
    cluster.run(2)
    cluster.leave("pico-1")
    cluster.run_checked(1)
    assert cluster.nodes["pico-1"].leave_told == 3
    assert cluster.routes_to("pico-1") == []
    references = [each.engine for each in cluster.nodes.values() if isinstance(each.engine, Reference)]
    assert len(references) == 3
    assert all(each.known["pico-1"][1].value("_internal:left") == "" for each in references)
