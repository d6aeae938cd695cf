"""The named scenarios that a cluster must survive, each with its bound and its figures.

A scenario takes a ``World`` and returns its figures; a broken bound is a ``Violation``.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from pico_core.boundary import Listen
from pico_core.machine.base import BaseMachine
from tests.sim.checks import Checks
from tests.sim.client import HttpClient, Load, Request
from tests.sim.deployment import UPSTREAM_PORT, Deployment, Server
from tests.sim.network import Faults
from tests.sim.process import Process
from tests.sim.secret_stages import keys_change_in_a_partition
from tests.sim.spreading import many_endpoints
from tests.sim.token_stages import tokens_are_renewed, tokens_expire
from tests.sim.world import World

Figures: TypeAlias = dict[str, float]
Stage: TypeAlias = Callable[[World], Figures]

FULL_VIEW_S = 2.0
RECOVERY_S = 2.0
MUTE_S = 6.5
"""An agent leaves an address that does not answer after 5 s."""

BACK_S = 1.5
"""A pause of an agent is at most 1 s after a loss; the rest is for connecting."""
UNREACHABLE_S = 5.0
HEALED_S = 17.0
"""The longest interval between two lookups of a name (12 s), and 5 s more."""


def any_node_reaches_any_agent(world: World) -> Figures:
    """Five nodes, each with one agent of its own endpoint: every node answers for every endpoint."""
    deployment, checks = _boot(world, 5)
    for slot, server in deployment.servers.items():
        deployment.start_agent(f"agent-{slot}", {f"e{slot}": "http"}, server=server.host.address)
    took_s = world.run_until("all routes", checks.rest_problem, 2.0)
    asked = checks.check_every_route()
    return {"requests": len(asked), "routes_s": took_s}


def full_view_at_boot(world: World) -> Figures:
    """Ten nodes start at once, with names that are right from the beginning."""
    deployment = Deployment(world)
    checks = Checks(deployment, mild=True)
    deployment.start_servers(10)
    return {"full_view_s": world.run_until("full view", checks.view_problem, FULL_VIEW_S)}


def full_view_after_lying_names(world: World) -> Figures:
    """Five nodes start while the name resolves to the asker alone, or not at all; then the answers are right."""
    deployment = Deployment(world)
    checks = Checks(deployment, mild=True)
    deployment.names.faults.only_self = 1.0
    deployment.names.faults.failure = 0.3
    deployment.start_servers(5)
    world.run(5.0)
    deployment.names.faults.only_self = deployment.names.faults.failure = 0.0
    return {"full_view_s": world.run_until("full view", checks.view_problem, FULL_VIEW_S)}


def rolling_restart(world: World) -> Figures:
    """Three nodes are replaced one after the other under load, with one agent: no request fails."""
    return _rolling_restart(world, agents=1)


def rolling_restart_with_three_agents(world: World) -> Figures:
    """The same with three agents behind the endpoint."""
    return _rolling_restart(world, agents=3)


def rolling_restart_with_programs(world: World) -> Figures:
    """The same with two programs that embed an agent, whose application answers."""
    figures = _rolling_restart(world, agents=2, in_programs=True)
    return {**figures, "calls": world.sometimes["application of a program called"]}


def _rolling_restart(world: World, agents: int, *, in_programs: bool = False) -> Figures:
    deployment, checks = _boot(world, 3, Faults(loss=0.001))
    for number in range(agents):
        deployment.start_agent(f"agent-{number}", {"e": "http"}, in_program=in_programs)
    _settle(world, checks)
    client = deployment.add_client(["e"], Load(rate=50.0, slow=0.1, slow_ms=1000, large=0.01))
    world.run(3.0)
    for slot in (2, 1, 0):
        deployment.stop_server(slot)
        _wait_for_exit(world, deployment.servers[slot])
        world.run(world.random.random() * 2.0)
        _wait_for_balancer(world, deployment, deployment.start_server(slot))
    world.run(5.0)
    return _no_failures(world, deployment, checks, client)


def scale_down(world: World) -> Figures:
    """Five nodes become two at once under load: no request fails."""
    deployment, checks = _boot(world, 5, Faults(loss=0.001))
    for number in range(3):
        deployment.start_agent(f"agent-{number}", {"e": "http"})
    _settle(world, checks)
    client = deployment.add_client(["e"], Load(rate=50.0, slow=0.1, slow_ms=1000, large=0.01))
    world.run(3.0)
    for slot in (4, 3, 2):
        deployment.stop_server(slot)
    world.run(20.0)
    for slot in (4, 3, 2):
        if deployment.servers.pop(slot).alive:
            raise world.violation(f"the server in slot {slot} did not stop")
    return _no_failures(world, deployment, checks, client)


def leave_under_loss(world: World) -> Figures:
    """Three of ten nodes stop while a fifth of all packets is lost: 2 s after each left, no node takes it for alive."""
    deployment = Deployment(world, Faults(loss=0.2))
    checks = Checks(deployment)
    deployment.start_servers(10)
    world.run_until("full view", checks.view_problem, 10.0)
    slowest_s = 0.0
    for slot in (2, 5, 8):
        leaving = deployment.servers[slot]
        deployment.stop_server(slot)
        _wait_for_exit(world, leaving)
        taken_s = world.run_until("its end known", partial(checks.alive_for_some_node, leaving), 2.0)
        slowest_s = max(slowest_s, taken_s)
    return {"known_s": slowest_s}


def refusals_arrive(world: World) -> Figures:
    """Large requests for an endpoint without an agent: each client reads the refusal, though it is still sending."""
    deployment, _ = _boot(world, 2)
    client = deployment.add_client(["unserved"], Load(rate=20.0, posts=1.0, large=0.5, large_bytes=1_000_000))
    world.run(10.0)
    _finish(world, client)
    for request in client.requests:
        if request.outcome != "status 502":
            raise world.violation(f"the refusal did not arrive: {request}")
    return {"requests": len(client.requests), "slowest_s": _slowest_s(client.requests)}


def agent_restart(world: World) -> Figures:
    """One of two agents of an endpoint is restarted five times under load: no request fails."""
    deployment, checks = _boot(world, 3)
    for name in ("agent-a", "agent-b"):
        deployment.start_agent(name, {"e": "http"})
    _settle(world, checks)
    client = deployment.add_client(["e"], Load(rate=50.0, slow=0.1, slow_ms=1000, large=0.01))
    for _ in range(5):
        deployment.stop_agent("agent-a")
        world.run_until("exit", lambda: "" if deployment.agents["agent-a"].ended_at is not None else "there", 40.0)
        world.run(0.5)
        deployment.restart_agent("agent-a")
        world.run(2.0)
    return _no_failures(world, deployment, checks, client)


def kill_the_only_tunnel(world: World) -> Figures:
    """Kill -9 of the node that holds the only tunnel: requests through the others succeed again within 2 s."""
    deployment, checks = _boot(world, 3)
    deployment.start_agent("agent", {"e": "http"})
    _settle(world, checks)
    client, slot = _client_of_survivors(deployment, "e")
    world.run(3.0)
    killed_at = world.now
    deployment.kill_server(slot)
    world.run(10.0)
    _finish(world, client)
    failed = [request for request in client.requests if request.outcome != "ok"]
    recovery_s = max((request.ended_at for request in failed), default=killed_at) - killed_at
    if recovery_s > RECOVERY_S:
        raise world.violation(f"the last failure came {recovery_s:.2f} s after the kill: {failed[-1]}")
    if any(request.began_at < killed_at - 1.0 for request in failed):
        raise world.violation(f"a request failed long before the kill: {failed[0]}")
    return {"requests": len(client.requests), "failed": len(failed), "recovery_s": recovery_s}


def kill_one_of_two_tunnels(world: World) -> Figures:
    """Kill -9 of a node while another one has a tunnel too: no request that could be sent again fails."""
    return _kill_one_of_two(world, dark=False)


def power_off_one_of_two_tunnels(world: World) -> Figures:
    """The node's host loses its power: the same, and no request fails that begins when its death must be known."""
    return _kill_one_of_two(world, dark=True)


def _kill_one_of_two(world: World, *, dark: bool) -> Figures:
    deployment, checks = _boot(world, 4)
    for slot in (0, 1):
        deployment.start_agent(f"agent-{slot}", {"e": "http"}, server=deployment.servers[slot].host.address)
    _settle(world, checks)
    client, slot = _client_of_survivors(deployment, "e")
    world.run(3.0)
    deployment.kill_server(slot, dark=dark)
    killed_at = world.now
    world.run(10.0)
    _finish(world, client)
    failed = [request for request in client.requests if request.outcome != "ok"]
    for request in failed:
        if (request.method == "GET" and request.outcome != "cut") or request.began_at > killed_at + UNREACHABLE_S:
            raise world.violation(f"could have been retried: {request}")
    slowest_s = max(each.ended_at - each.began_at for each in client.requests)
    last_s = max((request.ended_at - killed_at for request in failed), default=0.0)
    return {"requests": len(client.requests), "failed": len(failed), "slowest_s": slowest_s, "last_failure_s": last_s}


def pause_and_resume(world: World) -> Figures:
    """A node is paused for 10 s and resumed: one cluster again, and every route good, within 5 s."""
    deployment, checks = _boot(world, 3)
    deployment.start_agent("agent-a", {"e": "http"})
    _settle(world, checks)
    slot = next(slot for slot, server in deployment.servers.items() if deployment.tunnels_of(server))
    deployment.pause_server(slot, 10.0)
    world.run(10.0)
    view_s = world.run_until("one cluster", checks.view_problem, 5.0)
    rest_s = view_s + world.run_until("everything in order", checks.rest_problem, 17.0)
    asked = checks.check_every_route()
    return {"view_s": view_s, "rest_s": rest_s, "requests": len(asked)}


def no_false_alarms(world: World) -> Figures:
    """Six nodes for three minutes, with 5 % loss and pauses of up to a second: no node is ever called unreachable."""
    deployment = Deployment(world, Faults(loss=0.05), skew=0.001)
    Checks(deployment, mild=True)
    deployment.start_servers(6)
    pauses = 0
    while world.now < 180.0:
        world.run(world.random.expovariate(0.5))
        deployment.pause_server(world.random.randrange(6), world.random.random())
        pauses += 1
    return {"pauses": pauses}


def halves(world: World) -> Figures:
    """Two halves are cut off from each other for 10 minutes, and healed: one cluster again."""
    deployment, checks = _boot(world, 4)
    for slot in (0, 3):
        deployment.start_agent(f"agent-{slot}", {f"e{slot}": "http"}, server=deployment.servers[slot].host.address)
    _settle(world, checks)
    addresses = [server.host.address for server in deployment.servers.values()]
    deployment.network.split(addresses[:2], addresses[2:])
    world.run(600.0)
    deployment.disturb()
    deployment.network.heal()
    healed_s = world.run_until("one cluster", checks.rest_problem, HEALED_S)
    asked = checks.check_every_route()
    return {"healed_s": healed_s, "requests": len(asked)}


def restart_all_at_once(world: World) -> Figures:
    """All nodes are killed at once and come back with new addresses: one cluster, and every agent registered again."""
    deployment, checks = _boot(world, 3)
    for name in ("agent-a", "agent-b"):
        deployment.start_agent(name, {name: "http"})
    _settle(world, checks)
    for slot in range(3):
        server = deployment.servers[slot]
        deployment.kill_server(slot)
        deployment.delete_pod(server)
    world.run(2.0)
    deployment.start_servers(3)
    view_s = world.run_until("one cluster", checks.view_problem, FULL_VIEW_S)
    rest_s = view_s + world.run_until("every agent back", checks.rest_problem, 15.0)
    asked = checks.check_every_route()
    return {"view_s": view_s, "rest_s": rest_s, "requests": len(asked)}


class Mute(BaseMachine):
    """Accepts connections at the upstream port and never answers, as a process does that stands still."""

    def on_start(self, now: float) -> None:
        self.emit(Listen("upstream", "", UPSTREAM_PORT))


def a_mute_address(world: World) -> Figures:
    """One address of a name accepts and never answers: twenty listeners of an agent spread over the others."""
    deployment, checks = _boot(world, 2)
    mute = Process(deployment.network, deployment.network.new_host(), "mute", Mute())
    mute.start()
    servers = list(deployment.servers.values())
    deployment.names.set("some.pico", [mute.host.address, *(server.host.address for server in servers)])
    deployment.start_agent("agent", {f"e{number}": "http" for number in range(20)}, server="some.pico")
    back_s = world.run_until("every endpoint", lambda: _missing(deployment), MUTE_S)
    tunnels = [sum(deployment.tunnels_of(server).values()) for server in servers]
    if min(tunnels) < 3:
        raise world.violation(f"the listeners do not spread: {tunnels}")
    _settle(world, checks)
    return {"back_s": back_s, "fewest": min(tunnels), "requests": len(checks.check_every_route())}


def stop_all_at_once(world: World) -> Figures:
    """All nodes are stopped at once: each agent is back about a second after the first new node listens."""
    return _stop_all(world, away_s=2.0)


def scale_to_zero(world: World) -> Figures:
    """The same, and no node runs for 45 s."""
    return _stop_all(world, away_s=45.0)


def _stop_all(world: World, away_s: float) -> Figures:
    deployment, checks = _boot(world, 3)
    for name in ("agent-a", "agent-b"):
        deployment.start_agent(name, {name: "http"}, server="nodes.pico")
    _settle(world, checks)
    world.run(10.0)
    stopped_at = world.now
    for slot in range(3):
        deployment.stop_server(slot)
    for slot in range(3):
        _wait_for_exit(world, deployment.servers[slot])
    stop_s = world.now - stopped_at
    world.run(away_s)
    deployment.start_servers(3)
    back_s = world.run_until("every agent back", lambda: _missing(deployment), BACK_S)
    rest_s = back_s + world.run_until("everything in order", checks.rest_problem, 15.0)
    asked = checks.check_every_route()
    return {"stop_s": stop_s, "back_s": back_s, "rest_s": rest_s, "requests": len(asked)}


def _missing(deployment: Deployment) -> str:
    found = {endpoint for server in deployment.alive() for endpoint in deployment.tunnels_of(server)}
    return ", ".join(sorted(set(deployment.wanted_endpoints()) - found))


# --- shared by scenarios ---


def _boot(world: World, servers: int, faults: Faults | None = None) -> tuple[Deployment, Checks]:
    deployment = Deployment(world, faults)
    checks = Checks(deployment)
    deployment.start_servers(servers)
    world.run_until(
        "all nodes behind the balancer",
        lambda: "" if len(deployment.balancer.ready) == servers else f"only {deployment.balancer.ready}",
        10.0,
    )
    return deployment, checks


def _wait_for_exit(world: World, server: Server) -> None:
    world.run_until(f"exit of {server.id}", lambda: "still there" if server.alive else "", 60.0)


def _wait_for_balancer(world: World, deployment: Deployment, server: Server) -> None:
    address = server.host.address
    world.run_until("traffic", lambda: "" if address in deployment.balancer.ready else f"not for {address}", 10.0)


def _settle(world: World, checks: Checks) -> None:
    world.run_until("everything in order", checks.rest_problem, 5.0)


def _client_of_survivors(deployment: Deployment, endpoint: str) -> tuple[HttpClient, int]:
    """Start a client of all nodes but the first that holds a tunnel; return it and that node's slot."""
    slot = next(slot for slot, server in deployment.servers.items() if deployment.tunnels_of(server))
    others = [server.host.address for server in deployment.servers.values() if server.slot != slot]
    client = deployment.add_client([endpoint], Load(rate=50.0, slow=0.3, slow_ms=300, large=0.01), others)
    return client, slot


def _finish(world: World, client: HttpClient) -> None:
    """Have the client begin no more requests, and wait for those under way."""
    client.stop()
    world.run_until("all requests over", lambda: f"{client.in_flight} in flight" if client.in_flight else "", 60.0)


def _no_failures(world: World, deployment: Deployment, checks: Checks, client: HttpClient) -> Figures:
    _finish(world, client)
    world.run(1.0)
    checks.check_leaks()
    failed = [request for request in client.requests if request.outcome != "ok"]
    if failed:
        raise world.violation(f"{len(failed)} of {len(client.requests)} requests failed, the first: {failed[0]}")
    world.run_until("everything in order", checks.rest_problem, 20.0)
    checks.check_every_route()
    return {"requests": len(client.requests), "failed": 0, "slowest_s": _slowest_s(client.requests)}


def _slowest_s(requests: list[Request]) -> float:
    return max(request.ended_at - request.began_at for request in requests)


STAGES: dict[str, Stage] = {
    stage.__name__.replace("_", "-"): stage
    for stage in (
        any_node_reaches_any_agent,
        full_view_at_boot,
        full_view_after_lying_names,
        rolling_restart,
        rolling_restart_with_three_agents,
        rolling_restart_with_programs,
        scale_down,
        tokens_are_renewed,
        tokens_expire,
        keys_change_in_a_partition,
        leave_under_loss,
        refusals_arrive,
        agent_restart,
        kill_the_only_tunnel,
        kill_one_of_two_tunnels,
        power_off_one_of_two_tunnels,
        pause_and_resume,
        no_false_alarms,
        halves,
        restart_all_at_once,
        a_mute_address,
        stop_all_at_once,
        scale_to_zero,
        many_endpoints,
    )
}
