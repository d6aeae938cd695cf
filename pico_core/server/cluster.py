"""The cluster side of a server node: gossip's datagrams and streams, what it learns, and leaving well."""

from typing import TYPE_CHECKING

from pico_core.boundary import DatagramReceived, Resolve, Resolved, SendDatagram
from pico_core.cluster.rebalance import tunnels_to_shed
from pico_core.cluster.view import ClusterView, NodeStatus
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.gossip.address import split_address
from pico_core.gossip.events import (
    LeaveDone,
    Lookup,
    NodeDraining,
    NodeForgotten,
    NodeJoined,
    NodeLeft,
    NodeReachable,
    NodeUnreachable,
    NodeUpdated,
    Output,
    StreamRequest,
)
from pico_core.gossip.machine import ENDPOINT_PREFIX, Gossip
from pico_core.gossip.wire import WireError
from pico_core.machine.channel import TcpChannel
from pico_core.pieces import Piece
from pico_core.server.peers import Peers
from pico_core.timers import NEVER

if TYPE_CHECKING:
    from pico_core.server.node import ServerNode

STREAM_TIMEOUT_S = 10.0
REBALANCE_INTERVAL_S = 1.0


class Cluster:
    """Made once the node knows its own addresses. Next: ``start``, and in the end ``leave``."""

    def __init__(
        self,
        node: "ServerNode",
        config: ServerConfig,
        addresses: dict[str, Address],
        entropy: Entropy,
    ) -> None:
        """``addresses`` are what this node tells others: of its ``gossip``, ``proxy`` and ``admin`` ports."""
        self._node = node
        self._config = config
        self.gossip = Gossip(
            node.node_id,
            str(addresses["gossip"]),
            entropy=entropy,
            seeds=[str(member) if member.port else member.host for member in config.cluster.join],
            default_port=config.cluster.gossip.bind_addr.port or addresses["gossip"].port,
            interval_s=config.cluster.gossip.interval_s,
            max_packet_bytes=config.cluster.gossip.max_packet_size,
            is_name_fixed=bool(config.cluster.node_id),
        )
        self.addresses = addresses
        self.view = ClusterView(entropy, self.gossip.can_forward)
        self.peers = Peers(node, self.gossip)
        self._lookups: dict[int, str] = {}
        self._queries = 0
        self._left = False

    def start(self, now: float) -> None:
        """Begin to gossip and to join."""
        self.gossip.set_local("proxy_addr", str(self.addresses["proxy"]), now)
        self.gossip.set_local("admin_addr", str(self.addresses["admin"]), now)
        self.gossip.start(now)
        self._tick(now)
        cluster = self._config.cluster
        if cluster.join and cluster.abort_if_join_fails:
            self._node.timers.schedule(now + cluster.join_timeout_s, self._check_joined)
        if self._config.upstream.rebalance.threshold:
            self._node.timers.schedule(now + REBALANCE_INTERVAL_S, self._rebalance)

    @property
    def settled(self) -> bool:
        """Whether some other node is known, or there is nobody to join as far as we know."""
        return bool(self.view) or not (self._lookups or self.gossip.seeds.names_others)

    @property
    def left(self) -> bool:
        """Whether ``leave`` has told the others."""
        return self._left

    def set_endpoint(self, endpoint: str, tunnels: int, now: float) -> None:
        """Tell the others how many tunnels an endpoint has here."""
        self.gossip.set_endpoint(endpoint, tunnels, now)
        self.carry_out(now)

    def drain(self, now: float) -> None:
        """Ask the others to prefer other nodes."""
        self.gossip.set_draining(now)
        self.carry_out(now)

    def leave(self, now: float) -> None:
        """Say goodbye. Next: go on until ``left``."""
        self.gossip.leave(now)
        self.carry_out(now)

    # --- what the node passes on ---

    def datagram(self, event: DatagramReceived, now: float) -> None:
        """Take a datagram."""
        self.gossip.receive_datagram(event.data, event.host, event.port, now)
        self.carry_out(now)

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Serve a peer's stream."""
        _InboundStream(self._node, self, channel, now)

    def resolved(self, event: Resolved, now: float) -> None:
        """Take the addresses of a name."""
        name = self._lookups.pop(event.query, None)
        if name is not None:
            if event.error:
                self._node.log("debug", "gossip", "name not resolved", name=name, reason=event.error)
            self.gossip.resolved(name, event.addresses, event.error, now)
            self.carry_out(now)

    def carry_out(self, now: float) -> None:
        """Do what gossip wants done."""
        while (output := self.gossip.poll()) is not None:
            if isinstance(output, SendDatagram):
                self._node.emit(output)
            elif isinstance(output, Lookup):
                self._queries += 1
                self._lookups[self._queries] = output.name
                self._node.emit(Resolve(self._queries, output.name, output.timeout_s))
            elif isinstance(output, StreamRequest):
                _OutboundExchange(self._node, self, output, now)
            else:
                self._learn(output, now)

    # --- inside ---

    def _tick(self, now: float) -> None:
        self.gossip.tick(now)
        self.carry_out(now)
        at = self.gossip.deadline()
        if at is not None:
            self._node.timers.schedule(at, self._tick)

    def _learn(self, event: Output, now: float) -> None:
        """Keep the view and the operator up to date."""
        if isinstance(event, NodeUpdated):
            self._update(event)
        elif isinstance(event, NodeJoined):
            address = split_address(event.addr)
            self.view.add(event.node_id, address[0] if address else "")
            self._node.log("info", "cluster", "node joined", node=event.node_id, addr=event.addr)
        elif isinstance(event, NodeDraining):
            self.view.add(event.node_id, "").draining = event.draining
            self._node.log("info", "cluster", "node draining", node=event.node_id, draining=event.draining)
        elif isinstance(event, NodeUnreachable):
            peer = self.view.add(event.node_id, "")
            peer.status = NodeStatus.UNREACHABLE
            self._node.log("warning", "cluster", "node unreachable", node=event.node_id, reason=event.reason)
            self.peers.unreachable(peer, now)
        elif isinstance(event, NodeReachable):
            self.view.add(event.node_id, "").status = NodeStatus.ACTIVE
            self._node.log("info", "cluster", "node reachable", node=event.node_id)
        elif isinstance(event, NodeLeft):
            self.view.add(event.node_id, "").status = NodeStatus.LEFT
            self._node.log("info", "cluster", "node left", node=event.node_id)
        elif isinstance(event, NodeForgotten):
            forgotten = self.view.get(event.node_id)
            if forgotten is not None:
                self.peers.forget(forgotten)
            self.view.forget(event.node_id)
            self._node.log("info", "cluster", "node forgotten", node=event.node_id)
        elif isinstance(event, LeaveDone):
            self._left = True
            self._node.log("info", "cluster", "left the cluster", told=event.told)

    def _update(self, event: NodeUpdated) -> None:
        node = self.view.add(event.node_id, "")
        if event.key.startswith(ENDPOINT_PREFIX):
            value = event.value or "0"
            count = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
            self.view.set_endpoint(node, event.key[len(ENDPOINT_PREFIX) :].lower(), count)
        elif event.key in ("proxy_addr", "admin_addr"):
            parts = split_address(event.value or "")
            address = Address(*parts) if parts else None
            if event.key == "proxy_addr":
                self.view.set_proxy_addr(node, address)
            else:
                node.admin_addr = address

    def _check_joined(self, now: float) -> None:
        if self.gossip.seeds.names_others and not self.view:
            members = ", ".join(str(member) if member.port else member.host for member in self._config.cluster.join)
            self._node.stop(
                1,
                f"no node of '{members}' answered within cluster.join_timeout "
                f"({self._config.cluster.join_timeout_s:g} s): check the addresses and that UDP and TCP pass, "
                "or set cluster.abort_if_join_fails to false",
            )

    def _rebalance(self, now: float) -> None:
        """Shed tunnels to nodes that have fewer."""
        self._node.timers.schedule(now + REBALANCE_INTERVAL_S, self._rebalance)
        others = [node.upstreams for node in self.view if node.status is NodeStatus.ACTIVE and not node.draining]
        self._node.shed(tunnels_to_shed(len(self._node.tunnels), others, self._config.upstream.rebalance), now)


class _InboundStream:
    """A join or leave that another node sends."""

    def __init__(self, node: "ServerNode", cluster: Cluster, channel: TcpChannel, now: float) -> None:
        self.deadline_at = now + STREAM_TIMEOUT_S
        self._node = node
        self._cluster = cluster
        self._channel = channel
        self._stream = cluster.gossip.accept_stream(channel.host)
        channel.user = self
        node.timers.watch(self, now)

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes; answer when the request is whole."""
        try:
            answer = self._stream.receive(bytes(data), now)
        except WireError as error:
            self._cluster.gossip.counters.malformed += 1
            self._node.warn("gossip", "malformed stream", host=self._channel.host, reason=str(error))
            self._end()
            return
        if answer is not None:
            self._channel.send(answer)
            self._end()
        self._cluster.carry_out(now)

    def on_eof(self, now: float) -> None:
        """It ended early."""
        self._end()

    def on_lost(self, now: float) -> None:
        """It is gone."""
        self._end()

    def on_writable(self, now: float) -> None:
        """The answer is on its way."""

    def on_deadline(self, now: float) -> None:
        """It takes too long."""
        self._end()

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._node.timers.unwatch(self)
        self._channel.close()


class _OutboundExchange:
    """A join, repair or leave of ours."""

    def __init__(self, node: "ServerNode", cluster: Cluster, exchange: StreamRequest, now: float) -> None:
        self.deadline_at = now + exchange.timeout_s
        self._node = node
        self._cluster = cluster
        self._exchange = exchange
        self._channel: TcpChannel | None = None
        node.connect(exchange.host, exchange.port, exchange.timeout_s, self)

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Send the request."""
        self._channel = channel
        channel.user = self
        self._node.timers.watch(self, now)
        channel.send(self._exchange.data)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Nobody is there."""
        self._node.log("debug", "gossip", "no answer", addr=self._exchange.host, reason=reason)
        self._fail(now)

    def on_data(self, data: Piece, now: float) -> None:
        """Take the answer."""
        over = self._cluster.gossip.exchange_received(self._exchange.number, bytes(data), now)
        if over:
            self._end()
        self._cluster.carry_out(now)

    def on_eof(self, now: float) -> None:
        """It ended early."""
        self._fail(now)

    def on_lost(self, now: float) -> None:
        """It is gone."""
        self._fail(now)

    def on_writable(self, now: float) -> None:
        """The request is on its way."""

    def on_deadline(self, now: float) -> None:
        """It takes too long."""
        self._fail(now)

    def _fail(self, now: float) -> None:
        self._end()
        self._cluster.gossip.exchange_failed(self._exchange.number, now)
        self._cluster.carry_out(now)

    def _end(self) -> None:
        self.deadline_at = NEVER
        self._node.timers.unwatch(self)
        if self._channel is not None:
            self._channel.close()
