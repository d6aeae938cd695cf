"""Keep-alive connections to one place: the agent's to its service, and a node's to another node."""

from collections.abc import Callable

from pico_core.http.message import HeadLimits
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import Connector
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import IDEMPOTENT, SERVICE_LOST, SERVICE_REFUSED, SERVICE_STALE, Failure
from pico_core.proxy.kept import IdleUpstreams, Keep, KeptUpstream
from pico_core.proxy.states import OVER

PROVEN_S = 0.05
"""How long an idle connection must have stayed open before others are trusted with a request that cannot be repeated:
a service that ends connections sooner does so after each response."""


class ConnectionPool:
    """Connections to ``host:port``, opened when an exchange needs one. See ``send``."""

    believes_failures = False

    def __init__(
        self,
        connector: Connector,
        host: str,
        port: int,
        keep: Keep,
        *,
        limit: int,
        idle_timeout_s: float,
        connect_timeout_s: float,
        response_limits: HeadLimits,
        heads: HeadBudget,
        tls: str = "",
    ) -> None:
        """``keep`` makes the upstream of each connection.

        ``tls`` names the TLS profile of the driver that the connections use.
        """
        self.host = host
        self.port = port
        self.keep = keep
        self.response_limits = response_limits
        self.heads = heads
        self._connector = connector
        self._tls = tls
        self._idle = IdleUpstreams(limit, idle_timeout_s)
        self._connect_timeout_s = connect_timeout_s
        self._watched = False
        self._survived_s = 0.0
        self.introduce: Callable[[], bytes] | None = None
        """See ``KeptUpstream``."""

    @property
    def deadline_at(self) -> float:
        """When the next idle connection expires."""
        return self._idle.deadline_at

    def on_deadline(self, now: float) -> None:
        """Close what was idle for too long."""
        self._idle.expire(now)

    def send(
        self,
        exchange: Exchange,
        extra: bytes,
        now: float,
        on_failure: Callable[[Exchange, str, float], None],
        *,
        fresh: bool = False,
    ) -> None:
        """Forward ``exchange`` with the field lines ``extra``, over an idle connection or a new one.

        ``on_failure(exchange, reason, now)`` is called if none can be opened; the request was not sent then.
        """
        upstream = None if fresh else self._take(exchange, now)
        if upstream is None:
            opening = _Opening(self, exchange, extra, on_failure)
            exchange.stamp(now)
            self._connector.connect(self.host, self.port, self._connect_timeout_s, opening, self._tls)
        else:
            exchange.forward(upstream, extra, now)

    def _take(self, exchange: Exchange, now: float) -> KeptUpstream | None:
        """Return an idle connection that this request may be risked on.

        A service may end an idle connection at the moment in which a request is sent on it. A request that must not be
        executed twice is then lost, because nothing proves that the service did not read it (RFC 9112 section 9.3.1).
        So such a request takes only a connection that was idle for much less time than idle connections here survive.
        """
        if exchange.head.method not in IDEMPOTENT:
            self._survived_s = max(self._survived_s, self._idle.longest_idle_s(now))
            if self._survived_s < PROVEN_S or self._idle.shortest_idle_s(now) > self._survived_s / 2:
                return None
        return self._idle.take()

    def failure_of_loss(self, upstream: KeptUpstream) -> Failure:
        """Return the failure when the connection ended before the response."""
        if upstream.channel.refusal:
            return SERVICE_REFUSED.because(upstream.channel.refusal)
        return SERVICE_STALE if upstream.reused else SERVICE_LOST

    def release(self, upstream: KeptUpstream, now: float) -> None:
        """Keep the connection for the next exchange."""
        self._idle.put(upstream, now)
        if not self._watched:
            self._watched = True
            self._connector.timers.watch(self, now)

    def retired(self, upstream: KeptUpstream) -> None:
        """Do nothing: only idle connections are known here."""

    def discard(self, upstream: KeptUpstream, now: float) -> None:
        """Forget a connection that is gone; note how long it was kept unused."""
        if self._idle.remove(upstream):
            self._survived_s = min(self._survived_s, self._idle.idle_s(upstream, now))

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()
        self._connector.timers.unwatch(self)
        self._watched = False


class _Opening:
    """A connection being opened for an exchange."""

    __slots__ = ("_exchange", "_extra", "_on_failure", "_pool")

    def __init__(
        self,
        pool: ConnectionPool,
        exchange: Exchange,
        extra: bytes,
        on_failure: Callable[[Exchange, str, float], None],
    ) -> None:
        self._pool = pool
        self._exchange = exchange
        self._extra = extra
        self._on_failure = on_failure

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Use it, or keep it if the client did not wait for it."""
        upstream = self._pool.keep(channel, self._pool)
        upstream.introduce = self._pool.introduce
        if self._exchange.state is OVER:
            self._pool.release(upstream, now)
        else:
            self._exchange.forward(upstream, self._extra, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Tell the exchange, if it still waits."""
        if self._exchange.state is not OVER:
            self._on_failure(self._exchange, reason, now)
