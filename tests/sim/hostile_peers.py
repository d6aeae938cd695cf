"""Hostile peers of a random history: which there are, and what holds while they attack and after they have left."""

import random
from collections import Counter
from dataclasses import dataclass
from math import inf

from pico_core.agent.machine import AgentMachine
from pico_core.config.ports import ProxyConfig, ProxyHttpConfig, UpstreamConfig
from pico_core.config.server import ClusterConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.machine.channel import TcpChannel
from pico_core.machine.logs import LINES_PER_WINDOW, NEVER_HELD_BACK, WINDOW_S
from pico_core.mux.incoming import MAX_OUTPUT_BYTES
from pico_core.mux.session import DEFAULT_WINDOW_BYTES, Session
from pico_core.mux.stream import MuxStream
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.http1.downstream import MAX_BACKLOG_BYTES
from pico_core.server.admin.limits import limit_rows
from pico_core.server.node import ServerNode
from pico_core.tunnel.tunnel import MESSAGE_BYTES, Tunnel
from tests.sim.client import Load, Request
from tests.sim.deployment import Deployment, Server
from tests.sim.held import reachable
from tests.sim.hostile import Attacker
from tests.sim.hostile_agents import CONTESTED, NAMES, HostileAgents
from tests.sim.hostile_clients import ATTACKED, HostileClients
from tests.sim.hostile_services import HOSTILE_HTTP, SERVICE, HostileService
from tests.sim.process import Process
from tests.sim.tcp import HIGH_WATER_BYTES, WINDOW_BYTES

SHARE = 1 / 7
"""In how many histories there are hostile peers; in half of those nothing else goes wrong (``Plan.calm``)."""

CHECK_INTERVAL_S = 1.0
LOOKS_INSIDE = int(WINDOW_S / CHECK_INTERVAL_S)
"""One check in so many looks at all objects of each machine."""

MOST_OF_IT = 7 / 8
"""So much of a limit counts as nearly reached."""

SETTLED_S = 5.0
"""After so long a calm deployment is in order, and stays so."""

SOON_S = 0.5
"""How long a request may take beyond what its client and its service take, and a refusal in all."""
DAWDLE_S = 1.0
"""How long a client of the load stops reading, now and then; also into the next request of the same connection."""

RELEASED_S = 15.0
"""How long a timer may hold a part of what is over: the longest one waits for a peer that is being closed."""

OWN_BYTES = 4_000_000
"""Bytes that a machine holds beside its connections and streams: the state of gossip, caches, fixed texts."""
BYTES_PER_CONNECTION = MAX_BACKLOG_BYTES + WINDOW_BYTES + HIGH_WATER_BYTES
"""What waits, one read that reached the bound, and what the kernel does not take."""

TIGHT = ServerConfig(
    cluster=ClusterConfig(join=(Address("nodes.pico", 0),)),
    grace_period_s=30.0,
    max_connections=400,
    proxy=ProxyConfig(max_connections=96, http=ProxyHttpConfig(max_unfinished_bytes=2 << 20)),
    upstream=UpstreamConfig(max_connections=64, max_streams=32, registration_rate=20, registration_burst=200),
)
"""A server that one hostile host can bring to its limits."""

CURIOUS = Load(rate=3.0, any_answer=True)
"""Honest requests to hostile services and agents: each must end, with a valid answer or none."""


@dataclass(frozen=True)
class Plan:
    """Which hostile peers a history has. ``calm``: no faults and operations beside them, so that nothing may fail."""

    calm: bool
    client_rate: float
    agent_rate: float
    entropy: random.Random

    @staticmethod
    def of(seed: int) -> "Plan | None":
        """Draw whether a history has hostile peers, from a stream of its own: the others are as they were."""
        entropy = random.Random(f"hostile peers of {seed}")
        if entropy.random() >= SHARE:
            return None
        client_rate, agent_rate = (entropy.choice((0.5, 2.0, 6.0)) for _ in range(2))
        return Plan(entropy.random() < 0.5, client_rate, agent_rate, entropy)


class HostilePeers:
    """The hostile processes of a history. Next: ``begin``, ``leave``, and ``check_released`` at rest."""

    def __init__(self, deployment: Deployment, plan: Plan) -> None:
        self._deployment = deployment
        self._world = deployment.world
        self._plan = plan
        self._attackers: list[tuple[Process, Attacker]] = []
        self._steps = 0
        self._lines_before: Counter[tuple[str, str, str, str]] = Counter()
        deployment.attacked_until = inf

    @property
    def endpoints(self) -> dict[str, str]:
        """The endpoints of a good agent: a hostile service, and an endpoint that hostile agents register too."""
        return {SERVICE: HOSTILE_HTTP, CONTESTED: "http"}

    def begin(self) -> None:
        """Start the attacks. The agent that serves ``endpoints`` is there."""
        deployment, world, plan = self._deployment, self._world, self._plan
        new_token = deployment.issuer.token if deployment.issuer is not None else None

        def targets() -> list[str]:
            return [server.host.address for server in deployment.alive()]

        def entropy() -> random.Random:
            return random.Random(plan.entropy.getrandbits(64))

        names = (*NAMES, SERVICE, SERVICE, CONTESTED)
        clients = HostileClients(world, entropy(), targets, plan.client_rate, lambda: names, new_token)
        agents = HostileAgents(world, entropy(), targets, plan.agent_rate, new_token)
        for attacker in (clients, agents):
            name = "hostile-clients" if attacker is clients else "hostile-agents"
            process = Process(deployment.network, deployment.network.new_host(), name, attacker)
            self._attackers.append((process, attacker))
            process.start()
        origin = next(agent.origin for agent in deployment.agents.values() if SERVICE in agent.endpoints)
        Process(deployment.network, origin.host, "hostile-service", HostileService(world, entropy())).start()
        deployment.add_client((SERVICE, CONTESTED, *NAMES[:2]), CURIOUS)
        world.after(CHECK_INTERVAL_S, self._step)

    def leave(self) -> None:
        """End all attacks and their connections. The hostile service stays, and no client asks for it any more."""
        for process, attacker in self._attackers:
            process.call(attacker.leave)
        for client in self._deployment.clients:
            if client.load.any_answer:
                client.stop()

    def left(self) -> None:
        """The servers have had the time to see that they left: from now on only what is honest may be there."""
        self._deployment.attacked_until = self._world.now

    # --- while they are there ---

    def _step(self) -> None:
        self._steps += 1
        for server in self._deployment.alive():
            if not server.process.paused:
                self._check_limits(server)
        if self._steps % LOOKS_INSIDE == 0:
            self._look_inside()
            self._check_log()
        self._world.after(CHECK_INTERVAL_S, self._step)

    def _check_limits(self, server: Server) -> None:
        """Check every limit of the node of which it tells the use."""
        for row in limit_rows(server.node.facts):
            if row.used is None or isinstance(row.limit, str) or not row.limit:
                continue
            # A share counts only while most of the port is taken; what a node opens itself is never refused.
            if row.key.startswith("max_address_share") or row.key == "max_connections":
                continue
            if row.used >= MOST_OF_IT * row.limit:
                self._world.sometimes[f"{row.key} nearly reached"] += 1
            if row.used > row.limit:
                raise self._world.violation(f"{server.id} has {row.used} of {row.limit}: {row.key}")

    def _look_inside(self) -> None:
        """Check that no machine holds more than its connections and streams may take."""
        for server in self._deployment.alive():
            self._check_held(server.process, server.node, server.node.facts.heads.limit_bytes)
        for agent in self._deployment.agents.values():
            if agent.ended_at is None:
                self._check_held(agent.process, agent.node, agent.node.heads.limit_bytes)

    def _check_held(self, process: Process, node: ServerNode | AgentMachine, heads_bytes: int) -> None:
        size = streams = 0
        for each in reachable(node):
            if isinstance(each, (bytes, bytearray)):
                size += len(each)
            elif isinstance(each, MuxStream):
                streams += 1
            elif isinstance(each, Session):
                self._check_session(process, each)
        most = OWN_BYTES + heads_bytes + len(process.ends) * BYTES_PER_CONNECTION + 2 * streams * DEFAULT_WINDOW_BYTES
        if size > most:
            raise self._world.violation(
                f"{process.name} holds {size} bytes with {len(process.ends)} connections and {streams} streams"
            )

    def _check_session(self, process: Process, session: Session) -> None:
        if session.unread_bytes > max(len(session.streams), 1) * DEFAULT_WINDOW_BYTES:
            raise self._world.violation(f"{process.name} has {session.unread_bytes} unread bytes in a tunnel")
        if session.output_bytes > MAX_OUTPUT_BYTES + MESSAGE_BYTES:
            raise self._world.violation(f"{process.name} has {session.output_bytes} bytes to send in a tunnel")

    def _check_log(self) -> None:
        """Check that no peer makes a node write more lines of a kind than it may in the time since the last check."""
        lines = Counter(self._deployment.lines)
        for key, count in (lines - self._lines_before).items():
            _, level, _, _ = key
            if level not in NEVER_HELD_BACK and count > 2 * LINES_PER_WINDOW:
                raise self._world.violation(f"{count} log lines in {WINDOW_S:g} s: {key}")
        self._lines_before = lines

    def check_requests(self, since: float) -> None:
        """Check that no honest request of a calm history failed or took longer than it may.

        One for the attacked endpoint may be refused, but soon.
        """
        clients = [client for client in self._deployment.clients if not client.load.any_answer]
        for request in (each for client in clients for each in client.requests if each.began_at > since):
            if is_refused_in_time(request):
                self._world.sometimes["request refused under attack"] += 1
            elif request.outcome not in ("", "ok", "quit"):
                raise self._world.violation(f"failed because of hostile peers: {request}")
            took_s = (request.ended_at if request.outcome else self._world.now) - request.began_at
            if took_s > request.delay_ms / 1000 + 2 * DAWDLE_S + SOON_S:
                raise self._world.violation(f"too slow because of hostile peers: {request}")

    # --- after they have left ---

    def check_released(self) -> None:
        """Check that nothing of them is left in any machine. All honest clients have ended their requests."""
        self._world.run_until("everything of hostile peers released", self._left_over, RELEASED_S, 1.0)

    def _left_over(self) -> str:
        """Return what is left of connections that have ended; empty if nothing is."""
        hosts = {process.host.address for process, _ in self._attackers}
        silent = 0
        for server in self._deployment.alive():
            facts = server.node.facts
            ends = server.process.ends.values()
            left_silently = sum(end.peer.gone and not end.eof_arrived for end in ends)
            if left_silently:
                silent += left_silently
                continue  # TCP cannot tell a connection whose other end is gone silently from a quiet one
            numbers = [end.number for end in ends if end.peer.address in hosts]
            if numbers or facts.waiting or facts.heads.used_bytes:
                return (
                    f"{server.id} keeps connections {numbers} of hostile peers, {len(facts.waiting)} waiting requests, "
                    f"{facts.heads.used_bytes} bytes of heads"
                )
            if problem := _kept(server.process, server.node):
                return problem
        for agent in self._deployment.agents.values():
            if problem := _kept(agent.process, agent.node, silent):
                return problem
        return ""


def _kept(process: Process, node: ServerNode | AgentMachine, silent: int = 0) -> str:
    """Return what a machine keeps of connections or requests that are over, in whatever: tables, timers, turns.

    An agent may have a request for each of ``silent`` connections whose node cannot know that the client is gone.
    """
    channels = tunnels = streams = exchanges = listed = 0
    for each in reachable(node):
        channels += isinstance(each, TcpChannel)
        tunnels += isinstance(each, Tunnel)
        exchanges += isinstance(each, Exchange)
        streams += isinstance(each, MuxStream)
        if isinstance(each, Session):
            listed += len(each.streams)
    if exchanges <= silent and channels <= len(process.ends) and tunnels <= channels and streams <= listed:
        return ""
    return (
        f"{process.name} keeps {exchanges} requests, {channels} channels for {len(process.ends)} connections, "
        f"{tunnels} tunnels, {streams} streams of which {listed} are open"
    )


def is_refused_in_time(request: Request) -> bool:
    """Return whether a request for the attacked endpoint was told soon that there is no room."""
    is_soon = request.ended_at - request.began_at <= DAWDLE_S + SOON_S
    return is_soon and request.outcome == "status 503" and request.endpoint == ATTACKED
