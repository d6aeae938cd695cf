"""Random histories: a deployment, faults and operations, all drawn from the seed; then all faults end."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.sim.checks import Checks
from tests.sim.client import Load
from tests.sim.deployment import Deployment
from tests.sim.hostile_peers import CHECK_INTERVAL_S, SETTLED_S, TIGHT, HostilePeers, Plan
from tests.sim.network import Faults, NameFaults
from tests.sim.stranger import Stranger
from tests.sim.world import World

REST_S = 75.0
"""The longest time from the last fault until everything is in order: agents try again after at most 15 s, a tunnel to
a node that lost its power is dropped after at most 30 s, and the nodes' name is looked up after at most 12 s."""

STOP_S = 40.0
"""The longest time that a stop may take: the grace period of 30 s, and the rest of a pause."""

SPREAD_S = 2.0
"""The longest time until every node knows that an agent whose tunnels fill has a further one."""

LOAD = Load(rate=8.0, posts=0.3, large=0.05, large_bytes=300_000, slow=0.3, slow_ms=3000, dawdlers=0.05, quitters=0.05)
TALKS_PER_S = 0.5

KEYS = (bytes(32), bytes([1]) * 32)
TOKEN_LIVES_S = (30.0, 60.0)
"""Tokens are renewed after half of that, so that each history sees some expire."""

STEP_S = 15.0
"""Between two steps of an exchange of keys: no pause of a server lasts longer."""


@dataclass
class Outcome:
    """The figures of one history."""

    seed: int
    virtual_s: float
    operations: Counter[str]
    requests: Counter[str]
    talks: Counter[str]
    sometimes: Counter[str]
    digest: str


class Chaos:
    """One history. Next: ``run``; a broken invariant is a ``Violation``."""

    def __init__(self, world: World, minutes: float = 1.0) -> None:
        """For ``minutes`` of virtual time there are operations; the time to come to rest follows."""
        self.world = world
        self.operations: Counter[str] = Counter()
        self._until = minutes * 60.0
        self._at_rest = False
        self._draw = world.random
        self._secrets = random.Random(f"secrets of {world.seed}")
        keys = KEYS[:1] if self._secrets.random() < 0.5 else ()
        self._tokens = random.Random(f"token lives of {world.seed}")
        life_s = self._tokens.choice(TOKEN_LIVES_S) if self._tokens.random() < 0.25 else 0.0
        faults = self._faults()
        skew = self._draw.choice((0.0, 0.0, 0.001))
        plan = Plan.of(world.seed)
        if plan is not None and plan.calm:
            faults, skew, life_s = Faults(), 0.0, 0.0
        self._deployment = Deployment(
            world,
            faults,
            skew=skew,
            server_config=TIGHT if plan is not None else None,
            gossip_keys=keys,
            token_life_s=life_s,
        )
        self._hostile = HostilePeers(self._deployment, plan) if plan is not None else None
        self._is_calm = plan is not None and plan.calm
        self._checks = Checks(self._deployment, mild=self._is_calm)
        self._slots = self._draw.randrange(2, 6)
        self._agents = self._draw.randrange(1, 5)
        self._operations: tuple[tuple[int, Callable[[], None]], ...] = (
            (4, self.stop_and_start_server),
            (3, self.kill_and_start_server),
            (2, self.power_off_server),
            (4, self.pause_server),
            (3, self.split),
            (2, self.cut_one_way),
            (3, self.stop_and_start_agent),
            (2, self.kill_and_start_agent),
            (2, self.pause_agent),
            (3, self.trouble_names),
            (1, self.restart_all),
            (1, self.roll),
        )

    def _faults(self) -> Faults:
        """Draw how bad the network is; a third of all networks are clean."""
        draw = self._draw
        bad = draw.choice((0.0, 0.3, 1.0))
        return Faults(
            loss=0.08 * bad * draw.random(),
            duplication=0.05 * bad * draw.random(),
            corruption=0.02 * bad * draw.random(),
            truncation=0.02 * bad * draw.random(),
            latency_s=draw.choice((0.0003, 0.002, 0.02)),
            jitter_s=draw.choice((0.0002, 0.002)),
            tail=0.02 * bad,
            segment_cuts=draw.choice((0.0, 0.05, 0.3)),
            no_route=0.3 * bad,
        )

    def run(self) -> Outcome:
        """Play the history and return its figures."""
        world, deployment = self.world, self._deployment
        deployment.start_servers(self._slots)
        for number in range(self._agents):
            endpoints = {f"e{number // 2}": "http", f"e{number}-own": "http", "t": "tcp"}
            if self._hostile is not None and not number:
                endpoints |= self._hostile.endpoints
            deployment.start_agent(f"agent-{number}", endpoints)
        world.run(self._draw.choice((0.5, 3.0)))
        names = [
            name
            for name, protocol in deployment.wanted_endpoints().items()
            if protocol == "http" and not deployment.is_disputed(name)
        ]
        for load in (LOAD, replace(LOAD, keep_alive=True)):
            deployment.add_client(names, load)
        deployment.add_forwarder("t", TALKS_PER_S)
        stranger = self._stranger()
        self._plan_reloads()
        self._plan_tokens()
        if self._hostile is not None:
            self._hostile.begin()
            if self._is_calm:
                self._keep_calm(self._hostile)
        while world.now < self._until:
            world.run(self._draw.expovariate(1 / self._draw.choice((2.0, 4.0, 15.0))))
            self._checks.check_requests()
            self._operate()
        if stranger is not None:
            stranger.stopped = True
        self._come_to_rest()
        return self._outcome()

    def _keep_calm(self, hostile: HostilePeers) -> None:
        """Let hostile peers attack for the whole time, while nothing else happens: nothing at all may go wrong."""
        world, checks = self.world, self._checks
        world.run(SETTLED_S)
        began_at = world.now
        while world.now < self._until:
            world.run_until("in order beside hostile peers", checks.order_problem, SPREAD_S, 0.2)
            world.run(CHECK_INTERVAL_S)
        hostile.check_requests(began_at)

    def _stranger(self) -> Stranger | None:
        """Have a hostile process in half of all histories.

        Its choices come from a stream of its own. The histories without it are what they were before there was one; in
        the others servers have more to do, and draw other numbers when they do it.
        """
        entropy = random.Random(f"stranger of {self.world.seed}")
        if entropy.random() < 0.5:
            return None
        return self._deployment.add_stranger(entropy, entropy.choice((1.0, 5.0, 20.0)))

    def _plan_reloads(self) -> None:
        """Have the operator reload all servers now and then, and exchange the gossip key once where there is one.

        Each step is on all servers before the next one begins, also where one is paused, whatever happens meanwhile.
        Its times come from a stream of its own, so that histories without a key are what they were before.
        """
        if not self._deployment.has_gossip_key:
            return
        world, draw = self.world, self._secrets
        begin_s = world.now + draw.random() * max(self._until - world.now, 0.0)
        for number, keys in enumerate((KEYS, KEYS[::-1], KEYS[1:])):
            world.after(begin_s - world.now + STEP_S * number, self._rotate, keys)
        for _ in range(draw.randrange(4)):
            world.after(draw.random() * self._until, self._deployment.reload)

    def _plan_tokens(self) -> None:
        """Have the issuer of tokens be late now and then, where there is one, so that tunnels end with their tokens.

        Which histories have one, and when it is late, comes from a stream of its own: the others are what they were.
        """
        issuer = self._deployment.issuer
        if issuer is None:
            return
        for _ in range(self._tokens.randrange(1, 3)):
            at_s = self._tokens.random() * self._until / 2
            self.world.after(at_s, issuer.be_late, issuer.life_s * (0.4 + 0.8 * self._tokens.random()))

    def _rotate(self, keys: tuple[bytes, ...]) -> None:
        self.world.sometimes["gossip key changed"] += 1
        if not self._deployment.network.is_whole:
            self.world.sometimes["gossip key changed while paths were cut"] += 1
        self._deployment.set_gossip_keys(*keys)

    def _operate(self) -> None:
        total = sum(weight for weight, _ in self._operations)
        at = self._draw.randrange(total)
        for weight, operation in self._operations:
            at -= weight
            if at < 0:
                self.operations[operation.__name__.replace("_", " ")] += 1
                if self.world.tracing:
                    self.world.note("-", operation.__name__)
                operation()
                return

    def _come_to_rest(self) -> None:
        """End all faults, and check that everything is in order within the bound."""
        world, deployment = self.world, self._deployment
        self._at_rest = True
        deployment.disturb()
        deployment.network.heal()
        deployment.network.faults = Faults()
        deployment.names.faults = NameFaults()
        if self._hostile is not None:
            self._hostile.leave()
        if deployment.issuer is not None:
            deployment.issuer.be_in_time()
            world.run(max(deployment.issuer.late_until - world.now, 0.0))
        world.run(20.0)  # all operations that were planned while faults lasted have happened by now
        if self._hostile is not None:
            self._hostile.left()
        world.run_until("all processes back", self._missing, STOP_S, 1.0)
        world.run_until("everything in order", self._checks.rest_problem, REST_S, 0.2)
        world.run_until("the balancer too", self._checks.order_problem, 10.0, 0.2)
        world.run(4.0)
        for client in deployment.clients:
            client.stop()
        for talker in deployment.tcp_clients:
            talker.stopped = True
        world.run_until("all requests over", self._unfinished, 60.0, 0.5)
        self._checks.check_requests()
        world.run(5.0)
        self._checks.step()
        self._checks.check_leaks()
        if self._hostile is not None:
            self._hostile.check_released()
        self._checks.check_every_route()

    def _missing(self) -> str:
        """Start every process that does not run; return one that is still about to end."""
        for slot in range(self._slots):
            self._ensure_server(slot)
        for name in list(self._deployment.agents):
            self._ensure_agent(name)
        leaving = [server.id for server in self._deployment.alive() if server.left]
        leaving += [name for name, agent in self._deployment.agents.items() if not agent.serving]
        return f"{leaving[0]} has not ended" if leaving else ""

    def _unfinished(self) -> str:
        for client in self._deployment.clients:
            if client.in_flight:
                return f"{client.in_flight} requests in flight"
        for talker in self._deployment.tcp_clients:
            if any(not talk.outcome for talk in talker.talks):
                return "a TCP connection is open"
        return ""

    def _outcome(self) -> Outcome:
        world, deployment = self.world, self._deployment
        for server in deployment.history.values():
            world.sometimes["request tried again"] += server.node.facts.metrics.retries
        clients = [client for client in deployment.clients if not client.load.any_answer]
        requests = Counter(request.outcome for client in clients for request in client.requests)
        talks = Counter(talk.outcome for talker in deployment.tcp_clients for talk in talker.talks)
        return Outcome(world.seed, world.now, self.operations, requests, talks, world.sometimes, world.digest)

    # --- operations on servers ---

    def _slot(self) -> int:
        return self._draw.randrange(self._slots)

    def _ensure_server(self, slot: int) -> None:
        """Have a server in a slot, on a new host or, now and then, on the one it had."""
        server = self._deployment.servers[slot]
        if not server.alive:
            again = not server.host.dark and self._draw.random() < 0.4
            if again:
                self.world.sometimes["restart with the same address"] += 1
            else:
                self._deployment.delete_pod(server)
            self._deployment.start_server(slot, server.host if again else None)

    def _later(self, longest_s: float, call: Callable[..., None], *arguments: object) -> None:
        self.world.after(longest_s * self._draw.random(), call, *arguments)

    def stop_and_start_server(self) -> None:
        slot = self._slot()
        if self._deployment.servers[slot].alive:
            self._deployment.stop_server(slot)
        self._later(15.0, self._ensure_server, slot)

    def kill_and_start_server(self) -> None:
        slot = self._slot()
        self._deployment.kill_server(slot)
        self._later(5.0, self._ensure_server, slot)

    def power_off_server(self) -> None:
        slot = self._slot()
        self._deployment.kill_server(slot, dark=True)
        self._later(20.0, self._ensure_server, slot)

    def pause_server(self) -> None:
        self._deployment.pause_server(self._slot(), 12.0 * self._draw.random() ** 2)

    def restart_all(self) -> None:
        for slot in range(self._slots):
            self._deployment.kill_server(slot)
            self._later(3.0, self._ensure_server, slot)

    def roll(self) -> None:
        """Replace all servers, one every few seconds, as long as there are operations."""
        for slot in range(self._slots):
            self.world.after(8.0 * slot, self._roll_one, slot)

    def _roll_one(self, slot: int) -> None:
        if self._at_rest:
            return
        if self._deployment.servers[slot].alive:
            self._deployment.stop_server(slot)
        self.world.after(7.0, self._ensure_server, slot)

    # --- operations on the network ---

    def _addresses(self) -> list[str]:
        servers = [server.host.address for server in self._deployment.alive()]
        return servers + [agent.process.host.address for agent in self._deployment.agents.values()]

    def split(self) -> None:
        """Cut the hosts into two groups, in halves or one from the rest."""
        addresses = self._addresses()
        self._draw.shuffle(addresses)
        if len(addresses) > 1:
            at = self._draw.choice((1, len(addresses) // 2))
            self._deployment.network.split(addresses[:at], addresses[at:])
            self._later(self._draw.choice((5.0, 45.0)), self._heal)

    def cut_one_way(self) -> None:
        addresses = self._addresses()
        if len(addresses) > 1:
            source, target = self._draw.sample(addresses, 2)
            self._deployment.network.cut(source, target)
            self._later(20.0, self._heal)

    def _heal(self) -> None:
        self._deployment.disturb()
        self._deployment.network.heal()

    def trouble_names(self) -> None:
        draw = self._draw
        self._deployment.names.faults = draw.choice(
            (
                NameFaults(failure=0.7),
                NameFaults(silence=0.5),
                NameFaults(only_self=1.0),
                NameFaults(lag_s=20.0),
                NameFaults(failure=0.2, silence=0.2, only_self=0.2, lag_s=5.0, latency_s=0.5),
            )
        )
        self._later(20.0, self._right_names)

    def _right_names(self) -> None:
        self._deployment.names.faults = NameFaults()

    # --- operations on agents ---

    def _agent(self) -> str:
        return f"agent-{self._draw.randrange(self._agents)}"

    def _ensure_agent(self, name: str) -> None:
        """Have an agent that was stopped. Where hostile peers hold its streams it takes long to end: look again."""
        agent = self._deployment.agents[name]
        if agent.ended_at is not None:
            self._deployment.restart_agent(name)
        elif agent.stopping and self._hostile is not None and not self._at_rest:
            self.world.after(1.0, self._ensure_agent, name)

    def stop_and_start_agent(self) -> None:
        name = self._agent()
        if self._deployment.agents[name].serving:
            self._deployment.stop_agent(name)
        self._later(10.0, self._ensure_agent, name)

    def kill_and_start_agent(self) -> None:
        name = self._agent()
        self._deployment.kill_agent(name, dark=self._draw.random() < 0.5)
        self._later(5.0, self._ensure_agent, name)

    def pause_agent(self) -> None:
        self._deployment.agents[self._agent()].process.pause(25.0 * self._draw.random() ** 2)
