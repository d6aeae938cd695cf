"""The page's cluster to the letter: its arguments, its file, its name in the DNS, its limits, addresses that change."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import DETECTION_S, FULL_VIEW_S
from tests.cluster.manifest import page
from tests.cluster.network import Network, throttled
from tests.cluster.pods import REQUESTS, Pods, pods_of, roll
from tests.waiting import wait_until

pytestmark = [pytest.mark.namespaces, pytest.mark.debian]

REPLICAS = page().replicas


@pytest.fixture
def pods(network: Network, tmp_path: Path) -> Iterator[Pods]:
    with pods_of(page(), "uvloop", network, tmp_path) as made:
        yield made


@pytest.fixture
def running(pods: Pods) -> Pods:
    """All pods run and are one cluster."""
    pods.scale(REPLICAS)
    pods.cluster.await_whole()
    return pods


def test_pods_find_each_other_by_the_name_alone(pods: Pods) -> None:
    for index in range(REPLICAS):
        node = pods.start(index)
        print(f"\n{node.place.name}: ready {pods.await_ready(index):.1f} s after its start")
        assert node.id.startswith(f"{node.place.name}-")
    for node in pods.nodes:  # the name does not exist yet, and each node serves all the same
        assert node.is_ready()
        assert not node.members()

    pods.network.resolve(pods.manifests.name, [pods.nodes[0].place.host])
    print(f"\nthe name resolves to one: full view after {pods.cluster.await_whole(FULL_VIEW_S):.2f} s")

    pods.publish()
    for index, node in enumerate(pods.nodes):
        pods.agent(node.place.upstream, f"e{index}")
    everything = list(itertools.product(pods.nodes, range(REPLICAS)))
    wait_until(
        lambda: all(pods.status(node, f"e{index}") == 200 for node, index in everything), "all routes", FULL_VIEW_S
    )
    assert pods.cluster.is_whole()
    for node in pods.nodes:
        print(f"{node.place.name}: {node.process.cpu_s():.2f} CPU s, {throttled(node.place.name)}")
        assert node.process.resident_bytes() < 100 << 20


def test_a_name_that_first_names_only_the_asking_pod(pods: Pods) -> None:
    """The order of an OrderedReady StatefulSet: each pod starts when the one before is ready and in the DNS."""
    for index in range(REPLICAS):
        pods.start(index)
        pods.await_ready(index)
        pods.publish()
        print(f"\npod {index} ready: full view after {pods.cluster.await_whole(FULL_VIEW_S):.2f} s")


def test_rolling_update_with_new_addresses(running: Pods) -> None:
    roll(running, 1, REQUESTS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rolling_updates_for_long(network: Network, tmp_path: Path, runtime: str) -> None:
    with pods_of(page(), runtime, network, tmp_path) as pods:
        pods.scale(REPLICAS)
        pods.cluster.await_whole()
        roll(pods, 5, 20_000)


def test_one_way_cut(running: Pods) -> None:
    """No node is marked unreachable for a link that only two nodes miss, and requests go around it."""
    entry, cut_off, other = running.nodes
    for node in (cut_off, other):
        running.agent(node.place.upstream, "e1")
    running.agent(cut_off.place.upstream, "only-there")
    wait_until(lambda: all(running.status(node, "e1") == 200 for node in running.nodes), "a route", FULL_VIEW_S)
    wait_until(lambda: running.status(entry, "only-there") == 200, "a route", FULL_VIEW_S)
    with running.namespaces[0].deaf_to(cut_off.place.host):
        detected_at = time.monotonic() + DETECTION_S  # requests on their way before are lost with the link
        with running.load([node.place.proxy for node in running.nodes], patience_s=DETECTION_S) as load:
            wait_until(lambda: load.begun(detected_at) >= 300, "requests after the detection")
        load.report(f"deaf to one of two tunnels' nodes; slowest after 5 s {load.slowest_s(detected_at):.2f} s")
        assert not load.failures(detected_at)
        assert load.slowest_s(detected_at) < 1.0
        began_at = time.monotonic()
        assert running.status(entry, "only-there") == 502
        assert time.monotonic() - began_at < 15
        assert running.cluster.is_whole()
    healed_at = time.monotonic()
    wait_until(lambda: running.status(entry, "only-there") == 200, "the link is used again", 12)
    print(f"healed: used again after {time.monotonic() - healed_at:.2f} s")
    assert running.cluster.is_whole()


def test_a_pod_alone_in_a_partition_comes_back(running: Pods) -> None:
    alone, *others = running.nodes
    for node in running.nodes:
        running.agent(node.place.upstream, "e1")
    wait_until(lambda: all(running.status(node, "e1") == 200 for node in running.nodes), "a route", FULL_VIEW_S)
    with running.namespaces[0].deaf_to(*(node.place.host for node in others)):
        cut_at = time.monotonic()
        for node in others:
            node.process.await_log("node unreachable", node=alone.id, timeout_s=DETECTION_S)
        detected_s = time.monotonic() - cut_at
        with running.load([node.place.proxy for node in others]) as load:
            load.go_on(1_000)
        load.report(f"one pod deaf to the others, unreachable after {detected_s:.1f} s; then")
        load.check(300)
        assert load.slowest_s() < 1.0
        assert running.status(alone, "e1") == 200  # it has an upstream of its own
    healed_s = running.cluster.await_whole(DETECTION_S)
    print(f"healed: one cluster after {healed_s:.2f} s")
