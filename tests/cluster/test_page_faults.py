"""What happens to the page's cluster in its life, its manifests unchanged: scaling, crashes, outages of the DNS."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import FULL_VIEW_S, PICO, Command, NodeProcess, ask
from tests.cluster.manifest import page
from tests.cluster.network import Network
from tests.cluster.pods import ENDPOINTS_LAG_S, MOST_READY_S, REQUESTS, Pods, pods_of
from tests.e2e.origin import Visit
from tests.e2e.wire import Wire, receive_response, request_bytes
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.namespaces, pytest.mark.debian]

REPLICAS = page().replicas
MOST_PODS = 5
CLIENTS = 6

BACK_S = 3.0
"""Within this, agents are back after the first node is ready for them again; they try about once a second."""

SLOW_ANSWER_S = 3.0

TUNNELS = 1_000
RATE = 200
MOST_BYTES = 120 << 20

ESTABLISHED = "01"
"""As files in /proc write the state of a connection."""


@pytest.fixture
def pods(network: Network, tmp_path: Path, runtime: str) -> Iterator[Pods]:
    with pods_of(page(), runtime, network, tmp_path, MOST_PODS) as made:
        yield made


@pytest.mark.parametrize(
    "is_silent", [pytest.param(True, id="silent"), pytest.param(False, id="refused", marks=pytest.mark.slow)]
)
def test_dns_that_fails_at_boot(network: Network, tmp_path: Path, is_silent: bool) -> None:
    """No node is ready while it cannot tell whether there are others, and none gives up; then they are one cluster."""
    with pods_of(page(), "uvloop", network, tmp_path) as pods:
        with network.without_dns(is_silent=is_silent):
            pods.scale(REPLICAS)
            for node in pods.nodes:
                node.process.await_log("cannot look up a name to join")
                assert ask(node.place.admin, "/health", pods.clients.connect) == 200
                assert not node.is_ready()
        answers_at = time.monotonic()
        for index in range(REPLICAS):
            wait_until(pods.nodes[index].is_ready, "ready")
        whole_s = pods.cluster.await_whole(FULL_VIEW_S)
        ready_s = time.monotonic() - answers_at - whole_s
        print(f"\nDNS answers again: ready after {ready_s:.2f} s, one cluster {whole_s:.2f} s later")
        pods.agent(pods.nodes[0].place.upstream, "e1")
        pods.await_route("e1")


@pytest.mark.slow
def test_a_pod_joins_one_that_had_an_agent_before_it_knew_its_own_address(pods: Pods) -> None:
    """The first request of the new pod waits until it can reach the other one."""
    with pods.network.without_dns(is_silent=True):
        pods.start(0)
        pods.agent(pods.nodes[0].place.upstream, "e1")
        assert not pods.nodes[0].is_ready()
    pods.publish()
    wait_until(pods.nodes[0].is_ready, "ready")
    pods.start(1)
    pods.publish()
    statuses: list[int] = []

    def is_answered() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            statuses.append(pods.status(pods.nodes[1], "e1"))
        return bool(statuses)

    wait_until(is_answered, "an answer")
    assert statuses == [200]


@pytest.mark.slow
def test_scaling_to_five_to_two_to_none_and_back(pods: Pods) -> None:
    pods.scale(REPLICAS)
    with pods.balancer() as balancer:
        balancer.await_servers(REPLICAS)
        pods.agent(balancer.upstream, "e1")
        pods.await_route("e1")
        with pods.load([balancer.proxy], clients=CLIENTS) as load:
            pods.scale(MOST_PODS)
            assert pods.cluster.await_whole() < FULL_VIEW_S + MOST_READY_S
            balancer.await_servers(MOST_PODS)
            pods.scale(2)
            balancer.await_servers(2)
            load.reach(REQUESTS)
        load.report(f"{pods.cluster.runtime}, 3 pods, 5, 2")
        load.check(REQUESTS)
        pods.scale(0)
        assert not any(node.process.alive for node in pods.nodes)
        balancer.await_servers(0)
        pods.scale(REPLICAS)
        began_at = time.monotonic()
        wait_until(lambda: any(pods.nodes[index].is_ready() for index in pods.running), "a pod is ready")
        ready_at = time.monotonic()
        served_by = ready_at + ENDPOINTS_LAG_S + BACK_S
        wait_until(lambda: pods.status_through(balancer.proxy, "e1") == 200, "served again")
        served_at = time.monotonic()
        print(f"no pods, 3: ready after {ready_at - began_at:.1f} s, served after {served_at - began_at:.1f} s")
        assert served_at < served_by
        for index in range(REPLICAS):
            print(f"pod {index} was ready within {pods.await_ready(index):.1f} s")
        pods.await_route("e1")
        with pods.load([balancer.proxy], clients=CLIENTS) as load:
            load.reach(1_000)
        load.check(1_000)


@pytest.mark.slow
def test_kill_of_each_pod(pods: Pods) -> None:
    """Only what was in flight on the killed node is lost; the kubelet starts the container again in the same pod."""
    pods.scale(REPLICAS)
    with pods.balancer() as balancer:
        balancer.await_servers(REPLICAS)
        for _ in range(2):
            pods.agent(balancer.upstream, "e1")
        pods.await_route("e1")
        with pods.load([balancer.proxy], clients=CLIENTS) as load:
            for index in range(REPLICAS):
                load.go_on(500)
                before, killed_at = len(load.failures()), time.monotonic()
                pods.crash(index)
                took_s = pods.await_ready(index)
                balancer.await_servers(REPLICAS)
                pods.cluster.await_whole()
                load.go_on(500)
                lost = load.failures()[before:]
                last_s = max((each.began_at - killed_at for each in lost), default=0.0)
                print(
                    f"\nkill -9 of pod {index}: {len(lost)} lost, begun until {last_s:.2f} s after; up {took_s:.1f} s"
                )
                assert len(lost) <= CLIENTS, lost
                assert last_s < 1.0, lost
            load.reach(REQUESTS)
        load.report(f"{pods.cluster.runtime}, kill -9 of each pod")


def test_all_pods_at_once(pods: Pods) -> None:
    """Once by SIGTERM, where a request in flight gets its answer, and once by SIGKILL; they come back at once."""
    pods.scale(REPLICAS)
    with pods.balancer() as balancer:
        balancer.await_servers(REPLICAS)
        for _ in range(2):
            pods.agent(balancer.upstream, "e1")
        pods.await_route("e1")
        answers: list[bytes] = []
        waiting = slow_request(pods, answers)
        took_s = pods.stop(*range(REPLICAS))
        waiting.join(PATIENCE_S)
        assert answers == [b"late"]
        print(f"\nall pods stopped at once: {took_s:.1f} s")
        for index in range(REPLICAS):
            pods.start(index)
        pods.publish()
        check_all_back(pods, balancer.proxy, "SIGTERM")

        pods.crash(*range(REPLICAS))
        check_all_back(pods, balancer.proxy, "SIGKILL")


def slow_request(pods: Pods, answers: list[bytes]) -> threading.Thread:
    """Send a request that is answered late, and return who waits for the answer, once the service has it."""
    arrived = threading.Event()

    def late(visit: Visit) -> None:
        arrived.set()
        time.sleep(SLOW_ANSWER_S)
        visit.respond(b"late")

    path = pods.origin.handle(late)

    def ask() -> None:
        with Wire(pods.clients.connect(pods.nodes[0].place.proxy)) as wire:
            wire.send(request_bytes("e1", path))
            answers.append(receive_response(wire)[1])

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert arrived.wait(PATIENCE_S)
    return thread


def check_all_back(pods: Pods, proxy: tuple[str, int], how: str) -> None:
    """All pods are ready in time, one cluster, and agents find them again; from then on nothing fails."""
    ready = [pods.await_ready(index) for index in range(REPLICAS)]
    ready_at = time.monotonic()
    whole_s = pods.cluster.await_whole(FULL_VIEW_S)

    def are_served() -> bool:
        return all(pods.status(node, "e1") == 200 for node in pods.nodes)

    wait_until(are_served, "agents back", BACK_S)
    back_s = time.monotonic() - ready_at
    print(
        f"\n{how} of all: ready after {max(ready):.1f} s, a cluster {whole_s:.1f} s, agents back {back_s:.1f} s later"
    )
    with pods.load([node.place.proxy for node in pods.nodes]) as load:
        load.reach(1_000)
    load.check(1_000)


@pytest.mark.slow
def test_a_thousand_tunnels_and_two_hundred_requests_a_second(pods: Pods) -> None:
    """Within a quarter of a CPU and 120 MiB, one pod has all of it."""
    pods.scale(1)
    pods.await_ready(0)
    (node,) = pods.nodes
    service = f"127.0.0.1:{pods.origin.port}"
    each = {"addr": service, "access_log": {"disable": True}}
    listeners = [{"endpoint_id": f"e{number}", **each} for number in range(TUNNELS)]
    path = pods.folder / "agent.json"
    path.write_text(json.dumps({"listeners": listeners}))
    began_at = time.monotonic()
    upstream = f"http://{node.place.host}:{node.place.upstream_port}"
    start = ("agent", "start", "--config.path", str(path), "--connect.url", upstream, "--runtime", pods.cluster.runtime)
    pods.cluster.agents.append(Command(*pods.agents.prefix, *PICO, *start))
    wait_until(lambda: node.upstreams() == TUNNELS, f"{TUNNELS} tunnels", 2 * PATIENCE_S)
    assert connections(node) == TUNNELS
    print(f"\n{TUNNELS} tunnels after {time.monotonic() - began_at:.1f} s")
    cpu_s, began_at = node.process.cpu_s(), time.monotonic()
    with pods.load([node.place.proxy], clients=CLIENTS) as load:
        load.reach(15 * RATE)
    took_s = time.monotonic() - began_at
    load.report(f"{pods.cluster.runtime}, {TUNNELS} tunnels")
    peak = node.process.peak_bytes()
    each_s = (node.process.cpu_s() - cpu_s) / len(load.outcomes)
    rate, possible = len(load.outcomes) / took_s, pods.manifests.cpu / each_s
    print(f"{rate:.0f} a second, {peak >> 20} MiB at most; {each_s * 1e3:.2f} ms each: {possible:.0f} possible")
    load.check(15 * RATE)
    assert max(rate, possible) >= RATE  # the clients of a machine with other work may be slower
    assert peak < MOST_BYTES


def connections(node: NodeProcess) -> int:
    """Return how many connections of its upstream port are open."""
    text = "".join(Path(f"/proc/{node.process.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for line in text.splitlines()]
    return sum(row[1].endswith(f":{node.place.upstream_port:04X}") and row[3] == ESTABLISHED for row in rows)
