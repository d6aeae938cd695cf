"""A StatefulSet of the tests: what the kubelet, the DNS and a balancer do with manifests, done to real processes.

A pod is a network namespace with the limits of the manifests. Its container is started with their arguments, restarted
in the same namespace when it crashes, stopped by SIGTERM and killed after the grace; a pod that is deleted comes back
under another address. The DNS names what runs. A balancer learns a little later which pods are ready; without a probe
these are all that run.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.balancers import Haproxy
from tests.cluster.harness import FULL_VIEW_S, Address, Cluster, Command, NodeProcess, Place
from tests.cluster.load import Load, echo_origin
from tests.cluster.manifest import Manifests
from tests.cluster.network import SUBNET, Namespace, Network, limits
from tests.e2e.origin import Origin
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

FIRST_ADDRESS = 11
NEXT_ADDRESS = 100
"""A pod that comes back has an address this much higher."""

IS_LONG = bool(os.environ.get("PICO_LONG_CASES"))
"""Whether each case runs for as long as the figures in the docs need, and on asyncio as well."""

REQUESTS = 10_000 if IS_LONG else 2_000
"""How many each case has at least."""

ENDPOINTS_LAG_S = 1.0
"""After this the balancer knows that a pod became ready or was deleted."""

MOST_READY_S = 6.0
"""How long a node may take from the start of its process until it is ready, within the CPU of the manifests."""


@dataclass
class Pods:
    """Pods in namespaces, with clients, agents and a balancer in others. None runs at first."""

    manifests: Manifests
    network: Network
    cluster: Cluster
    namespaces: list[Namespace]
    clients: Namespace
    agents: Namespace
    folder: Path
    origin: Origin
    path: str
    running: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    """Those that run and, where there is a readiness probe, passed it."""
    told: Haproxy | None = None
    started_at: dict[int, float] = field(default_factory=dict)

    @property
    def nodes(self) -> list[NodeProcess]:
        return self.cluster.nodes

    # --- the kubelet ---

    def start(self, index: int) -> NodeProcess:
        """Start a pod; one that ran before comes back under another address."""
        assert index not in self.running
        self.started_at[index] = time.monotonic()
        namespace = self.namespaces[index]
        if index < len(self.nodes):
            namespace.move(self.other_address(namespace.address))
            self.nodes[index].place.host = namespace.address
            self.nodes[index].start()
        else:
            assert index == len(self.nodes)
            self.nodes.append(self._new(index))
        self.running.add(index)
        if not self.manifests.has_probe:
            self.ready.add(index)
        return self.nodes[index]

    def _new(self, index: int) -> NodeProcess:
        namespace, name = self.namespaces[index], f"pico-{index}"
        manifests = self.manifests
        limited = self.cluster.resources.enter_context(limits(name, manifests.cpu, manifests.memory_bytes))
        place = Place(
            name,
            namespace.address,
            prefix=(*limited, *namespace.prefix),  # inside a namespace, /sys is another
            arguments=(*manifests.arguments(self.folder), "--runtime", self.cluster.runtime),
            environment={"POD_NAME": name},
        )
        return NodeProcess(place, self.clients.connect)

    def await_started(self, index: int) -> None:
        """Wait for what a StatefulSet waits for before it goes on."""
        if self.manifests.has_probe:
            self.await_ready(index)
            self.ready.add(index)
            self.publish()

    def await_ready(self, index: int) -> float:
        """Wait until a node says that it is ready, which must not take long; return how long it took.

        Where the machine has other work, it may take longer than with all of the CPU that the manifests promise.
        """
        node = self.nodes[index]
        wait_until(node.is_ready, f"{node.place.name} ready")
        took_s = time.monotonic() - self.started_at[index]
        assert took_s < MOST_READY_S or node.process.cpu_s() < MOST_READY_S * self.manifests.cpu
        return took_s

    def stop(self, *indices: int) -> float:
        """Delete pods as the kubelet does: SIGTERM, and the end before the grace is over. Return the longest stop."""
        self.running -= set(indices)
        self.ready -= set(indices)
        self.publish()
        began_at = time.monotonic()
        for index in indices:
            self.nodes[index].process.ask_to_stop()
        for index in indices:
            self.nodes[index].process.await_stop()
        took_s = time.monotonic() - began_at
        assert took_s < self.manifests.grace_s
        return took_s

    def replace(self, index: int) -> float:
        """Delete a pod and have it come back; return how long the stop took."""
        took_s = self.stop(index)
        self.start(index)
        self.publish()
        self.await_started(index)
        return took_s

    def crash(self, *indices: int) -> None:
        """End containers by SIGKILL, and start them again as the kubelet does: at once, in the same pod."""
        for index in indices:
            self.nodes[index].process.kill()
        for index in indices:
            self.started_at[index] = time.monotonic()
            self.nodes[index].start()

    def scale(self, replicas: int) -> None:
        """Start or stop pods until there are so many: one after the other, if the StatefulSet is ordered."""
        missing = list(range(len(self.running), replicas))
        surplus = list(reversed(range(replicas, len(self.running))))
        step = 1 if self.manifests.is_ordered else max(len(missing), len(surplus), 1)
        for begin in range(0, len(missing), step):
            for index in missing[begin : begin + step]:
                self.start(index)
            self.publish()
            for index in missing[begin : begin + step]:
                self.await_started(index)
        for begin in range(0, len(surplus), step):
            self.stop(*surplus[begin : begin + step])

    def other_address(self, address: str) -> str:
        number = int(address.rpartition(".")[2])
        return f"{SUBNET}.{number - NEXT_ADDRESS if number > NEXT_ADDRESS else number + NEXT_ADDRESS}"

    # --- the endpoints ---

    def publish(self) -> None:
        """Have the name resolve to the pods that run, and the balancer use those that are ready."""
        self.network.resolve(self.manifests.name, self._hosts(self.running))
        if self.told is not None:
            self.told.tell(self._hosts(self.ready), ENDPOINTS_LAG_S)

    def _hosts(self, indices: set[int]) -> list[str]:
        return [self.nodes[index].place.host for index in sorted(indices)]

    # --- the others ---

    def agent(self, upstream: Address, endpoint: str) -> Command:
        return self.cluster.agent(upstream, endpoint, ("127.0.0.1", self.origin.port), self.agents.prefix)

    def status(self, node: NodeProcess, endpoint: str) -> int:
        """Ask a node for an endpoint; return the status, after checking that the answer fits the request."""
        return self.status_through(node.place.proxy, endpoint)

    def status_through(self, proxy: Address, endpoint: str) -> int:
        """Ask a node or the balancer."""
        with Wire(self.clients.connect(proxy)) as wire:
            wire.send(request_bytes(endpoint, f"{self.path}?{endpoint}"))
            head, body = receive_response(wire)
        assert head.status != 200 or body == endpoint.encode()
        return head.status

    def await_route(self, endpoint: str) -> None:
        """Wait until every pod that runs serves an endpoint."""
        nodes = [self.nodes[index] for index in self.running]
        wait_until(lambda: all(self.status(node, endpoint) == 200 for node in nodes), "a route", FULL_VIEW_S)

    def load(self, addresses: list[Address], patience_s: float = PATIENCE_S, clients: int = 4) -> Load:
        return Load("e1", self.path, addresses, clients=clients, patience_s=patience_s, reach=self.clients.connect)

    @contextlib.contextmanager
    def balancer(self) -> Iterator[Haproxy]:
        """HAProxy that knows of pods what the Kubernetes API says. It does not check them itself."""
        namespace = self.network.namespace("haproxy", 2)
        places = [Place(each.name, each.address) for each in self.namespaces]
        places += [Place(each.name, self.other_address(each.address)) for each in self.namespaces]
        with Haproxy(places, self.folder, namespace.address, namespace.prefix, is_told=True) as self.told:
            self.told.tell(self._hosts(self.ready))
            try:
                yield self.told
            finally:
                self.told = None


@contextlib.contextmanager
def pods_of(manifests: Manifests, runtime: str, network: Network, folder: Path, most: int = 0) -> Iterator[Pods]:
    """Make the namespaces of ``most`` pods, by default of the manifests' replicas."""
    count = most or manifests.replicas
    namespaces = [network.namespace(f"pico-{index}", FIRST_ADDRESS + index) for index in range(count)]
    clients, agents = network.namespace("clients", 3), network.namespace("agents", 4)
    cluster = Cluster(runtime)
    with contextlib.ExitStack() as stack:
        with agents.entered():
            origin, path = stack.enter_context(echo_origin())
        stack.callback(cluster.close)
        yield Pods(manifests, network, cluster, namespaces, clients, agents, folder, origin, path)


def roll(pods: Pods, rounds: int, at_least: int) -> None:
    """Replace every pod, the last one first, each by one with another address, under load through HAProxy."""
    replicas = pods.manifests.replicas
    with pods.balancer() as balancer:
        balancer.await_servers(replicas)
        pods.agent(balancer.upstream, "e1")
        pods.await_route("e1")
        stops = []
        with pods.load([balancer.proxy], clients=6) as load:
            for _ in range(rounds):
                stops += [pods.replace(index) for index in reversed(range(replicas))]
            load.reach(at_least)
        load.report(f"{pods.cluster.runtime}, pods replaced {rounds} times, stops took up to {max(stops):.1f} s")
        load.check(at_least)
        assert pods.cluster.await_whole() < FULL_VIEW_S
