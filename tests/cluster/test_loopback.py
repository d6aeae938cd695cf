"""Three and five nodes on loopback: any node reaches any tunnel, and nodes may go in any way they like."""

import signal
import time
from itertools import product
from pathlib import Path

import pytest

from tests.cluster.balancers import CHECK_INTERVAL_S, Balancer, Haproxy
from tests.cluster.harness import DETECTION_S, FULL_VIEW_S, Cluster, Place, await_route, loopback_cluster
from tests.cluster.load import Load, echo_origin
from tests.e2e.harness import LOCAL
from tests.e2e.wire import request
from tests.waiting import wait_until

LONG_ROUNDS = 5
LONG_REQUESTS = 20_000


def places(cluster: Cluster) -> list[Place]:
    return [node.place for node in cluster.nodes]


def reach_everything(cluster: Cluster, path: str) -> None:
    """Ask every node for the endpoint of every node (``e`` and its number)."""
    for node, number in product(cluster.nodes, range(len(cluster.nodes))):
        head, body = request(node.place.proxy_port, f"e{number}", f"{path}?{number}")
        assert (head.status, body) == (200, str(number).encode()), (node.place.name, number, body)


def await_routes(cluster: Cluster, path: str) -> None:
    """Wait until every node has a route to every node's endpoint; a route takes a gossip round or two."""

    def routed() -> bool:
        return all(
            request(node.place.proxy_port, f"e{number}", f"{path}?x")[0].status == 200
            for node, number in product(cluster.nodes, range(len(cluster.nodes)))
        )

    wait_until(routed, "routes to all endpoints on all nodes", FULL_VIEW_S)


@pytest.mark.parametrize("count", [3, 5])
def test_any_node_reaches_a_service_behind_any_other(runtime: str, count: int) -> None:
    with loopback_cluster(runtime, count, "--drain-delay", "0s") as cluster, echo_origin() as (origin, path):
        for number, node in enumerate(cluster.nodes):
            cluster.agent(node.place.upstream, f"e{number}", (LOCAL, origin.port))
        await_routes(cluster, path)
        reach_everything(cluster, path)
        # A node leaves: its agent has nowhere else to go here, so its endpoint goes, and no other.
        leaver = cluster.nodes.pop()
        leaver.process.stop()
        assert cluster.await_whole() < FULL_VIEW_S
        reach_everything(cluster, path)
        gone = f"e{len(cluster.nodes)}"
        assert request(cluster.nodes[0].place.proxy_port, gone)[0].status == 502


def roll(cluster: Cluster, balancer: Balancer | Haproxy, rounds: int, at_least: int, title: str) -> None:
    """Restart every node ``rounds`` times under load that, like the agent, comes through the balancer."""
    with echo_origin() as (origin, path):
        cluster.agent(balancer.upstream, "e1", (LOCAL, origin.port))
        for node in cluster.nodes:
            await_route(node.place, "e1", path)
        stops = []
        with Load("e1", path, [balancer.proxy]) as load:
            for _ in range(rounds):
                for node in reversed(cluster.nodes):
                    stops.append(node.restart())
        load.report(f"{title}: {rounds} restarts of each node, stops took {min(stops):.1f} to {max(stops):.1f} s")
        load.check(at_least)
        assert max(stops) < 10
        assert cluster.await_whole() < FULL_VIEW_S


@pytest.mark.slow
def test_rolling_restart(runtime: str) -> None:
    with loopback_cluster(runtime, 3) as cluster, Balancer(places(cluster)) as balancer:
        roll(cluster, balancer, 1, 1_000, f"{cluster.runtime}, own balancer")


@pytest.mark.debian
def test_rolling_restart_behind_haproxy(tmp_path: Path) -> None:
    with loopback_cluster("uvloop", 3) as cluster, Haproxy(places(cluster), tmp_path) as balancer:
        balancer.await_servers(3)
        roll(cluster, balancer, 1, 1_000, "uvloop, haproxy")


@pytest.mark.debian
def test_nodes_that_stand_still_keep_their_balancer(tmp_path: Path) -> None:
    """A machine with other work can hold all nodes up for longer than a check may take: no request is turned away."""
    with (
        loopback_cluster("uvloop", 3, "--drain-delay", "0s") as cluster,
        echo_origin() as (origin, path),
        Haproxy(places(cluster), tmp_path) as balancer,
    ):
        balancer.await_servers(3)
        cluster.agent(balancer.upstream, "e1", (LOCAL, origin.port))
        for node in cluster.nodes:
            await_route(node.place, "e1", path)
        for node in cluster.nodes:
            node.process.signal(signal.SIGSTOP)
        wait_until(balancer.is_checking_all, "a check that no node answers")
        with Load("e1", path, [balancer.proxy]) as load:
            time.sleep(CHECK_INTERVAL_S)  # the nodes stand still so long while requests and checks wait
            for node in cluster.nodes:
                node.process.signal(signal.SIGCONT)
            load.go_on(100)
        load.report("all nodes stood still")
        load.check(100)


@pytest.mark.debian
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rolling_restarts_behind_haproxy_for_long(runtime: str, tmp_path: Path) -> None:
    with loopback_cluster(runtime, 3) as cluster, Haproxy(places(cluster), tmp_path) as balancer:
        balancer.await_servers(3)
        roll(cluster, balancer, LONG_ROUNDS, LONG_REQUESTS, f"{cluster.runtime}, haproxy")


@pytest.mark.parametrize(
    ("rounds", "each"),
    [(2, 200), pytest.param(30, 700, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_an_agent_restarts_while_another_serves(three: Cluster, rounds: int, each: int) -> None:
    with echo_origin() as (origin, path), Balancer(places(three)) as balancer:
        agents = [three.agent(balancer.upstream, "e1", (LOCAL, origin.port)) for _ in range(2)]
        with Load("e1", path, [balancer.proxy]) as load:
            for number in range(rounds):
                three.await_upstreams(2)
                agents[number % 2].stop()
                three.await_upstreams(1)
                agents[number % 2] = three.agent(balancer.upstream, "e1", (LOCAL, origin.port))
                load.go_on(each)
        load.report(f"{rounds} restarts of agents")
        load.check(rounds * each)


@pytest.mark.timeout(120)
def test_the_node_with_the_only_tunnel_is_killed(runtime: str) -> None:
    with loopback_cluster(runtime, 3, "--drain-delay", "0s") as three:
        lose_the_only_tunnel(three)


def lose_the_only_tunnel(three: Cluster) -> None:
    """Kill its node under about 100 requests/s, half of them POSTs, which may not be sent twice."""
    with echo_origin() as (origin, path), Balancer(places(three)) as balancer:
        three.agent(balancer.upstream, "e1", (LOCAL, origin.port))
        holder = three.holder()
        alive = [node.place for node in three.nodes if node is not holder]
        for place in alive:
            await_route(place, "e1", path)
        # About 100 requests/s, and more clients than would be needed, since all of them wait during the outage.
        with Load("e1", path, [place.proxy for place in alive], clients=20, pause_s=0.2) as load:
            load.go_on(100)
            killed_at = time.monotonic()
            holder.process.kill()
            load.go_on(500)
        failures = load.failures()
        outage_s = max((each.began_at + each.took_s - killed_at for each in failures), default=0.0)
        load.report(f"kill -9 of the only tunnel's node: last failure after {outage_s:.2f} s")
        assert len(failures) <= 5, failures
        assert all("502" in each.failure for each in failures), failures
        assert outage_s < 2.0
        assert load.slowest_s(killed_at) < 2.0
        wait_until(three.is_whole, "the dead node is unreachable", DETECTION_S)


def test_a_node_is_killed_while_another_has_a_tunnel_too(three: Cluster) -> None:
    entry, holder, other = three.nodes
    with echo_origin() as (origin, path):
        for node in (holder, other):
            three.agent(node.place.upstream, "e1", (LOCAL, origin.port))
        three.await_upstreams(2)
        with Load("e1", path, [entry.place.proxy], clients=8, pause_s=0.001, methods=["GET"]) as load:
            load.go_on(500)
            holder.process.kill()
            load.go_on(2_000)
        load.report("kill -9 of one of two tunnels' nodes")
        load.check(2_500)
        three.await_whole(DETECTION_S)


@pytest.mark.slow
def test_a_paused_node_comes_back(three: Cluster) -> None:
    entry, paused, other = three.nodes
    ids = [node.id for node in three.nodes]
    with echo_origin() as (origin, path):
        for node in (paused, other):
            three.agent(node.place.upstream, "e1", (LOCAL, origin.port))
        addresses = [entry.place.proxy, other.place.proxy]
        three.await_upstreams(2)
        with Load("e1", path, addresses) as during:
            during.go_on(100)
            paused.process.signal(signal.SIGSTOP)
            paused_at = time.monotonic()
            for node in (entry, other):
                node.process.await_log("node unreachable", node=paused.id, timeout_s=DETECTION_S)
            detected_s = time.monotonic() - paused_at
            with Load("e1", path, addresses) as afterwards:
                afterwards.go_on(1_000)
            paused_s = time.monotonic() - paused_at
            paused.process.signal(signal.SIGCONT)
            healed_s = three.await_whole(DETECTION_S)
        during.report(f"over a pause of {paused_s:.1f} s")
        afterwards.report(f"after detection ({detected_s:.1f} s), until it ended; one cluster {healed_s:.2f} s later")
        during.check(100)
        afterwards.check(300)
        assert afterwards.slowest_s() < 1.0
        assert [node.id for node in three.nodes] == ids


@pytest.mark.slow
def test_all_nodes_go_and_come_back(runtime: str) -> None:
    """Row 31: the agent finds the first node within a second, although it has been alone for a while."""
    with loopback_cluster(runtime, 3, "--drain-delay", "0s") as three, echo_origin() as (origin, path):
        with Balancer(places(three)) as balancer:
            three.agent(balancer.upstream, "e1", (LOCAL, origin.port))
            for place in places(three):
                await_route(place, "e1", path)
            for node in three.nodes:
                node.process.ask_to_stop()
            for node in three.nodes:
                node.process.await_stop()
            wait_until(lambda: balancer.turned_away >= 8, "the agent's pauses between attempts are at their longest")
            for node in three.nodes:
                node.start()
            wait_until(lambda: any(node.process.logged("ready") for node in three.nodes), "the first node")
            listening_at = time.monotonic()
            entry = three.nodes[0].place
            await_route(entry, "e1", path)
            served_after_s = time.monotonic() - listening_at
        print(f"\n{runtime}: served {served_after_s:.2f} s after the first node was ready")
        assert served_after_s < 2.0
