"""The cluster side of a server node: gossip's datagrams and streams, what it learns, and the leave."""

from typing import Protocol

from pico_core.boundary import DatagramReceived, SendDatagram
from pico_core.cluster.rebalance import tunnels_to_shed
from pico_core.cluster.view import RemoteNode
from pico_core.config.values import Address
from pico_core.gossip.address import means_own_host, plain_host, split_address
from pico_core.gossip.events import (
    AddressRefused,
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
    SealRefused,
    SendStreamData,
    StreamRequest,
)
from pico_core.gossip.keys import CLAIM_PREFIX, ENDPOINT_PREFIX
from pico_core.gossip.status import NodeStatus
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Emitter, Logger, SourceSelector
from pico_core.server.facts import Facts
from pico_core.server.gossip_streams import GossipStreams
from pico_core.server.own_host import KEYS, OwnHost
from pico_core.server.peers import Peers

REBALANCE_INTERVAL_S = 1.0
"""How often agents may be asked to move: ``upstream.rebalance.shed_rate`` is a share of the tunnels in a second."""
LOOK_UP_S = 0.5
"""How often to look which names are due, while this node does not know its own address."""


class ClusterHost(Connector, Emitter, Logger, SourceSelector, Protocol):
    """The part of the node that the cluster side needs."""

    def endpoint_seen(self, endpoint: str, count: int, now: float) -> None:
        """Another node has ``count`` tunnels of an endpoint now."""

    def claim_seen(self, endpoint: str, claim: str, now: float) -> None:
        """Another node tells which agents serve an endpoint there."""

    def shed(self, count: int, now: float) -> None:
        """Ask ``count`` agents to go elsewhere."""

    def stop(self, code: int, message: str) -> None:
        """Leave the driver now."""


class ClusterSide:
    """Next: ``begin`` once the ports of the node are open, and in the end ``leave``."""

    def __init__(self, host: ClusterHost, facts: Facts, peers: Peers) -> None:
        self._host = host
        self._facts = facts
        self._gossip = facts.gossip
        self._view = facts.view
        self._peers = peers
        self._streams = GossipStreams(host, facts.gossip, self.carry_out)
        self._lookups = 0
        self._unknown: dict[str, None] = {}  # names to join that have no address, as was said
        self._own_host = OwnHost(host, facts, lambda: self._gossip.seeds.targets, self._start)
        self._gossip_port = 0

    def begin(self, bound: dict[str, Address], now: float) -> None:
        """Find out the addresses of this node and those to join, now that its ports are ``bound``; then gossip."""
        config = self._facts.config
        if config.cluster.join and config.cluster.abort_if_join_fails:
            self._host.timers.schedule(now + config.cluster.join_timeout_s, self._check_joined)
        if config.upstream.rebalance.threshold:
            self._host.timers.schedule(now + REBALANCE_INTERVAL_S, self._rebalance)
        if self._facts.worker is not None:
            bound = {**bound, "proxy": bound["peers"]}
        self._gossip_port = (config.cluster.gossip.advertise_addr or bound["gossip"]).port
        self._look_up(now)
        self._own_host.begin(bound, now)

    def _look_up(self, now: float) -> None:
        if self._own_host.is_known or self._facts.left or not self._facts.config.cluster.join:
            return
        self._host.timers.schedule(now + LOOK_UP_S, self._look_up)
        self._gossip.look_up(self._gossip_port, now)
        self.carry_out(now)

    def _start(self, now: float) -> None:
        """Begin to gossip and to join; ``Facts.addresses`` are known."""
        addresses = self._facts.addresses
        gossip = self._gossip
        gossip.set_local("proxy_addr", str(addresses["proxy"]), now)
        gossip.set_local("admin_addr", str(addresses["admin"]), now)
        if self._facts.worker is not None:
            host = addresses["gossip"].host
            gossip.seeds.add_siblings([(plain_host(host), port) for port in self._facts.worker.siblings])
        gossip.start(str(addresses["gossip"]), now)
        self._tick(now)

    @property
    def settled(self) -> bool:
        """Whether another node is known, or no other node is there to join as far as this one knows."""
        seeds = self._gossip.seeds
        return not self._is_alone or not (self._lookups or seeds.names_others or seeds.unanswered)

    def set_endpoint(self, endpoint: str, tunnels: int, now: float, claim: str = "") -> None:
        """Tell the others how many tunnels an endpoint has here, and whose; gossip keeps it until ``start``."""
        self._gossip.set_endpoint(endpoint, tunnels, now, claim)
        self.carry_out(now)

    def drain(self, now: float) -> None:
        """Ask the others to prefer other nodes."""
        self._gossip.set_draining(now)
        self.carry_out(now)

    def leave(self, now: float) -> None:
        """Tell the others that this node leaves. Next: go on until ``Facts.left``."""
        self._gossip.leave(now)
        self.carry_out(now)

    # --- what the node passes on ---

    def datagram(self, event: DatagramReceived, now: float) -> None:
        """Give a datagram of the gossip port to the engine, and carry out what it wants."""
        self._gossip.receive_datagram(event.data, event.host, event.port, now)
        self.carry_out(now)

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Serve a peer's stream."""
        if not self._streams.accept(channel, now):
            self._own_host.peer_came(channel.host, now)
            channel.close()

    def carry_out(self, now: float) -> None:
        """Carry out the commands of the gossip engine."""
        while (output := self._gossip.poll()) is not None:
            if isinstance(output, SendDatagram):
                self._host.emit(output)
            elif isinstance(output, Lookup):
                self._lookups += 1
                self._host.resolve(output.name, output.timeout_s, _NameLookup(self, output.name))
            elif isinstance(output, StreamRequest):
                self._streams.open(output, now)
            elif isinstance(output, SendStreamData):
                self._streams.send(output)
            else:
                self._learn(output, now)

    def name_resolved(self, name: str, addresses: tuple[str, ...], error: str, now: float) -> None:
        """Take the addresses of a name that gossip asked for."""
        self._lookups -= 1
        if error:
            self._host.warn("gossip", "cannot look up a name to join", name=name, reason=error)
        elif not addresses and name not in self._unknown:
            self._host.log("warning", "gossip", "a name to join is unknown, or has no address", name=name)
            self._unknown[name] = None
        elif addresses:
            self._unknown.pop(name, None)
        self._gossip.resolved(name, addresses, error, now)
        self.carry_out(now)
        self._own_host.ask(now)

    # --- inside ---

    def _tick(self, now: float) -> None:
        self._gossip.tick(now)
        self.carry_out(now)
        at = self._gossip.deadline()
        if at is not None:
            self._host.timers.schedule(at, self._tick)

    def _learn(self, event: Output, now: float) -> None:
        """Keep the view and the operator up to date."""
        if isinstance(event, NodeUpdated):
            self._update(event, now)
        elif isinstance(event, NodeJoined):
            address = split_address(event.addr)
            self._view.add(event.node_id, address[0] if address else "")
            self._host.log("info", "cluster", "node joined", node=event.node_id, addr=event.addr)
        elif isinstance(event, AddressRefused):
            self._refuse(event.node_id, event.addr, "gossip")
        elif isinstance(event, SealRefused):
            self._host.warn("gossip", event.problem, host=event.host)
        elif isinstance(event, NodeDraining):
            self._view.add(event.node_id, "").draining = event.draining
            self._host.log("info", "cluster", "node draining", node=event.node_id, draining=event.draining)
        elif isinstance(event, NodeUnreachable):
            peer = self._view.add(event.node_id, "")
            peer.status = NodeStatus.UNREACHABLE
            self._host.log("warning", "cluster", "node unreachable", node=event.node_id, reason=event.reason)
            self._peers.unreachable(peer, now)
        elif isinstance(event, NodeReachable):
            self._view.add(event.node_id, "").status = NodeStatus.ACTIVE
            self._host.log("info", "cluster", "node reachable", node=event.node_id)
        elif isinstance(event, NodeLeft):
            self._view.add(event.node_id, "").status = NodeStatus.LEFT
            self._host.log("info", "cluster", "node left", node=event.node_id)
        elif isinstance(event, NodeForgotten):
            forgotten = self._view.get(event.node_id)
            lost: tuple[str, ...] = ()
            if forgotten is not None:
                self._peers.forget(forgotten)
                lost = tuple(forgotten.endpoints)
            self._view.forget(event.node_id)
            for endpoint in lost:
                self._host.endpoint_seen(endpoint, 0, now)
            self._host.log("info", "cluster", "node forgotten", node=event.node_id)
        elif isinstance(event, LeaveDone):
            self._facts.left = True
            self._host.log("info", "cluster", "left the cluster", told=event.told)

    def _update(self, event: NodeUpdated, now: float) -> None:
        node = self._view.add(event.node_id, "")
        if event.key.startswith(ENDPOINT_PREFIX):
            value = event.value or "0"
            count = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
            endpoint = event.key[len(ENDPOINT_PREFIX) :].lower()
            self._view.set_endpoint(node, endpoint, count)
            self._host.endpoint_seen(endpoint, count, now)
        elif event.key.startswith(CLAIM_PREFIX):
            endpoint = event.key[len(CLAIM_PREFIX) :].lower()
            self._view.set_claim(node, endpoint, event.value or "")
            self._host.claim_seen(endpoint, event.value or "", now)
        elif event.key in ("proxy_addr", "admin_addr"):
            port = event.key.removesuffix("_addr")
            address = self._reachable(node, port, event.value or "")
            if port == "proxy":
                self._view.set_proxy_addr(node, address)
                for endpoint in dict.fromkeys(each.endpoint for each in self._facts.waiting):
                    if endpoint in node.endpoints:  # it had agents before it knew its own address
                        self._host.endpoint_seen(endpoint, node.endpoints[endpoint], now)
            else:
                node.admin_addr = address

    def _reachable(self, node: RemoteNode, port: str, value: str) -> Address | None:
        """Return the address of a node's port, unless the node is on another host and the address means this one."""
        parts = split_address(value)
        if parts is None:
            return None
        is_here = means_own_host(node.gossip_host) or node.gossip_host == self._facts.addresses["gossip"].host
        if is_here or not means_own_host(parts[0]):
            return Address(*parts)
        if port not in node.refused:
            node.refused[port] = None
            self._refuse(node.id, value, port)
        return None

    def _refuse(self, node_id: str, addr: str, port: str) -> None:
        self._host.warn(
            "cluster",
            "a node tells an address that other hosts cannot reach: set the key there",
            node=node_id,
            addr=addr,
            set=KEYS[port],
        )

    @property
    def _is_alone(self) -> bool:
        """Whether no node answered, or is known, but those that share the ports of this one."""
        worker = self._facts.worker
        if worker is None:
            return not self._view
        return not self._gossip.seeds.has_answer and all(node.id.startswith(worker.group) for node in self._view)

    def _check_joined(self, now: float) -> None:
        if not self._gossip.seeds.names_others or not self._is_alone:
            return
        config = self._facts.config.cluster
        check = "check the addresses and that UDP and TCP pass"
        if not self._own_host.is_known:
            check = f"no address of this host leads there, set {self._own_host.missing_keys}"
        self._host.stop(
            1,
            f"no node of '{', '.join(config.seeds)}' answered within cluster.join_timeout "
            f"({config.join_timeout_s:g} s): {check}, or set cluster.abort_if_join_fails to false",
        )

    def _rebalance(self, now: float) -> None:
        """Shed tunnels to nodes that have fewer."""
        self._host.timers.schedule(now + REBALANCE_INTERVAL_S, self._rebalance)
        others = [node.upstreams for node in self._view if node.status is NodeStatus.ACTIVE and not node.draining]
        self._host.shed(tunnels_to_shed(len(self._facts.tunnels), others, self._facts.config.upstream.rebalance), now)


class _NameLookup:
    """A lookup of gossip's, with the name that its answer does not repeat."""

    __slots__ = ("_cluster", "_name")

    def __init__(self, cluster: ClusterSide, name: str) -> None:
        self._cluster = cluster
        self._name = name

    def on_resolved(self, addresses: tuple[str, ...], error: str, now: float) -> None:
        """Pass the addresses on."""
        self._cluster.name_resolved(self._name, addresses, error, now)
