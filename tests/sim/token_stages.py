"""Named scenarios of clusters that ask for tokens, and of tokens that expire."""

from tests.sim.checks import Checks
from tests.sim.client import Load
from tests.sim.deployment import Deployment
from tests.sim.network import Faults
from tests.sim.world import World

TOKEN_LIFE_S = 40.0
BACK_S = 25.0
"""A token file is read every 5 s, and an agent whose tokens are refused tries every 15 s."""


def _boot(world: World, faults: Faults) -> tuple[Deployment, Checks]:
    deployment = Deployment(world, faults, token_life_s=TOKEN_LIFE_S)
    checks = Checks(deployment)
    deployment.start_servers(3)
    for number in range(2):
        deployment.start_agent(f"agent-{number}", {"e": "http"})
    world.run_until("everything in order", checks.rest_problem, 15.0)
    return deployment, checks


def tokens_are_renewed(world: World) -> dict[str, float]:
    """Every token expires, some twice, under load, and a node is replaced meanwhile: no request fails."""
    deployment, checks = _boot(world, Faults(loss=0.001))
    client = deployment.add_client(["e"], Load(rate=10.0, slow=0.1, slow_ms=1000, large=0.01))
    world.run(50.0)
    deployment.stop_server(1)
    stopped = deployment.servers[1]
    world.run_until("exit of a server", lambda: "still there" if stopped.alive else "", 60.0)
    deployment.start_server(1)
    world.run(50.0)
    client.stop()
    world.run_until("all requests over", lambda: f"{client.in_flight} in flight" if client.in_flight else "", 60.0)
    failed = [request for request in client.requests if request.outcome != "ok"]
    if failed:
        raise world.violation(f"{len(failed)} of {len(client.requests)} requests failed, the first: {failed[0]}")
    world.run_until("everything in order", checks.rest_problem, 20.0)
    checks.check_leaks()
    checks.check_every_route()
    return {"requests": len(client.requests), "failed": 0}


def tokens_expire(world: World) -> dict[str, float]:
    """The tokens are not renewed: all tunnels end with them. New tokens bring all agents back."""
    deployment, checks = _boot(world, Faults())
    issuer = deployment.issuer
    assert issuer is not None
    issuer.renewing = False
    world.run(TOKEN_LIFE_S + 1.0)
    for server in deployment.alive():
        if deployment.tunnels_of(server):
            raise world.violation(f"{server.id} serves an agent whose token has expired")
    world.run(60.0)
    issuer.renewing = True
    issuer.renew()
    back_s = world.run_until("everything in order", checks.rest_problem, BACK_S)
    checks.check_every_route()
    return {"back_s": back_s}
