"""An ``http`` listener: requests that come through the tunnel go to the local service over pooled connections."""

from pico_core.agent.request_streams import RequestStreams
from pico_core.agent.service import ServiceHost, connect_failure
from pico_core.config.agent import ListenerConfig, service_profile
from pico_core.http.client_lines import lines_as_they_came
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.http1.upstream import UpstreamConnection
from pico_core.proxy.pool import ConnectionPool


class HttpStreams(RequestStreams):
    """The requests of a listener with a service that is reached over HTTP/1.1."""

    __slots__ = ("_pool",)

    def __init__(self, host: ServiceHost, config: ListenerConfig, access_log: AccessLogger | None) -> None:
        super().__init__(host, config, access_log)
        self._pool = ConnectionPool(
            host,
            config.addr.host,
            config.addr.port,
            UpstreamConnection,
            limit=config.http_client.max_idle_conns,
            idle_timeout_s=config.http_client.idle_conn_timeout_s,
            connect_timeout_s=config.timeout_s,
            response_limits=self.head_limits,
            heads=self.heads,
            tls=service_profile(config) if config.addr.is_secure else "",
        )

    def send(self, exchange: Exchange, now: float, *, fresh: bool = False) -> None:
        """Send the request over an idle connection, or over a new one."""
        self._pool.send(exchange, lines_as_they_came(exchange.head), now, self._unreachable, fresh=fresh)

    def _unreachable(self, exchange: Exchange, reason: str, now: float) -> None:
        exchange.failed(connect_failure(reason), now)
