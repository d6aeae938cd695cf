"""The server node: proxy, upstream and admin ports in one machine.

Life of a node::

    STARTING --all listeners open--> RUNNING --ShutdownRequested--> DRAINING --idle, or out of time--> STOPPED
        |
        +--a listener failed--> STOPPED (exit code 1)

While draining the node still serves: balancers and clients learn late. Agents are asked to go elsewhere, a few at a
time, and keep their tunnel here until they have another one.
"""

from enum import Enum

from pico_core.boundary import Exit, Listen, ListenFailed, Listening, ShutdownRequested, StopListening
from pico_core.channel import TcpChannel
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.http.plain import JSON, TEXT, PlainConnection
from pico_core.metrics import ServerMetrics
from pico_core.node import Node
from pico_core.server.proxy import ProxyService
from pico_core.server.registry import Registry
from pico_core.server.tunnels import TunnelConnection
from pico_core.websocket import Entropy

DRAIN_CHECK_S = 0.1
"""How often a draining node looks whether it can leave."""

DRAIN_SPREAD_S = 1.0
"""Over how long a draining node asks its agents to leave, so that the others are not stormed."""

STOP_RESERVE_S = 1.0
"""How long before the grace period ends a node gives up on what is still in flight."""


class State(Enum):
    """Where the node stands; see the drawing at the top."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class ServerNode(Node):
    """A ``NodeMachine``. ``node_id`` is new at every start; ``entropy`` drives every random choice."""

    def __init__(self, config: ServerConfig, node_id: str, entropy: Entropy) -> None:
        super().__init__()
        self.config = config
        self.node_id = node_id
        self.state = State.STARTING
        self.metrics = ServerMetrics()
        self.registry: Registry[TunnelConnection] = Registry(self._endpoint_changed)
        self.tunnels: dict[TunnelConnection, None] = {}
        self._entropy = entropy
        self._proxy = ProxyService(self, config)
        self._listeners = {
            "admin": config.admin.bind_addr,
            "upstream": config.upstream.bind_addr,
            "proxy": config.proxy.bind_addr,
        }
        self._opening: dict[str, None] = {}
        self._drain_began_at = 0.0

    @property
    def draining(self) -> bool:
        """Whether the node takes no new tunnels."""
        return self.state in (State.DRAINING, State.STOPPED)

    # --- start ---

    def on_start(self, now: float) -> None:
        """Open the ports, admin first, so that whoever watches sees the node come up."""
        for name, address in self._listeners.items():
            self._opening[name] = None
            self.emit(Listen(name, address.host, address.port))

    def on_listening(self, event: Listening, now: float) -> None:
        """Ready once every port is open; readiness never waits for peers."""
        self.log("info", event.listener, "listening", addr=str(Address(event.host, event.port)))
        self._opening.pop(event.listener, None)
        if not self._opening and self.state is State.STARTING:
            self.state = State.RUNNING
            self.log("info", "server", "ready", node_id=self.node_id)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A node without one of its ports is of no use."""
        address = self._listeners[event.listener]
        self._stop(
            1,
            f"cannot listen on {event.listener} address '{address}': {event.reason}; "
            f"choose another one with --{event.listener}.bind-addr",
        )

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Hand the connection to its port."""
        if listener == "proxy":
            self._proxy.accept(channel, now)
        elif listener == "upstream":
            TunnelConnection(channel, self, now)
        else:
            PlainConnection(channel, self, self.timers, now)

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
        self.log("debug", "upstream", "endpoint", endpoint=endpoint, tunnels=count)

    # --- admin ---

    def answer(self, connection: PlainConnection, path: str, query: str, now: float) -> None:
        """Answer on the admin port."""
        if path == "/health":
            connection.respond(200, TEXT, b"ok\n", now)
        elif path == "/ready":
            ready = self.state is State.RUNNING
            connection.respond(200 if ready else 503, TEXT, f"{self.state.value}\n".encode(), now)
        else:
            connection.respond(404, JSON, b'{"error": "not found"}', now)

    # --- stop ---

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The first request drains, a second one ends the node at once."""
        if self.draining:
            self._stop(1, "stopped at once by a second signal")
            return
        self.state = State.DRAINING
        self._drain_began_at = now
        self._proxy.closing = True
        self.log("info", "server", "draining", grace_period_s=self.config.grace_period_s)
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
        for name in self._listeners:
            self.emit(StopListening(name))
        for tunnel in list(self.tunnels):
            tunnel.close(now)
        self.log("info", "server", "stopped", in_flight=self.metrics.requests_in_flight)
        self._stop(0, "")

    def _stop(self, code: int, message: str) -> None:
        self.state = State.STOPPED
        self.emit(Exit(code, message))
