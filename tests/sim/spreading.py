"""The scenario of many endpoints: how much nodes tell each other of changes, and how fast changes spread."""

from typing import NamedTuple

from tests.sim.checks import Checks
from tests.sim.deployment import Deployment
from tests.sim.world import World


def many_endpoints(world: World) -> dict[str, float]:
    """25 nodes with 400 endpoints each, and 500 registrations and removals a second: traffic, and time to spread."""
    return _many_endpoints(world, nodes=25, endpoints=400, changes_per_s=500, duration_s=4.0)


def _many_endpoints(
    world: World, nodes: int, endpoints: int, changes_per_s: int, duration_s: float
) -> dict[str, float]:
    deployment = Deployment(world)
    deployment.start_servers(nodes)
    checks = Checks(deployment, mild=True)
    world.run_until("full view", checks.view_problem, 5.0)
    servers = list(deployment.servers.values())
    for server in servers:
        for number in range(endpoints):
            _set_endpoint(deployment, server.slot, f"node-{server.slot}-endpoint-{number:05d}", 1)
    loaded_s = world.run_until("all endpoints everywhere", lambda: _spread_problem(deployment, nodes * endpoints), 60.0)
    sent_before = sum(server.process.sent_bytes for server in servers)
    began_at = world.now
    waiting: list[Change] = []
    spread_s: list[float] = []
    removed = dict.fromkeys(range(nodes), 0)
    changes = 0
    while world.now - began_at < duration_s:
        slot = world.random.randrange(nodes)
        is_new = changes % 2 == 0
        if is_new:
            endpoint = f"node-{slot}-new-{changes:05d}"
        else:
            endpoint = f"node-{slot}-endpoint-{removed[slot]:05d}"
            removed[slot] += 1
        _set_endpoint(deployment, slot, endpoint, 1 if is_new else 0)
        if changes % 5 == 0:
            waiting.append(Change(world.now, endpoint, slot, is_new))
        changes += 1
        world.run(1.0 / changes_per_s)
        waiting = _note_spread(deployment, waiting, spread_s, world.now)
    sent = sum(server.process.sent_bytes for server in servers) - sent_before
    world.run(2.0)
    waiting = _note_spread(deployment, waiting, spread_s, world.now)
    if waiting:
        raise world.violation(f"the change of {waiting[0].endpoint} is not known everywhere")
    spread_s.sort()
    return {
        "changes": changes,
        "kB_per_s_and_node": sent / nodes / duration_s / 1000,
        "spread_median_s": spread_s[len(spread_s) // 2],
        "spread_p99_s": spread_s[int(len(spread_s) * 0.99)],
        "first_load_s": loaded_s,
    }


def _set_endpoint(deployment: Deployment, slot: int, endpoint: str, tunnels: int) -> None:
    server = deployment.servers[slot]
    cluster = server.node.cluster
    server.process.call(lambda now: cluster.set_endpoint(endpoint, tunnels, now))


def _spread_problem(deployment: Deployment, total: int) -> str:
    for server in deployment.alive():
        known = sum(len(node.endpoints) for node in server.node.facts.view)
        if known < total * (len(deployment.servers) - 1) // len(deployment.servers):
            return f"{server.id} knows {known} of {total} endpoints"
    return ""


class Change(NamedTuple):
    """A registration or removal that not all nodes know yet."""

    at: float
    endpoint: str
    slot: int
    is_new: bool


def _note_spread(deployment: Deployment, waiting: list[Change], spread_s: list[float], now: float) -> list[Change]:
    still = []
    for change in waiting:
        if all(_knows(deployment, server.slot, change) for server in deployment.alive()):
            spread_s.append(now - change.at)
        else:
            still.append(change)
    return still


def _knows(deployment: Deployment, observer: int, change: Change) -> bool:
    seen = deployment.servers[observer].node.facts.view.get(deployment.servers[change.slot].id)
    return observer == change.slot or (seen is not None and (change.endpoint in seen.endpoints) is change.is_new)
