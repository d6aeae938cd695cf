"""The router of the proxy port: which upstream takes a request, what is added to it, what is counted and logged."""

from typing import Protocol

from pico_core.http.message import HeadLimits, MessageError
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Emitter
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.downstream import Client
from pico_core.proxy.endpoint import endpoint_of
from pico_core.proxy.exchange import MAX_TRIES, Exchange
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.http1.upstream import MISDIRECTED, MISDIRECTED_FIELD, UpstreamConnection
from pico_core.server.facts import Facts
from pico_core.server.peers import Peers
from pico_core.server.tcp_route import RESERVED, accept_tcp_route, tcp_endpoint
from pico_core.timers import Timers


class RouterHost(Emitter, Protocol):
    """What the router needs of the machine."""

    timers: Timers


class ProxyRouter:
    """A ``Router`` for clients and for other nodes."""

    def __init__(self, host: RouterHost, facts: Facts, peers: Peers) -> None:
        config = facts.config
        self._host = host
        self._peers = peers
        self._view = facts.view
        self._registry = facts.registry
        self._metrics = facts.metrics
        log_access = config.proxy.access_log.is_enabled(config.log, "proxy.access")
        self._access_log = AccessLogger(host, "proxy.access") if log_access else None
        self.head_limits = HeadLimits(max_head_bytes=config.proxy.http.max_header_bytes)
        self.header_timeout_s = config.proxy.http.read_header_timeout_s
        self.idle_timeout_s = config.proxy.http.idle_timeout_s
        self.response_timeout_s = config.proxy.timeout_s
        self.closing = False

    def accept(self, channel: TcpChannel, now: float) -> None:
        """Serve a client's connection."""
        host = channel.host
        fields = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " % host.encode()
        DownstreamConnection(channel, self, self._host.timers, Client(host, fields), now)

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
        from_node = head.forwarded and self._view.is_member(exchange.downstream.client.host)
        peer = None if from_node else self._view.choose(exchange.endpoint, exchange.avoid, now)
        if peer is not None:
            self._peers.forward(exchange, peer, self._added_fields(exchange), now)
        elif from_node and head.forwarded_by_pico:
            exchange.fail(MISDIRECTED, "no available upstreams", now, MISDIRECTED_FIELD)
        else:
            exchange.fail(502, "no available upstreams", now)

    def _added_fields(self, exchange: Exchange) -> bytes:
        """Return the field lines that tell the service about the client. Only other nodes are trusted to report it."""
        head = exchange.head
        client = exchange.downstream.client
        if head.forwarded and self._view.is_member(client.host):
            chain = head.forwarded_for + b", " if head.forwarded_for else b""
            return b"X-Forwarded-For: %b%b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
                chain,
                client.host.encode(),
                head.forwarded_proto or b"http",
                head.forwarded_host or head.host,
            )
        return b"%b%b\r\n" % (client.fields, head.host)

    def _route_tcp(self, exchange: Exchange, now: float) -> None:
        upstream = self._acquire(exchange, fresh=True)
        if upstream is None:
            if not exchange.head.upgrade:
                exchange.fail(426, "a WebSocket is wanted here", now)
            else:
                self._route_to_node(exchange, now)
            return
        try:
            accept_tcp_route(exchange, upstream, now)
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
        if self._peers.exchanges:  # this one may be among them, wherever its last try went
            self._peers.finished(exchange)
        self._metrics.request(exchange, now)
        if self._access_log is not None:
            self._access_log.add(exchange, exchange.downstream.client.host.encode(), now)

    def refused(self, status: int, client: Client, now: float) -> None:
        """Count and log bytes that were not a request."""
        self._metrics.refused(status)
        if self._access_log is not None:
            self._access_log.add_refused(status, client.host.encode())
