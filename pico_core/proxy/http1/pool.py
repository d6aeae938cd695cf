"""Keep-alive connections to one place: the agent's to its service, and a node's to another node."""

from collections.abc import Callable

from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.proxy.states import OVER
from pico_core.timers import NEVER


class IdleConnections:
    """Connections that wait for their next exchange; the last one used is taken first, so that the rest can expire."""

    __slots__ = ("_connections", "_idle_timeout_s", "_limit")

    def __init__(self, limit: int, idle_timeout_s: float) -> None:
        self._connections: list[UpstreamConnection] = []
        self._limit = limit
        self._idle_timeout_s = idle_timeout_s

    @property
    def deadline_at(self) -> float:
        """When the one unused for longest expires."""
        return self._connections[0].deadline_at if self._connections else NEVER

    def put(self, upstream: UpstreamConnection, now: float) -> None:
        """Keep a connection, or close it if there are enough."""
        if len(self._connections) >= self._limit:
            upstream.channel.close()
            return
        upstream.deadline_at = now + self._idle_timeout_s
        self._connections.append(upstream)

    def take(self) -> UpstreamConnection | None:
        """Return a connection, if there is one."""
        return self._connections.pop() if self._connections else None

    def remove(self, upstream: UpstreamConnection) -> bool:
        """Forget a connection that was lost; return whether it was here."""
        if upstream in self._connections:
            self._connections.remove(upstream)
            return True
        return False

    def expire(self, now: float) -> None:
        """Close what was unused for too long."""
        while self._connections and self._connections[0].deadline_at <= now:
            self._connections.pop(0).channel.close()

    def close(self) -> None:
        """Close all of them."""
        while self._connections:
            self._connections.pop().channel.close()


class ConnectionPool:
    """Connections to ``host:port``, opened when an exchange needs one. See ``send``."""

    def __init__(
        self,
        connector: Connector,
        host: str,
        port: int,
        *,
        limit: int,
        idle_timeout_s: float,
        connect_timeout_s: float,
        retries_misdirected: bool = False,
        tls: str = "",
    ) -> None:
        """``retries_misdirected`` says that a marked 421 from there means: not processed, choose again.

        ``tls`` names the TLS profile of the driver that the connections use.
        """
        self.host = host
        self.port = port
        self.retries_misdirected = retries_misdirected
        self._connector = connector
        self._tls = tls
        self._idle = IdleConnections(limit, idle_timeout_s)
        self._connect_timeout_s = connect_timeout_s
        self._watched = False

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
        upstream = None if fresh else self._idle.take()
        if upstream is None:
            opening = _Opening(self, exchange, extra, on_failure)
            exchange.stamp(now)
            self._connector.connect(self.host, self.port, self._connect_timeout_s, opening, self._tls)
        else:
            exchange.forward(upstream, extra, now)

    def release(self, upstream: UpstreamConnection, now: float) -> None:
        """Keep the connection for the next exchange."""
        self._idle.put(upstream, now)
        if not self._watched:
            self._watched = True
            self._connector.timers.watch(self, now)

    def discard(self, upstream: UpstreamConnection, now: float) -> None:
        """The connection is gone."""
        self._idle.remove(upstream)

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
        upstream = UpstreamConnection(channel, self._pool)
        if self._exchange.state is OVER:
            self._pool.release(upstream, now)
        else:
            self._exchange.forward(upstream, self._extra, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Tell the exchange, if it still waits."""
        if self._exchange.state is not OVER:
            self._on_failure(self._exchange, reason, now)
