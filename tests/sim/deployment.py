"""A whole deployment: server pods behind a balancer and a headless name, agents beside their origins, clients."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from pico_core.agent.listener import ListenerState
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import ConfigReloaded, Exit
from pico_core.config.agent import AgentConfig, AgentConnectConfig, ListenerConfig
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.gossip_key import GossipKey
from pico_core.config.server import ClusterConfig, ServerConfig
from pico_core.config.values import Address
from pico_core.config.values import Origin as OriginAddress
from pico_core.forward.machine import ForwardMachine
from pico_core.records import Log
from pico_core.server.facts import NodePhase
from pico_core.server.node import ServerNode
from tests.sim.balancer import Balancer
from tests.sim.client import HttpClient, Load
from tests.sim.hostile import HOSTILE
from tests.sim.hostile_services import HOSTILE_HTTP, HOSTILE_PORT
from tests.sim.network import Faults, Host, Network
from tests.sim.origin import HTTP_PORT, TCP_PORT, Ledger, Origin
from tests.sim.process import Process
from tests.sim.program import Program, agent_of
from tests.sim.stranger import UNASKED, Stolen, Stranger
from tests.sim.tcp_client import TcpClient
from tests.sim.tokens import Issuer
from tests.sim.world import World

PROXY_PORT, UPSTREAM_PORT, FORWARD_PORT = 8000, 8001, 7000
VIRTUAL = "10.96.0.1"
"""The balancer's address; ``pico`` resolves to it, ``nodes.pico`` to the addresses of all pods, ready or not."""

STRANGER_HOST = "10.253.0.1"

KUBELET_RESTART_S = 1.0

DISPUTED = (HOSTILE, UNASKED)
"""How the names of endpoints begin that hostile processes register."""


@dataclass
class Server:
    """One run of a server: a process with an ID of its own."""

    slot: int
    id: str
    host: Host
    node: ServerNode
    process: Process
    started_at: float
    ended_at: float | None = None
    left: bool = False
    """Whether it was asked to stop, and so leaves the cluster."""
    disturbed_at: float = 0.0
    """When it was last disturbed: by a pause, a cut, or its own start."""
    paused_until: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the process exists."""
        return self.ended_at is None


@dataclass
class Agent:
    """One run of an agent, and the endpoints that it should serve."""

    name: str
    endpoints: dict[str, str]
    node: AgentMachine
    process: Process
    origin: Process
    ended_at: float | None = None
    stopping: bool = False

    @property
    def serving(self) -> bool:
        """Whether it runs and was not asked to stop."""
        return self.ended_at is None and not self.stopping

    def listener_count(self, endpoint: str) -> int:
        """Return how many listeners the endpoint has that are to stay."""
        over = (ListenerState.LEAVING, ListenerState.DONE)
        return sum(each.config.endpoint_id == endpoint and each.state not in over for each in self.node.listeners)


@dataclass
class Observed:
    """One log event of a server's cluster part, with its time, for checks that need it."""

    time: float
    observer: str
    message: str
    fields: dict[str, str | int | float | bool] = field(default_factory=dict)


class Deployment:
    """Operations and questions. Every operation takes effect at once; let time pass with ``world.run``."""

    def __init__(
        self,
        world: World,
        faults: Faults | None = None,
        *,
        skew: float = 0.0,
        server_config: ServerConfig | None = None,
        token_life_s: float = 0.0,
        gossip_keys: Sequence[bytes] = (),
    ) -> None:
        """``skew`` is the most by which a server's clock may run fast or slow, as a share.

        With a ``token_life_s``, servers ask for tokens, and agents and clients have tokens that last so long.
        """
        self.world = world
        self.network = Network(world, faults or Faults())
        self.names = self.network.names
        self.ledger = Ledger(world)
        self.skew = skew
        self.servers: dict[int, Server] = {}
        """The newest run in each slot."""
        self.history: dict[str, Server] = {}
        """All runs of servers, by ID."""
        self.agents: dict[str, Agent] = {}
        self.clients: list[HttpClient] = []
        self.tcp_clients: list[TcpClient] = []
        self.observed: list[Observed] = []
        self.lines: Counter[tuple[str, str, str, str]] = Counter()
        """How many log lines each server has written, by its ID, level, subsystem and message."""
        self.attacked_until = 0.0
        """Until when hostile agents register endpoints: those whose names begin with ``DISPUTED`` may be theirs."""
        self.balancer = Balancer(world)
        self._config = server_config or ServerConfig(
            cluster=ClusterConfig(join=(Address("nodes.pico", 0),)), grace_period_s=30.0
        )
        self.issuer = Issuer(world, token_life_s) if token_life_s else None
        if self.issuer is not None:
            self._config = self.issuer.guard(self._config)
        if gossip_keys:
            self._config = _with_keys(self._config, gossip_keys)
        self._runs = 0
        host = self.network.new_host()
        self._balancing = Process(self.network, host, "balancer", self.balancer)
        self._balancing.start()
        self.network.virtual[VIRTUAL] = self.balancer
        self.names.set("pico", [VIRTUAL])

    def entropy(self) -> random.Random:
        """Return a generator for one machine."""
        return random.Random(self.world.random.getrandbits(64))

    # --- servers ---

    def start_server(self, slot: int, host: Host | None = None) -> Server:
        """Start a server under a new ID; on ``host``, or on one with a new address."""
        self._runs += 1
        host = host or self.network.new_host()
        node_id = f"pico-{slot}-{self._runs}"
        node = ServerNode(self._config, node_id, self.entropy())
        draw = self.world.random.random
        process = Process(
            self.network,
            host,
            node_id,
            node,
            clock_rate=1.0 + self.skew * (2 * draw() - 1),
            clock_offset_s=1e5 * draw(),
            on_log=lambda log: self._logged(server, log),
            on_exit=lambda record: self._exited(server, record),
        )
        now = self.world.now
        server = Server(slot, node_id, host, node, process, now, disturbed_at=now)
        self.servers[slot] = self.history[node_id] = server
        self._balancing.call(lambda now: self.balancer.add(host.address, now))
        self._publish_names()
        process.start()
        return server

    def start_servers(self, count: int) -> None:
        """Start so many servers at once."""
        for slot in range(count):
            self.start_server(slot)

    def reload(self, config: ServerConfig | None = None) -> None:
        """Send all servers SIGHUP, with another configuration or the one there is; new servers start with it."""
        self._config = config or self._config
        for server in self.alive():
            server.process.enqueue(ConfigReloaded(self._config))

    @property
    def has_gossip_key(self) -> bool:
        """Whether gossip is sealed."""
        return bool(self._config.cluster.gossip.keys)

    def set_gossip_keys(self, *keys: bytes) -> None:
        """Write other gossip keys into the configuration of all servers, and send them SIGHUP."""
        self.reload(_with_keys(self._config, keys))

    def stop_server(self, slot: int) -> None:
        """Send SIGTERM."""
        server = self.servers[slot]
        server.left = True
        server.process.shut_down()

    def kill_server(self, slot: int, *, dark: bool = False) -> None:
        """Kill a server at once; with ``dark`` its host is gone too, and its peers receive neither FIN nor RST."""
        server = self.servers[slot]
        if not server.alive:
            return
        if dark:
            server.process.power_off()
        else:
            server.process.kill()
        self._ended(server)
        if dark:
            self.delete_pod(server)

    def delete_pod(self, server: Server) -> None:
        """Take the pod's address out of the balancer and the name."""
        self._balancing.call(lambda now: self.balancer.remove(server.host.address, now))
        self._publish_names()

    def pause_server(self, slot: int, duration_s: float) -> None:
        """Stop a process for a while, as a CPU limit does."""
        server = self.servers[slot]
        server.process.pause(duration_s)
        server.disturbed_at = server.paused_until = self.world.now + duration_s

    def disturb(self) -> None:
        """Note that all servers are disturbed now."""
        for server in self.alive():
            server.disturbed_at = max(server.disturbed_at, self.world.now)

    def alive(self) -> list[Server]:
        """Return the servers whose process exists."""
        return [server for server in self.servers.values() if server.alive]

    def serving(self) -> list[Server]:
        """Return the servers that run and were not asked to stop."""
        return [server for server in self.alive() if not server.left]

    def _publish_names(self) -> None:
        self.names.set("nodes.pico", [server.host.address for server in self.alive()])

    def _ended(self, server: Server) -> None:
        server.ended_at = self.world.now

    def _exited(self, server: Server, record: Exit) -> None:
        """The process ended by itself: as asked, or because it gave up; then the kubelet starts another one."""
        self._ended(server)
        if record.code == 0:
            self.delete_pod(server)
            return
        self.world.sometimes["server gave up joining"] += 1
        self.world.after(KUBELET_RESTART_S, self._restart_in_place, server)

    def _restart_in_place(self, server: Server) -> None:
        if self.servers[server.slot] is server:
            self.start_server(server.slot, server.host)

    def _logged(self, server: Server, log: Log) -> None:
        sometimes = self.world.sometimes
        self.lines[server.id, log.level, log.subsystem, log.message] += 1
        if log.subsystem == "cluster":
            sometimes[log.message] += 1
            self.observed.append(Observed(self.world.now, server.id, log.message, log.fields))
            if log.message == "node joined" and server.node.facts.draining:
                sometimes["join while leaving"] += 1
        elif log.message == "tunnel refused" and log.fields.get("status") == 401:
            sometimes["tunnel refused for its token"] += 1
        elif log.message == "tunnel refused" and log.fields.get("status") == 503:
            sometimes["tunnel refused by a draining node"] += 1
        elif log.message == "tunnel closed" and str(log.fields.get("reason")).startswith("silent"):
            sometimes["silent tunnel dropped"] += 1
        elif log.message == "tunnel closed" and log.fields.get("reason") == "its token has expired":
            sometimes["tunnel closed as its token expired"] += 1

    # --- agents ---

    def start_agent(
        self,
        name: str,
        endpoints: dict[str, str],
        *,
        server: str = "pico",
        origin: Process | None = None,
        in_program: bool = False,
    ) -> Agent:
        """Start an agent for ``endpoints`` (name to protocol) with an origin of its own, or a given one.

        Protocols are ``http``, ``tcp`` and ``HOSTILE_HTTP``: the hostile service on the origin's host.
        ``in_program`` makes it a program that embeds an agent, whose application takes the place of the origin.
        """
        if origin is None:
            origin_host = self.network.new_host()
            origin = Process(
                self.network, origin_host, f"{name}-origin", Origin(self.world, self.ledger, self.entropy())
            )
            origin.start()
        host = self.network.new_host()
        token_file = self.issuer.give(host, tuple(endpoints)) if self.issuer is not None else None
        ports = {"http": HTTP_PORT, "tcp": TCP_PORT, HOSTILE_HTTP: HOSTILE_PORT}
        config = AgentConfig(
            listeners=tuple(
                ListenerConfig(
                    endpoint_id=endpoint,
                    addr=OriginAddress(origin.host.address, ports[protocol]),
                    protocol="http" if protocol == HOSTILE_HTTP else protocol,
                )
                for endpoint, protocol in endpoints.items()
            ),
            connect=AgentConnectConfig(url=OriginAddress(server, UPSTREAM_PORT, "http"), token_file=token_file),
            grace_period_s=30.0,
        )
        node, make = agent_of(config, self.entropy(), self.ledger, in_program=in_program)
        agent: Agent
        process = make(
            self.network,
            host,
            name,
            node,
            clock_offset_s=1e5 * self.world.random.random(),
            on_log=self._agent_logged,
            on_exit=lambda record: self._agent_exited(agent, record),
        )
        agent = self.agents[name] = Agent(name, endpoints, node, process, origin)
        process.start()
        return agent

    def stop_agent(self, name: str) -> None:
        """Send an agent SIGTERM."""
        self.agents[name].stopping = True
        self.agents[name].process.shut_down()

    def kill_agent(self, name: str, *, dark: bool = False) -> None:
        """Kill an agent at once."""
        agent = self.agents[name]
        if agent.ended_at is not None:
            return
        if dark:
            agent.process.power_off()
        else:
            agent.process.kill()
        agent.ended_at = self.world.now

    def restart_agent(self, name: str) -> Agent:
        """Start an agent again, with the origin it had."""
        old = self.agents[name]
        return self.start_agent(name, old.endpoints, origin=old.origin, in_program=isinstance(old.process, Program))

    def _agent_exited(self, agent: Agent, record: Exit) -> None:
        agent.ended_at = self.world.now
        if record.code:
            raise self.world.violation(f"{agent.name} gave up: {record.message}")

    def _agent_logged(self, log: Log) -> None:
        if log.message.startswith("the server asks to go elsewhere"):
            self.world.sometimes["agent asked to move"] += 1
        elif log.message.startswith("the server refused: 503"):
            self.world.sometimes["agent refused by a draining node"] += 1
        elif log.message.startswith("tunnel lost"):
            self.world.sometimes["tunnel lost"] += 1

    # --- clients ---

    def add_client(self, endpoints: Sequence[str], load: Load, targets: Sequence[str] = ("pico",)) -> HttpClient:
        """Start an HTTP client; ``targets`` are names or addresses whose proxy port it uses in turn."""
        number = 1_000_000 * (len(self.clients) + 1)
        client = HttpClient(
            self.world, self.entropy(), [(host, PROXY_PORT) for host in targets], endpoints, load, number
        )
        process = Process(self.network, self.network.new_host(), f"client-{len(self.clients)}", client)
        self.clients.append(client)
        if self.issuer is not None:
            client.new_token = self.issuer.token
        process.start()
        client.process = process
        return client

    def add_forwarder(self, endpoint: str, rate: float) -> TcpClient:
        """Start a forwarder to a ``tcp`` endpoint, and a TCP client of it."""
        host = self.network.new_host()
        token_file = self.issuer.give(host, (endpoint,)) if self.issuer is not None else None
        config = ForwardConfig(
            ports=(PortConfig(addr=Address("", FORWARD_PORT), endpoint_id=endpoint),),
            connect=ForwardConnectConfig(url=OriginAddress("pico", PROXY_PORT, "http"), token_file=token_file),
        )
        Process(self.network, host, "forwarder", ForwardMachine(config, self.entropy())).start()
        client = TcpClient(self.world, self.entropy(), (host.address, FORWARD_PORT), rate)
        Process(self.network, self.network.new_host(), "tcp-client", client).start()
        self.tcp_clients.append(client)
        return client

    def add_stranger(self, entropy: random.Random, rate: float, secrets: Stolen | None = None) -> Stranger:
        """Start a hostile process that makes ``rate`` attacks a second on the servers, by choices of its own."""
        host = Host(STRANGER_HOST)
        self.network.hosts[host.address] = host
        stranger = Stranger(
            self.network, host.address, entropy, lambda: [server.host.address for server in self.alive()], rate, secrets
        )
        Process(self.network, host, "stranger", stranger).start()
        return stranger

    # --- questions ---

    def wanted_endpoints(self) -> dict[str, str]:
        """Return the endpoints of all agents that run and stay, with their protocols."""
        return {
            endpoint: protocol
            for agent in self.agents.values()
            if agent.serving
            for endpoint, protocol in agent.endpoints.items()
        }

    @property
    def is_attacked(self) -> bool:
        """Whether there may be hostile agents."""
        return self.world.now < self.attacked_until

    def is_disputed(self, endpoint: str) -> bool:
        """Return whether an endpoint may be one that hostile agents register just now."""
        return self.is_attacked and endpoint.startswith(DISPUTED)

    def undisputed(self, counts: dict[str, int]) -> dict[str, int]:
        """Return the counts of tunnels that only honest agents have changed."""
        return {name: n for name, n in counts.items() if not self.is_disputed(name)} if self.is_attacked else counts

    def tunnels_of(self, server: Server) -> dict[str, int]:
        """Return how many tunnels each endpoint has on a server, without those that hostile agents may have opened."""
        return self.undisputed(server.node.facts.registry.counts())

    def is_running(self, server: Server) -> bool:
        """Return whether a server is in its running state."""
        return server.alive and server.node.facts.state is NodePhase.RUNNING


def _with_keys(config: ServerConfig, keys: Sequence[bytes]) -> ServerConfig:
    gossip = replace(config.cluster.gossip, keys=tuple(map(GossipKey, keys)))
    return replace(config, cluster=replace(config.cluster, gossip=gossip))
