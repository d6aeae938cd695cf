"""The server node: proxy, upstream and admin ports in one machine.

Life of a node::

    STARTING --all listeners open--> RUNNING --ShutdownRequested--> DRAINING --idle, or out of time--> STOPPED
        |
        +--a listener failed--> STOPPED (exit code 1)

While draining the node still serves: balancers and clients learn late. Agents are asked to go elsewhere, a few at a
time, and keep their tunnel here until they have another one.
"""

from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from pico_core.boundary import (
    ConfigReloaded,
    DatagramReceived,
    Exit,
    ListenDatagram,
    ListenFailed,
    Listening,
    LogLinesDropped,
    ShutdownRequested,
    StopListening,
)
from pico_core.cluster.view import ClusterView, claimed
from pico_core.config.changes import changed_keys, taken_over
from pico_core.config.logs import LogConfig
from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import MAX_DRAWS, PORTS, Ports
from pico_core.config.tls import PEERS_PROFILE
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.errors import ConfigError
from pico_core.http.message import RequestHead
from pico_core.machine.admission import MAX_DESCRIPTORS
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.plain.server import PlainConnection
from pico_core.program import SuccessorServes
from pico_core.proxy.endpoint import NO_HOST_NAME, is_host_label
from pico_core.records import UseLogConfig
from pico_core.server.access import Access
from pico_core.server.admin.pages import AdminPages
from pico_core.server.agreement import Agreement
from pico_core.server.building import limits_of, make_facts, make_gossip
from pico_core.server.claims import SECOND_AGENT_WARNING, EndpointClaims, Registration
from pico_core.server.cluster import ClusterSide
from pico_core.server.draining import Draining
from pico_core.server.exposure import warn_of_lost_guards, warn_of_open_ports
from pico_core.server.facts import NodePhase
from pico_core.server.limits import head_limits
from pico_core.server.peers import Peers
from pico_core.server.port_table import port_table
from pico_core.server.ports import Port
from pico_core.server.proxied import ProxiedConnection
from pico_core.server.proxies import trusted_proxies
from pico_core.server.readiness import Readiness
from pico_core.server.registering import Registrar
from pico_core.server.registry import Registry
from pico_core.server.reloading import applied_keys, take_over
from pico_core.server.router import ProxyRouter
from pico_core.server.starting_tls import StartingTls
from pico_core.server.tenants import split
from pico_core.server.tunnels import TunnelConnection
from pico_core.server.worker import ControlPages, Worker
from pico_core.tunnel.agreement import SECOND_AGENT_CAME

HEARD_S = 1.0
"""After so long all nodes have heard that a tunnel leaves. A request that one of them sent before is still served by it
where its body cannot be sent again."""


class ServerNode(BaseMachine):
    """A ``Machine``. ``node_id`` is new at every start; ``entropy`` drives every random choice.

    With a gossip key, nonces are drawn from ``entropy`` too: it must be ``random.SystemRandom`` outside tests.
    """

    def __init__(
        self,
        config: ServerConfig,
        node_id: str,
        entropy: Entropy,
        descriptors: int = MAX_DESCRIPTORS,
        worker: Worker | None = None,
        ports: Ports = PORTS,
    ) -> None:
        """``descriptors`` is how many the process may have open. A ``worker`` shares its ports with other nodes."""
        self.proxies = trusted_proxies(config, ports)
        gossip = make_gossip(config, node_id, entropy, worker)
        view = ClusterView(entropy, gossip.can_forward)
        self._limits = limits_of(descriptors, self.proxies, view, worker, ports)
        super().__init__(self._limits(config))
        registry: Registry[TunnelConnection] = Registry(self._endpoint_changed)
        self.facts = make_facts(config, gossip, view, registry, self.admission, self.log_limits, worker, ports)
        self.peer_tls = PEERS_PROFILE if config.proxy.tls.enabled else ""
        self.head_limits = head_limits(config)
        self.heads = self.facts.heads
        self.access = Access(self, config)
        self.peers = Peers(self, gossip, config)
        self.cluster = ClusterSide(self, self.facts, self.peers)
        self._router = ProxyRouter(self, self.facts, self.peers, self.access, self.proxies["proxy"], entropy)
        self._admin = AdminPages(self, self.facts, self.access)
        self._claims = EndpointClaims(self._registrations_of, self.facts.view, self.facts.policies, self.facts.metrics)
        self._registrar = Registrar(self.facts, self.access, self, self._claim)
        self._parts = (self._router, self._registrar, self.peers, self._admin)
        self._ports = {port.row.listener: port for port in port_table(self, config, self.proxies, worker, ports)}
        self.bound: dict[str, Address] = {}
        self._draws = 0
        self._readiness = Readiness(self, self.facts, self.cluster, self.on_ready)
        self._draining = Draining(self, self.facts, self._router, self.cluster, self._ports.values())
        self._handlers[SuccessorServes] = self._succeeded

    # --- start ---

    def on_start(self, now: float) -> None:
        """Ask for the listeners of all ports, fetch key sets, and warn of ports that are open to all."""
        for port in self._ports.values():
            self.emit(port.listen())
        self.access.start(now)
        if self.facts.worker is None or self.facts.worker.number == 1:
            config = self.facts.config
            warn_of_open_ports(self, config, self.facts.ports)
            if 0 < config.drain_delay_s >= config.grace_period_s:
                times = {"drain_delay_s": config.drain_delay_s, "grace_period_s": config.grace_period_s}
                self.warn("config", "a stop cuts drain_delay short: make it shorter than grace_period", **times)

    def on_listening(self, event: Listening, now: float) -> None:
        """Join the cluster once every port is open."""
        port = self._ports.get(event.listener)
        if port is not None and port.row.datagrams:
            self.emit(ListenDatagram(port.row.datagrams, event.host, event.port))
            return
        name = event.listener
        address = self.bound[name] = Address(event.host, event.port)
        self.log("info", name, "listening", addr=str(address))
        if len(self.bound) == len(self._ports) and self.facts.state is NodePhase.STARTING:
            self.cluster.begin(self.bound, now)
            self._readiness.begin(now)

    def on_ready(self, now: float) -> None:
        """The node serves: its ports are open, and it knows the routes of its cluster as far as it waits for them."""

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """Stop, since a node needs all of its ports. But where any number will do, UDP may refuse the one TCP got."""
        port = next(each for each in self._ports.values() if event.listener in (each.row.listener, each.row.datagrams))
        if event.listener == port.row.datagrams and not port.bind_addr.port and self._draws < MAX_DRAWS:
            self._draws += 1
            self.emit(StopListening(port.row.listener))
            self.emit(port.listen())
            return
        self.stop(
            1,
            f"cannot listen on {port.row.name} address '{port.bind_addr}': {event.reason}; "
            f"choose another one with --{port.row.key}.bind-addr",
        )

    # --- connections ---

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Hand the connection to its port, once a proxy that passes it on has told whose it is."""
        port = self._ports[listener]
        if not port.has_header:
            port.accept(channel, now)
            return
        timeout_s = port.row.header_timeout_s
        if timeout_s is None or port.proxies is None or channel.host not in port.proxies:
            self._begin(port, channel, b"", now, now)
            return
        ProxiedConnection(
            channel,
            listener,
            partial(self._begin, port),
            self,
            now,
            timeout_s=timeout_s(self.facts.config),
            is_optional=self.facts.view.is_member(channel.host),
            refused=self.facts.metrics.proxy_headers_refused,
        )

    def _begin(self, port: Port, channel: TcpChannel, rest: bytes, since: float, now: float) -> None:
        """Serve a connection of a port with PROXY headers; ``rest`` came behind the header, ``since`` it is open."""
        if port.tls:
            StartingTls(channel, port.tls, port.row.listener, port.accept, self, rest)
            return
        port.accept(channel, since)
        if rest:
            channel.user.on_data(rest, now)

    def accept_operator(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the admin port."""
        PlainConnection(channel, self._admin, self, now)

    def accept_supervisor(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the control port of a worker."""
        assert self.facts.worker is not None, "others have no such port"
        PlainConnection(channel, ControlPages(self._admin, self.facts.worker.secret), self, now)

    def accept_node(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the gossip port."""
        self.cluster.accept(channel, now)

    def accept_client(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the proxy port."""
        self._router.accept(channel, now)

    def accept_agent(self, channel: TcpChannel, now: float) -> None:
        """Serve a connection of the upstream port."""
        TunnelConnection(channel, self, self.facts.config.upstream.registration_timeout_s, now)

    # --- tunnels ---

    def agent_behind(self, channel: TcpChannel, head: RequestHead) -> str:
        """Return the address of the agent whose request came through ``channel``, perhaps of a trusted proxy."""
        peer, proxies = channel.host, self.proxies["upstream"]
        return proxies.client_behind(peer, head) if peer in proxies and not channel.is_nameless else peer

    def register(self, head: RequestHead, head_bytes: bytes, client: str, now: float) -> Agreement:
        """Return the features to agree on with the agent at ``client``. Raises ``HandshakeError``."""
        return self._registrar.register(head, head_bytes, client, now)

    def _registrations_of(self, endpoint: str) -> Iterable[Registration]:
        return (tunnel.registration for tunnel in self.facts.registry.members(endpoint))

    def _claim(self, registration: Registration) -> bool:
        """Let an agent serve an endpoint, or refuse it; tell the operator if another agent serves it too."""
        others = self._claims.claim(registration)
        if others:
            self.warn(
                "upstream",
                SECOND_AGENT_WARNING,
                endpoint=registration.endpoint,
                client=registration.client,
                other_at=", ".join(each or "this node" for each in others),
            )
            self._tell_agents(registration.endpoint, (registration.identity,))
        return bool(others)

    def claim_seen(self, endpoint: str, claim: str, now: float) -> None:
        """Another node tells which agents serve an endpoint there."""
        if self.facts.registry.members(endpoint) and self._claims.rule(endpoint) != "allow":
            self._tell_agents(endpoint, claimed(claim)[1])

    def _tell_agents(self, endpoint: str, identities: Iterable[str]) -> None:
        """Tell the agents of an endpoint of others: whoever looks at the first one sees it too."""
        for tunnel in self.facts.registry.members(endpoint):
            if any(each != tunnel.registration.identity for each in identities):
                tunnel.tell(SECOND_AGENT_CAME)

    def tunnel_opened(self, tunnel: TunnelConnection, now: float) -> None:
        """Route requests to the agent; an older tunnel of the same agent gets no more of them."""
        for older in self.facts.registry.members(tunnel.endpoint):
            if older.is_of(tunnel.instance):
                older.supersede(now)
        if tunnel.tenant is not None:
            tunnel.tenant.tunnels += 1
        name = split(tunnel.endpoint)[1]
        if not tunnel.raw and not is_host_label(name) and not self.facts.registry.members(tunnel.endpoint):
            self.warn("upstream", NO_HOST_NAME, endpoint=tunnel.endpoint)
        self.facts.tunnels[tunnel] = None
        self.facts.registry.add(tunnel)
        self._router.routing.routeless.found(tunnel.endpoint, now)
        self.log("info", "upstream", "tunnel opened", endpoint=tunnel.endpoint, client=tunnel.client_host)

    def tunnel_going_away(self, tunnel: TunnelConnection, now: float) -> None:
        """Have the tunnel leave, but only when the other nodes have heard that they must not send requests for it."""
        if self.facts.view:
            self.facts.registry.withdraw(tunnel)
            self.timers.schedule(now + HEARD_S, tunnel.leave)
        else:
            tunnel.leave(now)

    def tunnel_leaving(self, tunnel: TunnelConnection, now: float) -> None:
        """The agent takes no further requests."""
        self.facts.registry.remove(tunnel)

    def tunnel_lost(self, tunnel: TunnelConnection, reason: str, now: float) -> None:
        """The tunnel has ended: route nothing to it, and tell the cluster how many the endpoint has left."""
        self.facts.tunnels.pop(tunnel, None)
        if tunnel.tenant is not None:
            tunnel.tenant.tunnels -= 1
        self.facts.registry.remove(tunnel)
        self.log(
            "info", "upstream", "tunnel closed", endpoint=tunnel.endpoint, client=tunnel.client_host, reason=reason
        )

    def tunnel_refused(self, client: str, status: int, code: str, reason: str) -> None:
        """A peer on the upstream port did not get a tunnel."""
        self.warn("upstream", "tunnel refused", client=client, status=status, code=code, reason=reason)

    def endpoint_seen(self, endpoint: str, count: int, now: float) -> None:
        """Another node has ``count`` tunnels of an endpoint now."""
        if count:
            self._router.routing.routeless.found(endpoint, now)
        else:
            self._router.routing.routeless.lost(endpoint, now)

    def _endpoint_changed(self, endpoint: str, count: int) -> None:
        if not count:
            self._router.routing.routeless.lost(endpoint, self.now)
        self.cluster.set_endpoint(endpoint, count, self.now, self._claims.told(endpoint) if count else "")

    def shed(self, count: int, now: float) -> None:
        """Ask ``count`` agents to go elsewhere."""
        staying = [tunnel for tunnel in self.facts.tunnels if not tunnel.asked_to_leave]
        for tunnel in staying[:count]:
            tunnel.drain(now)
        if count:
            self.log("info", "upstream", "shedding tunnels", count=count)

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """Take over what can change while the node runs, and name the rest."""
        config, facts = event.config, self.facts
        assert isinstance(config, ServerConfig), "a server's configuration is read again as it was read"
        try:
            fresh = taken_over(facts.config, config, applied := applied_keys(facts, config))
            take_over(facts, self.access, self.proxies, self._parts, self._limits(fresh), fresh, now)
        except ConfigError as error:
            self.log("warning", "config", "the changed configuration is not used", reason=str(error))
            return
        self.log_reload(changed_keys(facts.config, config), applied)
        before, facts.config = facts.config, fresh
        warn_of_lost_guards(self, before, fresh, facts.ports)

    # --- gossip and logs ---

    def use_log(self, config: LogConfig) -> None:
        """Log as an operator asks."""
        self.facts.config = replace(self.facts.config, log=config)
        self._router.configure(self.facts.config)
        self.emit(UseLogConfig(config))

    def on_datagram(self, event: DatagramReceived, now: float) -> None:
        """Give a datagram of the gossip port to the cluster."""
        self.cluster.datagram(event, now)

    def on_log_lines_dropped(self, event: LogLinesDropped, now: float) -> None:
        """Publish their number."""
        self.facts.metrics.log_lines_dropped = event.total

    # --- stop ---

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The first request drains, a second one ends the node at once."""
        if self.facts.draining:
            self.stop(1, "stopped at once by a second signal")
            return
        self._draining.begin(now)

    def _succeeded(self, event: SuccessorServes, now: float) -> None:
        """Accept nothing more from the ports that another process has too, and drain."""
        for port in self._ports.values():
            if port.row.shared:
                self.emit(StopListening(port.row.listener, leaves_waiting=True))
        if not self.facts.draining:
            self.on_shutdown_requested(ShutdownRequested(), now)

    def stop(self, code: int, message: str) -> None:
        """Leave the driver now; ``message`` says why, where ``code`` is not 0."""
        self.facts.state = NodePhase.STOPPED
        self.emit(Exit(code, message))
