"""Forwarding to other nodes: pooled connections, what a request carries on its one hop, and when to try elsewhere.

A node never forwards what was forwarded to it. If it has no upstream for such a request, it answers 421 (Misdirected
Request, RFC 9110 section 15.5.20), which says that nothing was processed, and the entry node chooses again: its route
was stale, which is not an error. Piko nodes neither send nor expect 421 or ``X-Pico-Failure``, so they get the 502 they
know.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from pico_core.boundary import OUT_OF_DESCRIPTORS
from pico_core.cluster.view import RemoteNode
from pico_core.config.server import ServerConfig
from pico_core.config.values import Address
from pico_core.gossip.engine import Gossip
from pico_core.http.message import HeadLimits
from pico_core.machine.admission import Admission
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import Connector, Logger
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import BUSY, NODE_FULL, NODE_LOST, NODE_UNREACHABLE, Failure
from pico_core.proxy.kept import KeptUpstream
from pico_core.proxy.pool import ConnectionPool
from pico_core.proxy.states import CHOOSING, RESPONDING
from pico_core.server.agreement import RESERVED_PART
from pico_core.server.crowding import COUNT_S, WAIT_S
from pico_core.server.ends import keep_upstream
from pico_core.server.limits import head_limits
from pico_core.server.tenants import split
from pico_core.timers import NEVER

MAX_IDLE_CONNECTIONS = 256
"""To one node: a quarter of what one tunnel carries at once, and few beside the descriptors of a node."""
MAX_RESERVED_IDLE = 4_096
"""To one node, while all connections that this node has opened fit into the part of its descriptors that is reserved
for them: what is closed then is opened again by the next requests, and its place is nobody else's."""
IDLE_TIMEOUT_S = 60.0
"""As long as an idle stream of a tunnel is kept; the other node keeps it for longer."""
MAX_OPENING = 64
"""Connections to one node that are opened at once: as many as it accepts in a turn. When 2,000 came at once, its other
clients waited behind them for half a second."""
CONNECT_TIMEOUT_S = 3.0
"""Within a cluster a connection takes a millisecond; a node that needs seconds for it is treated as unreachable."""

FORWARD_FIELDS = b"x-piko-forward: true\r\nx-pico-forward: true\r\nx-piko-endpoint: %b\r\n"
"""The first is what Piko's nodes read, the second tells a Pico node that we understand 421."""


TENANT_FIELD = b"x-pico-tenant-id: %b\r\n"

TOKEN_FIELD = b"x-piko-authorization: %b\r\n"
"""The token that this node has verified. The other node verifies it too: ``x-pico-forward`` permits nothing."""


CREDENTIALS_FIELD = b"x-pico-credentials: %b\r\n"
"""Those of a policy's user, for a node that asks again. It never passes the field on, whatever its policies are."""


def forward_fields(exchange: Exchange, *, with_credentials: bool) -> bytes:
    """Return the field lines that another node needs. ``with_credentials``: those that its policies ask for again."""
    fields = _endpoint_fields(exchange.endpoint)
    if exchange.head.grant is not None:
        fields += TOKEN_FIELD % exchange.head.authorization
    if with_credentials:
        fields += CREDENTIALS_FIELD % exchange.head.credentials
    return fields


@lru_cache(maxsize=4_096)
def _endpoint_fields(endpoint: str) -> bytes:
    """Remember the lines of the endpoints asked for last. Other nodes serve them, so a client cannot make them up."""
    tenant, name = split(endpoint)
    return FORWARD_FIELDS % name.encode() + (TENANT_FIELD % tenant.encode() if tenant else b"")


class PeersHost(Connector, Logger, Protocol):
    """The part of the machine that forwarding needs."""

    admission: Admission
    head_limits: HeadLimits
    heads: HeadBudget
    """Bounds of the heads that other nodes send."""
    peer_tls: str
    """The TLS profile of connections to their proxy ports, empty where this node's own speaks plain HTTP."""


def warn_unreachable(host: PeersHost, peer: RemoteNode, reason: str) -> None:
    """Tell the operator that no request gets to a node."""
    host.warn("cluster", "cannot forward to a node", node=peer.id, reason=reason)


class PeerPool(ConnectionPool):
    """Connections to one node's proxy port."""

    believes_failures = True

    def __init__(
        self,
        host: PeersHost,
        gossip: Gossip,
        peer: RemoteNode,
        address: Address,
        is_full: Callable[[RemoteNode, Exchange, float], bool],
    ) -> None:
        """``is_full`` says whether a node has no stream left for a request, as far as this node knows."""
        super().__init__(
            host,
            address.host,
            address.port,
            keep_upstream,
            limit=MAX_IDLE_CONNECTIONS,
            idle_timeout_s=IDLE_TIMEOUT_S,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            response_limits=host.head_limits,
            heads=host.heads,
            tls=host.peer_tls,
            may_exceed=self._has_reserve,
            max_opening=MAX_OPENING,
        )
        self._host = host
        self._gossip = gossip
        self._peer = peer
        self._is_full = is_full
        if gossip.is_sealed:
            self.introduce = self._prove

    def waits_in_vain(self, exchange: Exchange, waited_s: float, now: float) -> bool:
        """Return whether a request has waited for as long as one may wait for a stream, and would find none there."""
        return waited_s >= WAIT_S and self._is_full(self._peer, exchange, now)

    def _has_reserve(self, count: int) -> bool:
        """Return whether one more idle connection takes no place that others could have."""
        admission = self._host.admission
        return count < MAX_RESERVED_IDLE and admission.outgoing <= admission.limits.outgoing_reserve

    def _prove(self) -> bytes:
        """Return the field that proves to the peer that a node of the cluster forwards the requests of a connection."""
        proof = self._gossip.prove(self._peer.id)
        return b"x-pico-proof: %b\r\n" % proof if proof else b""

    def failure_of_loss(self, upstream: KeptUpstream) -> Failure:
        """Return the failure when the connection ended before the response."""
        return NODE_UNREACHABLE if upstream.channel.refusal else NODE_LOST

    def release(self, upstream: KeptUpstream, now: float) -> None:
        """Keep the connection; the node works."""
        self._gossip.report_forward_success(self._peer.id)
        super().release(upstream, now)

    def discard(self, upstream: KeptUpstream, now: float) -> None:
        """Forget the connection; if it broke before the response to a request, avoid the node for a while."""
        if upstream.exchange is not None and upstream.exchange.state is not RESPONDING:
            self._gossip.report_forward_failure(self._peer.id, now)
            if upstream.channel.refusal:
                warn_unreachable(self._host, self._peer, upstream.channel.refusal)
        super().discard(upstream, now)


class Peers:
    """The pools, one for each node that requests were forwarded to."""

    def __init__(self, host: PeersHost, gossip: Gossip, config: ServerConfig) -> None:
        self._host = host
        self._max_streams = config.upstream.max_streams
        self._sent: dict[tuple[RemoteNode, str], Counter[str]] = {}
        """The clients of requests in flight, as counted at ``_counted_at``: one count serves all that wait."""
        self._counted_at = -NEVER
        self._gossip = gossip
        self._pools: dict[RemoteNode, PeerPool] = {}
        self.exchanges: dict[Exchange, None] = {}
        """Those that were forwarded and are not over."""

    def configure(self, config: ServerConfig) -> None:
        """Go by ``config``: the limits of heads hold for connections that are opened from now on."""
        self._max_streams = config.upstream.max_streams
        for pool in self._pools.values():
            pool.response_limits = head_limits(config)

    def forward(self, exchange: Exchange, peer: RemoteNode, extra: bytes, now: float) -> None:
        """Send the request to ``peer``, or elsewhere if that fails."""
        address = peer.proxy_addr
        assert address is not None, "only nodes with an address are chosen"
        pool = self._pools.get(peer)
        if pool is None or (pool.host, pool.port) != (address.host, address.port):
            pool = self._pools[peer] = PeerPool(self._host, self._gossip, peer, address, self._is_full)
        exchange.route = peer
        peer.requests += 1
        self.exchanges[exchange] = None
        # Without a key the node asks its policies again. One of Piko's has none, and makes no claims.
        with_credentials = (
            bool(exchange.head.credentials) and not self._gossip.is_sealed and exchange.endpoint in peer.claims
        )
        fields = forward_fields(exchange, with_credentials=with_credentials) + extra
        pool.send(exchange, fields, now, self._unreachable, fresh=bool(exchange.head.upgrade))

    def _is_full(self, peer: RemoteNode, exchange: Exchange, now: float) -> bool:
        """Return whether this node alone has sent ``peer`` as many requests as its tunnels give to crowds.

        The last streams are for clients that hold few (``crowding``), so one that has nothing in flight there waits on.
        The other node counts the requests of all nodes, and decides. Its tunnels are known by number; each is taken to
        have as many streams as one of this node.
        """
        if not self._counted_at <= now < self._counted_at + COUNT_S:
            self._count(now)
        hosts = self._sent.get((peer, exchange.endpoint))
        streams = peer.endpoints.get(exchange.endpoint, 0) * self._max_streams
        if hosts is None or not streams:
            return False
        return exchange.client_host in hosts and streams - streams // RESERVED_PART <= hosts.total()

    def _count(self, now: float) -> None:
        """Count what was sent to other nodes: by node and endpoint, the clients."""
        self._counted_at = now
        self._sent.clear()
        for each in self.exchanges:
            if each.state is not CHOOSING and type(each.route) is RemoteNode:
                hosts = self._sent.setdefault((each.route, each.endpoint), Counter())
                hosts[each.client_host] += 1

    def finished(self, exchange: Exchange) -> None:
        """An exchange is over, whether it was ever forwarded or not."""
        self.exchanges.pop(exchange, None)

    def unreachable(self, peer: RemoteNode, now: float) -> None:
        """The node seems dead: send elsewhere what waits for it and may be sent twice, instead of to its deadline."""
        for exchange in [each for each in self.exchanges if each.route is peer]:
            exchange.abandon_upstream(NODE_LOST, now)

    def forget(self, peer: RemoteNode) -> None:
        """Close the connections to a node that was removed."""
        pool = self._pools.pop(peer, None)
        if pool is not None:
            pool.close()

    def _unreachable(self, exchange: Exchange, reason: str, now: float) -> None:
        peer = exchange.route
        assert isinstance(peer, RemoteNode), "set by forward"
        if reason == BUSY.reason:
            exchange.failed(BUSY, now)
            return
        warn_unreachable(self._host, peer, reason)
        if reason == OUT_OF_DESCRIPTORS:
            exchange.failed(NODE_FULL, now)
            return
        self._gossip.report_forward_failure(peer.id, now)
        exchange.failed(NODE_UNREACHABLE, now)
