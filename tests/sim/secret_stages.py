"""Named scenarios of clusters whose secrets change at bad times, among strangers with secrets that are of no use."""

import random

from tests.sim.checks import Checks
from tests.sim.client import Load
from tests.sim.deployment import Deployment
from tests.sim.network import Faults
from tests.sim.stranger import Stolen
from tests.sim.tokens import Issuer
from tests.sim.world import World

SERVERS = 4
TOKEN_LIFE_S = 60.0
KEYS = tuple(bytes([number]) * 32 for number in (1, 2, 3))
FOREIGN_KEY = bytes(32)
STEP_S = 4.0
HEALED_S = 17.0
"""As for halves without a key."""


def keys_change_in_a_partition(world: World) -> dict[str, float]:
    """The gossip key is exchanged twice while the cluster is in halves: they become one, and requests were served.

    Tokens expire and are renewed meanwhile, all servers read their configuration again and again, and a stranger
    attacks with a key and a token of another cluster, and with a token that has expired.
    """
    deployment = Deployment(world, Faults(loss=0.01), token_life_s=TOKEN_LIFE_S, gossip_keys=KEYS[:1])
    checks = Checks(deployment)
    deployment.start_servers(SERVERS)
    hosts = [deployment.servers[slot].host.address for slot in range(SERVERS)]
    for number in (0, SERVERS - 1):  # one in each half
        deployment.start_agent(f"agent-{number}", {"e": "http"}, server=hosts[number])
    world.run_until("everything in order", checks.rest_problem, 15.0)
    stranger = deployment.add_stranger(random.Random(f"stranger of {world.seed}"), 20.0, _stolen(world))
    client = deployment.add_client(["e"], Load(rate=10.0, slow=0.1, slow_ms=1000, large=0.01), hosts)
    world.run(5.0)
    agents = [deployment.agents[f"agent-{number}"].process.host.address for number in (0, SERVERS - 1)]
    deployment.network.split([*hosts[: SERVERS // 2], agents[0]], [*hosts[SERVERS // 2 :], agents[1]])
    world.run(STEP_S)
    for old, new in ((0, 1), (1, 2)):
        for keys in ((old, new), (new, old), (new,)):
            deployment.set_gossip_keys(*(KEYS[number] for number in keys))
            deployment.reload()
            world.run(STEP_S)
            _nobody_got_in(world, deployment)
    world.run(TOKEN_LIFE_S)
    deployment.disturb()
    deployment.network.heal()
    healed_s = world.run_until("one cluster", checks.rest_problem, HEALED_S)
    began_at = world.now
    world.run(20.0)
    stranger.stopped = True
    client.stop()
    world.run_until("all requests over", lambda: f"{client.in_flight} in flight" if client.in_flight else "", 60.0)
    _nobody_got_in(world, deployment)
    failed = [each for each in client.requests if each.outcome != "ok" and each.began_at > began_at]
    if failed:
        raise world.violation(f"{len(failed)} requests failed after the healing, the first: {failed[0]}")
    world.run_until("everything in order", checks.rest_problem, 20.0)
    checks.check_leaks()
    checks.check_every_route()
    return {"healed_s": healed_s, "requests": len(client.requests)}


def _stolen(world: World) -> Stolen:
    """Return a key and a token of another cluster, and a token of this one that has expired."""
    foreign = Issuer(world, TOKEN_LIFE_S, "the secret of another cluster altogether")
    expired = Issuer(world, -TOKEN_LIFE_S)
    foreign.renewing = expired.renewing = False
    return Stolen(FOREIGN_KEY, (foreign.token(("e",)), expired.token(("e",))), "e")


def _nobody_got_in(world: World, deployment: Deployment) -> None:
    """Raise ``Violation`` if a server has more tunnels of the endpoint than there are agents, or another endpoint."""
    total = 0
    for server in deployment.alive():
        counts = deployment.tunnels_of(server)
        if set(counts) - {"e"}:
            raise world.violation(f"{server.id} serves endpoints of a stranger: {counts}")
        total += counts.get("e", 0)
    if total > 2 * len(deployment.agents):  # an agent that renews its token has two for a moment
        raise world.violation(f"{total} tunnels of {len(deployment.agents)} agents")
