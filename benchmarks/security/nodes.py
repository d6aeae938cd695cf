"""What clients and agents notice of nodes that go: restarts in turn, and a node that is killed."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.security.site import Figure, at_most, exactly
from tests.cluster.balancers import Balancer
from tests.cluster.harness import Cluster, await_route, loopback_cluster
from tests.cluster.load import Load, echo_origin
from tests.e2e.harness import LOCAL

NODES = 3
CLIENTS = 8


def before(cluster: Cluster) -> Balancer:
    """Return a balancer before all nodes of a cluster."""
    return Balancer([node.place for node in cluster.nodes])


def agent_is_back(runtime: str) -> list[Figure]:
    """Kill the node that holds the only tunnel; the agent and its requests are to be back on another."""
    with loopback_cluster(runtime, NODES) as cluster, echo_origin() as (origin, path), before(cluster) as balancer:
        agent = cluster.agent(balancer.upstream, "e1", (LOCAL, origin.port))
        holder = cluster.holder()
        alive = [node.place for node in cluster.nodes if node is not holder]
        for place in alive:
            await_route(place, "e1", path)
        with Load("e1", path, [place.proxy for place in alive]) as load:
            load.go_on(100)
            killed_at = time.monotonic()
            holder.process.kill()
            load.go_on(1_000)
        outage_s = max((each.began_at + each.took_s - killed_at for each in load.failures()), default=0.0)
        detail = "the agent runs on" if agent.alive else "THE AGENT HAS ENDED"
        slowest_s = max(load.slowest_s(killed_at), outage_s)
        return [at_most(f"{runtime}: all served again after kill -9 of a node", slowest_s, 2.0, " s", detail)]


def restarts(runtime: str, count: int, requests: int) -> list[Figure]:
    """Restart nodes in turn ``count`` times under at least so many requests; none may fail."""
    with loopback_cluster(runtime, NODES) as cluster, echo_origin() as (origin, path), before(cluster) as balancer:
        cluster.agent(balancer.upstream, "e1", (LOCAL, origin.port))
        for node in cluster.nodes:
            await_route(node.place, "e1", path)
        with Load("e1", path, [balancer.proxy], clients=CLIENTS, pause_s=0.0) as load:
            for number in range(count):
                cluster.nodes[number % NODES].restart()
                while len(load.outcomes) * count < requests * (number + 1):
                    time.sleep(0.05)
        failed = load.failures()
        detail = f"of {len(load.outcomes):,} requests" + (f"; first: {failed[0].failure}" if failed else "")
        return [exactly(f"{runtime}: failed over {count} restarts", len(failed), 0, detail)]
