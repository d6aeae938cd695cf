"""The proxy port's service: which upstream takes a request, what is added to it, what is counted and logged."""

from typing import TYPE_CHECKING

from pico_core.config.server import ServerConfig
from pico_core.http.message import HeadLimits, MessageError
from pico_core.machine.channel import TcpChannel
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.endpoint import endpoint_of
from pico_core.proxy.exchange import MAX_TRIES, Exchange
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.upstream import MISDIRECTED, MISDIRECTED_FIELD, UpstreamConnection
from pico_core.server.tcp_route import RESERVED, accept_tcp_route, tcp_endpoint

if TYPE_CHECKING:
    from pico_core.server.node import ServerNode


class ProxyRouter:
    """See ``pico_core.proxy.exchange.Service``."""

    def __init__(self, node: "ServerNode", config: ServerConfig) -> None:
        self._node = node
        self._registry = node.registry
        self._metrics = node.metrics
        log_access = config.proxy.access_log.is_enabled(config.log, "proxy.access")
        self._access_log = AccessLogger(node, "proxy.access") if log_access else None
        self.head_limits = HeadLimits(max_head_bytes=config.proxy.http.max_header_bytes)
        self.header_timeout_s = config.proxy.http.read_header_timeout_s
        self.idle_timeout_s = config.proxy.http.idle_timeout_s
        self.response_timeout_s = config.proxy.timeout_s
        self.closing = False

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Serve a client's connection."""
        downstream = DownstreamConnection(channel, self, self._node.timers, channel.host, now)
        downstream.added_fields = (
            b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " % channel.host.encode()
        )

    def begin(self, exchange: Exchange, now: float) -> None:
        """Find the endpoint and send the request on."""
        self._metrics.requests_in_flight += 1
        head = exchange.head
        try:
            if head.target.startswith(RESERVED):
                exchange.endpoint = tcp_endpoint(head)
                self._route_tcp(exchange, now)
                return
            exchange.endpoint = endpoint_of(head)
        except MessageError as error:
            exchange.fail(error.status, error.reason, now)
            return
        self._route(exchange, now)

    def retry(self, exchange: Exchange, now: float) -> None:
        """Send the request to another upstream, or to the same one if it is the only one."""
        self._metrics.retries += 1
        exchange.avoid = (*exchange.avoid, exchange.route)
        if exchange.head.target.startswith(RESERVED):
            self._route_tcp(exchange, now)
        else:
            self._route(exchange, now)

    def _route(self, exchange: Exchange, now: float) -> None:
        upstream = self._acquire(exchange, fresh=False)
        if upstream is None:
            self._route_to_node(exchange, now)
            return
        self._metrics.upstream_requests += 1
        exchange.forward(upstream, self._added_fields(exchange), now)

    def _route_to_node(self, exchange: Exchange, now: float) -> None:
        """Forward to a node that has an upstream, unless the request has made its one hop already."""
        head = exchange.head
        cluster = self._node.cluster
        from_node = head.forwarded and cluster is not None and cluster.view.is_member(exchange.downstream.client)
        peer = None
        if cluster is not None and not from_node:
            peer = cluster.view.choose(exchange.endpoint, exchange.avoid, now)
        if cluster is not None and peer is not None:
            cluster.peers.forward(exchange, peer, self._added_fields(exchange), now)
        elif from_node and head.forwarded_by_pico:
            exchange.fail(MISDIRECTED, "no available upstreams", now, MISDIRECTED_FIELD)
        else:
            exchange.fail(502, "no available upstreams", now)

    def _added_fields(self, exchange: Exchange) -> bytes:
        """Return what the service is told about the client. Only nodes are believed what they say about it."""
        head = exchange.head
        downstream = exchange.downstream
        if head.forwarded and self._node.cluster is not None and self._node.cluster.view.is_member(downstream.client):
            chain = head.forwarded_for + b", " if head.forwarded_for else b""
            return b"X-Forwarded-For: %b%b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
                chain,
                downstream.client.encode(),
                head.forwarded_proto or b"http",
                head.forwarded_host or head.host,
            )
        return b"%b%b\r\n" % (downstream.added_fields, head.host)

    def _route_tcp(self, exchange: Exchange, now: float) -> None:
        upstream = self._acquire(exchange, fresh=True)
        if upstream is None:
            if not exchange.head.upgrade:
                exchange.fail(426, "a WebSocket is wanted here", now)
            else:
                self._route_to_node(exchange, now)
            return
        channel = exchange.downstream.channel
        assert isinstance(channel, TcpChannel), "the proxy port has no other channels"
        try:
            accept_tcp_route(exchange, channel, upstream, now)
        except MessageError as error:
            upstream.give_up(now)
            exchange.fail(error.status, error.reason, now)
            return
        self._metrics.upstream_requests += 1

    def _acquire(self, exchange: Exchange, *, fresh: bool) -> UpstreamConnection | None:
        """Return a connection to an upstream of the endpoint, if possible one that was not tried before."""
        for _ in range(MAX_TRIES):
            tunnel = self._registry.choose(exchange.endpoint, exchange.avoid)
            if tunnel is None and exchange.avoid:
                tunnel = self._registry.choose(exchange.endpoint)
            if tunnel is None:
                return None
            exchange.route = tunnel
            upstream = tunnel.acquire(fresh=fresh)
            if upstream is not None:
                return upstream
            exchange.avoid = (*exchange.avoid, tunnel)
        return None

    def finished(self, exchange: Exchange, now: float) -> None:
        """Count and log an exchange that is over."""
        self._metrics.requests_in_flight -= 1
        cluster = self._node.cluster
        if cluster is not None and cluster.peers.exchanges:  # this one may be among them, wherever its last try went
            cluster.peers.finished(exchange)
        self._metrics.request(exchange, now)
        if self._access_log is not None:
            self._access_log.add(exchange, exchange.downstream.client.encode(), now)

    def refused(self, status: int, client: str, now: float) -> None:
        """Count what was no request at all."""
        self._metrics.refused(status)
        if self._access_log is not None:
            self._access_log.add_refused(status, client.encode())
