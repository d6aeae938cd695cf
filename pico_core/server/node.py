"""The server node: proxy, upstream and admin ports in one machine.

Life of a node::

    STARTING --all listeners open--> RUNNING --ShutdownRequested--> DRAINING --idle, or out of time--> STOPPED
        |
        +--a listener failed--> STOPPED (exit code 1)

While draining the node still serves: balancers and clients learn late. Agents are asked to go elsewhere, a few at a
time, and keep their tunnel here until they have another one.
"""

from pico_core.boundary import (
    DatagramReceived,
    Exit,
    Listen,
    ListenDatagram,
    ListenFailed,
    Listening,
    Resolved,
    ShutdownRequested,
    StopListening,
)
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.plain.server import PlainConnection
from pico_core.server.admin.pages import AdminPages
from pico_core.server.cluster import Cluster
from pico_core.server.facts import NodeState
from pico_core.server.metrics import ServerMetrics
from pico_core.server.registry import Registry
from pico_core.server.router import ProxyRouter
from pico_core.server.tunnels import TunnelConnection

DRAIN_CHECK_S = 0.1
"""How often a draining node looks whether it can leave."""

DRAIN_SPREAD_S = 1.0
"""Over how long a draining node asks its agents to leave, so that the others are not stormed."""

SETTLE_S = 2.0
"""How long a node waits for the routes of a cluster before it calls itself ready without them."""

READY_CHECK_S = 0.05

LEAVE_S = 1.0
"""How long a node waits for others to hear its goodbye."""

STOP_RESERVE_S = 2.0
"""How long before the grace period ends a node gives up on what is still in flight."""


GOSSIP_STREAMS = "gossip-streams"
"""The listener for gossip over TCP; ``gossip`` is the one for datagrams."""

UNSPECIFIED = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound


class ServerNode(BaseMachine):
    """A ``Machine``. ``node_id`` is new at every start; ``entropy`` drives every random choice."""

    def __init__(self, config: ServerConfig, node_id: str, entropy: Entropy, private_host: str = "127.0.0.1") -> None:
        """``private_host`` is this machine's address among the nodes, where no bind or advertised address says more."""
        super().__init__()
        self.config = config
        self.node_id = node_id
        self.state = NodeState.STARTING
        self.metrics = ServerMetrics()
        self.registry: Registry[TunnelConnection] = Registry(self._endpoint_changed)
        self.tunnels: dict[TunnelConnection, None] = {}
        self.cluster: Cluster | None = None
        self._entropy = entropy
        self._private_host = private_host
        self._addresses: dict[str, Address] = {}
        self._proxy = ProxyRouter(self, config)
        self._admin = AdminPages(self)
        self._listeners = {
            "admin": config.admin.bind_addr,
            "gossip": config.cluster.gossip.bind_addr,
            "upstream": config.upstream.bind_addr,
            "proxy": config.proxy.bind_addr,
        }
        self._opening: dict[str, None] = {}
        self._drain_began_at = 0.0
        self._ready_by = 0.0
        self._leave_by = 0.0

    @property
    def draining(self) -> bool:
        """Whether the node takes no new tunnels."""
        return self.state in (NodeState.DRAINING, NodeState.STOPPED)

    @property
    def ready(self) -> bool:
        """Whether balancers may send requests here."""
        return self.state is NodeState.RUNNING

    # --- start ---

    def on_start(self, now: float) -> None:
        """Open the ports, admin first, so that whoever watches sees the node come up."""
        for name, address in self._listeners.items():
            self._opening[name] = None
            self.emit(Listen(GOSSIP_STREAMS if name == "gossip" else name, address.host, address.port))

    def on_listening(self, event: Listening, now: float) -> None:
        """Ready once every port is open; readiness never waits for peers."""
        if event.listener == GOSSIP_STREAMS:  # gossip has the same port on TCP and UDP
            self.emit(ListenDatagram("gossip", event.host, event.port))
            return
        address = Address(event.host, event.port)
        self._addresses[event.listener] = address
        self._opening.pop(event.listener, None)
        self.log("info", event.listener, "listening", addr=str(address))
        if not self._opening and self.state is NodeState.STARTING:
            self._join(now)

    def _join(self, now: float) -> None:
        """Join the cluster, now that our own addresses are known."""
        config = self.config
        given = {
            "gossip": config.cluster.gossip.advertise_addr,
            "proxy": config.proxy.advertise_addr,
            "admin": config.admin.advertise_addr,
        }
        addresses = {name: advertised or self._reachable(self._addresses[name]) for name, advertised in given.items()}
        self.cluster = Cluster(self, config, addresses, self._entropy)
        self.cluster.start(now)
        for endpoint, tunnels in self.registry.counts().items():
            self.cluster.set_endpoint(endpoint, tunnels, now)
        self._ready_by = now + SETTLE_S
        self._check_ready(now)

    def _reachable(self, bound: Address) -> Address:
        """Return the address others reach a bound one at: itself, if it names one, else this machine's."""
        return Address(self._private_host, bound.port) if bound.host in UNSPECIFIED else bound

    def _check_ready(self, now: float) -> None:
        """Become ready once the routes of the cluster are known, or soon, whether anybody answers or not."""
        if self.state is not NodeState.STARTING or self.cluster is None:
            return
        if self.cluster.settled or now >= self._ready_by:
            self.state = NodeState.RUNNING
            self.log("info", "server", "ready", node_id=self.node_id)
        else:
            self.timers.schedule(now + READY_CHECK_S, self._check_ready)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A node without one of its ports is of no use."""
        name = event.listener.removesuffix("-streams")
        key = "cluster.gossip" if name == "gossip" else name
        self.stop(
            1,
            f"cannot listen on {name} address '{self._listeners[name]}': {event.reason}; "
            f"choose another one with --{key}.bind-addr",
        )

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Hand the connection to its port."""
        if listener == "proxy":
            self._proxy.accept(channel, now)
        elif listener == "upstream":
            TunnelConnection(channel, self, now)
        elif listener == GOSSIP_STREAMS:
            if self.cluster is None:
                channel.close()
            else:
                self.cluster.accept(channel, now)
        else:
            PlainConnection(channel, self._admin, self.timers, now)

    # --- tunnels ---

    def tunnel_opened(self, tunnel: TunnelConnection, now: float) -> None:
        """Route requests to the agent; an older tunnel of the same agent gets no more of them."""
        for older in self.registry.members(tunnel.endpoint):
            if tunnel.instance and older.instance == tunnel.instance:
                older.supersede(now)
        self.tunnels[tunnel] = None
        self.registry.add(tunnel)
        self.log("info", "upstream", "tunnel opened", endpoint=tunnel.endpoint, client=tunnel.channel.host)

    def tunnel_leaving(self, tunnel: TunnelConnection, now: float) -> None:
        """The agent takes no further requests."""
        self.registry.remove(tunnel)

    def tunnel_lost(self, tunnel: TunnelConnection, reason: str, now: float) -> None:
        """The tunnel is gone."""
        self.tunnels.pop(tunnel, None)
        self.registry.remove(tunnel)
        self.log(
            "info", "upstream", "tunnel closed", endpoint=tunnel.endpoint, client=tunnel.channel.host, reason=reason
        )

    def tunnel_refused(self, client: str, status: int, reason: str) -> None:
        """Somebody on the upstream port did not get a tunnel."""
        self.warn("upstream", "tunnel refused", client=client, status=status, reason=reason)

    def _endpoint_changed(self, endpoint: str, count: int) -> None:
        if self.cluster is not None:
            self.cluster.set_endpoint(endpoint, count, self.now)

    def shed(self, count: int, now: float) -> None:
        """Ask ``count`` agents to go elsewhere."""
        staying = [tunnel for tunnel in self.tunnels if not tunnel.asked_to_leave]
        for tunnel in staying[:count]:
            tunnel.drain(now)
        if count:
            self.log("info", "upstream", "shedding tunnels", count=count)

    # --- gossip ---

    def on_datagram(self, event: DatagramReceived, now: float) -> None:
        """Pass it to gossip."""
        if self.cluster is not None:
            self.cluster.datagram(event, now)

    def on_resolved(self, event: Resolved, now: float) -> None:
        """Pass it to gossip, which asked."""
        if self.cluster is not None:
            self.cluster.resolved(event, now)

    # --- stop ---

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The first request drains, a second one ends the node at once."""
        if self.draining:
            self.stop(1, "stopped at once by a second signal")
            return
        self.state = NodeState.DRAINING
        self._drain_began_at = now
        self._proxy.closing = True
        self.log("info", "server", "draining", grace_period_s=self.config.grace_period_s)
        if self.cluster is not None:
            self.cluster.drain(now)
        tunnels = list(self.tunnels)
        for index, tunnel in enumerate(tunnels):
            self.timers.schedule(now + DRAIN_SPREAD_S * index / len(tunnels), tunnel.drain)
        self.timers.schedule(now + DRAIN_CHECK_S, self._check_drained)

    def _check_drained(self, now: float) -> None:
        """Leave when nothing is in flight and balancers had their time, or when the grace period is nearly over."""
        since = now - self._drain_began_at
        idle = not self.metrics.requests_in_flight and since >= self.config.drain_delay_s
        out_of_time = since >= max(self.config.grace_period_s - STOP_RESERVE_S, 0.0)
        if not idle and not out_of_time:
            self.timers.schedule(now + DRAIN_CHECK_S, self._check_drained)
            return
        for name in ("proxy", "upstream"):
            self.emit(StopListening(name))
        for tunnel in list(self.tunnels):
            tunnel.close(now)
        if self.cluster is not None:
            self.cluster.leave(now)
        self._leave_by = now + LEAVE_S
        self._check_left(now)

    def _check_left(self, now: float) -> None:
        """Exit once the others know."""
        if self.cluster is not None and not self.cluster.left and now < self._leave_by:
            self.timers.schedule(now + READY_CHECK_S, self._check_left)
            return
        self.log("info", "server", "stopped", in_flight=self.metrics.requests_in_flight)
        self.stop(0, "")

    def stop(self, code: int, message: str) -> None:
        """Leave the driver now; ``message`` says why, where ``code`` is not 0."""
        self.state = NodeState.STOPPED
        self.emit(Exit(code, message))
