"""The page's cluster to the letter: its arguments, its file, its name in the DNS, its limits, addresses that change."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.balancers import Haproxy
from tests.cluster.harness import DETECTION_S, FULL_VIEW_S, Address, Cluster, Node, Place
from tests.cluster.load import Load, echo_origin
from tests.cluster.manifest import documents, pod_arguments
from tests.cluster.network import SUBNET, Namespace, Network, limits, throttled, why_not
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.namespaces, pytest.mark.debian]

NAME = "pico"
REPLICAS = 3
FIRST_ADDRESS = 11
NEXT_ADDRESS = 100
"""A pod that comes back has an address this much higher."""


@pytest.fixture
def network() -> Iterator[Network]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network() as made:
        yield made


@dataclass
class Pods:
    """The page's StatefulSet: pods in namespaces, with clients, agents and a balancer in others."""

    network: Network
    cluster: Cluster
    namespaces: list[Namespace]
    clients: Namespace
    agents: Namespace
    folder: Path
    origin: Origin
    path: str

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    def start(self, index: int) -> Node:
        """Start a pod that never ran."""
        namespace = self.namespaces[index]
        name = f"{documents()['StatefulSet']['metadata']['name']}-{index}"
        limited = self.cluster.resources.enter_context(limits(name))
        place = Place(
            name,
            namespace.address,
            prefix=(*limited, *namespace.prefix),  # inside a namespace, /sys is another
            arguments=(*pod_arguments(self.folder), "--runtime", self.cluster.runtime),
            environment={"POD_NAME": name},
        )
        node = Node(place, self.clients.connect)
        assert index == len(self.nodes)
        self.nodes.append(node)
        return node

    def replace(self, index: int) -> float:
        """Stop a pod and have it come back with another address; return how long the stop took."""
        node, namespace = self.nodes[index], self.namespaces[index]
        self.publish(leaving=index)
        began_at = time.monotonic()
        node.process.stop()
        took_s = time.monotonic() - began_at
        namespace.move(self.other_address(namespace.address))
        node.place.host = namespace.address
        node.start()
        wait_until(node.is_ready, f"{node.place.name} ready")
        self.publish()
        return took_s

    def other_address(self, address: str) -> str:
        number = int(address.rpartition(".")[2])
        return f"{SUBNET}.{number - NEXT_ADDRESS if number > NEXT_ADDRESS else number + NEXT_ADDRESS}"

    def publish(self, leaving: int = -1) -> None:
        """Have the name resolve to the pods that run."""
        hosts = [node.place.host for index, node in enumerate(self.nodes) if index != leaving]
        self.network.resolve(NAME, hosts)

    def agent(self, upstream: Address, endpoint: str) -> None:
        self.cluster.agent(upstream, endpoint, ("127.0.0.1", self.origin.port), self.agents.prefix)

    def status(self, node: Node, endpoint: str) -> int:
        """Ask a node for an endpoint; return the status, after checking that the answer fits the request."""
        with Wire(self.clients.connect(node.place.proxy)) as wire:
            wire.send(request_bytes(endpoint, f"{self.path}?{endpoint}"))
            head, body = receive_response(wire)
        assert head.status != 200 or body == endpoint.encode()
        return head.status

    def load(self, addresses: list[Address], patience_s: float = PATIENCE_S) -> Load:
        return Load("e1", self.path, addresses, patience_s=patience_s, reach=self.clients.connect)

    def balancer(self) -> contextlib.AbstractContextManager[Haproxy]:
        """HAProxy before all addresses the pods may ever have, of which it chooses those that are ready."""
        namespace = self.network.namespace("haproxy", 2)
        places = [Place(each.name, each.address) for each in self.namespaces]
        places += [Place(each.name, self.other_address(each.address)) for each in self.namespaces]
        return Haproxy(places, self.folder, namespace.address, namespace.prefix, self.clients.connect)


@contextlib.contextmanager
def pods_of(runtime: str, network: Network, folder: Path) -> Iterator[Pods]:
    """The page's namespaces, without a pod yet."""
    namespaces = [network.namespace(f"{NAME}-{index}", FIRST_ADDRESS + index) for index in range(REPLICAS)]
    clients, agents = network.namespace("clients", 3), network.namespace("agents", 4)
    cluster = Cluster(runtime)
    with agents.entered():
        service = echo_origin()
        origin, path = service.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(service)
        stack.callback(cluster.close)
        yield Pods(network, cluster, namespaces, clients, agents, folder, origin, path)


@pytest.fixture
def pods(network: Network, tmp_path: Path) -> Iterator[Pods]:
    with pods_of("uvloop", network, tmp_path) as made:
        yield made


@pytest.fixture
def running(pods: Pods) -> Pods:
    """All pods run and are one cluster."""
    for index in range(REPLICAS):
        pods.start(index)
    pods.publish()
    pods.cluster.await_whole()
    return pods


def test_the_manifest_has_the_name_and_the_replicas_of_these_tests() -> None:
    assert documents()["StatefulSet"]["spec"]["replicas"] == REPLICAS
    assert documents()["Service"]["metadata"]["name"] == NAME


def test_pods_find_each_other_by_the_name_alone(pods: Pods) -> None:
    for index in range(REPLICAS):
        began_at = time.monotonic()
        node = pods.start(index)
        assert node.id.startswith(f"{node.place.name}-")
        print(f"\n{node.id}: ready {time.monotonic() - began_at:.1f} s after its start")
    for node in pods.nodes:  # the name does not exist yet, and each node serves all the same
        assert node.is_ready()
        assert not node.members()

    pods.network.resolve(NAME, [pods.nodes[0].place.host])
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
        node = pods.start(index)
        wait_until(node.is_ready, "ready")
        pods.publish()
        print(f"\npod {index} ready: full view after {pods.cluster.await_whole(FULL_VIEW_S):.2f} s")


def roll(pods: Pods, rounds: int, at_least: int) -> None:
    """Replace every pod, the last one first, each by one with another address, under load through HAProxy."""
    with pods.balancer() as balancer:
        balancer.await_servers(REPLICAS)
        pods.agent(balancer.upstream, "e1")
        wait_until(lambda: all(pods.status(node, "e1") == 200 for node in pods.nodes), "a route", FULL_VIEW_S)
        stops = []
        with pods.load([balancer.proxy]) as load:
            for _ in range(rounds):
                stops += [pods.replace(index) for index in reversed(range(REPLICAS))]
        load.report(f"{pods.cluster.runtime}, pods replaced {rounds} times, stops took up to {max(stops):.1f} s")
        load.check(at_least)
        assert max(stops) < documents()["StatefulSet"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert pods.cluster.await_whole() < FULL_VIEW_S


def test_rolling_update_with_new_addresses(running: Pods) -> None:
    roll(running, 1, 1_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rolling_updates_for_long(network: Network, tmp_path: Path, runtime: str) -> None:
    with pods_of(runtime, network, tmp_path) as pods:
        for index in range(REPLICAS):
            pods.start(index)
        pods.publish()
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
