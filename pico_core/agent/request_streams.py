"""The requests in the streams of an ``http`` listener, whatever serves them."""

from collections.abc import Mapping

from pico_core.agent.counts import ServiceCounts
from pico_core.agent.service import ServiceHost, warn_failed
from pico_core.config.agent import ListenerConfig
from pico_core.http.message import HeadLimits, MessageError, ResponseHead
from pico_core.http.writing import NO_DETAILS, error_message
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.downstream import ClientFacts
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import SERVICE_TIMEOUT, Evidence
from pico_core.proxy.http1.downstream import DownstreamConnection
from pico_core.proxy.tracing import Tracer
from pico_core.tunnel.channel import StreamChannel

HEAD_TIMEOUT_S = 30.0
"""For a request's head in a stream; the server has it complete before it opens one."""

NEXT_REQUEST_TIMEOUT_S = 300.0
"""How long a stream may wait for its next request. The server closes it long before (``KEEP_IDLE_STREAM_S``)."""

MAX_HEAD_BYTES = 17 << 20
"""The highest ``proxy.http.max_header_bytes`` of a server, and the fields that servers add. The server's limit counts;
all unfinished heads of the agent together have a bound of their own (``HeadBudget``)."""

HEAD_LIMITS = HeadLimits(max_head_bytes=MAX_HEAD_BYTES)

TUNNEL_CLIENT = ClientFacts("")
"""The client of all requests: the server, which says in the X-Forwarded fields on whose behalf."""


class RequestStreams:
    """A ``StreamHandler``, and the ``RequestSource`` of the streams: there is one service to go to.

    A subclass fills in ``send``.
    """

    __slots__ = (
        "access_log", "closing", "config", "counts", "head_limits", "header_timeout_s", "heads", "host",
        "idle_timeout_s", "response_timeout_s", "timed_out", "tracer",
    )  # fmt: skip

    def __init__(self, host: ServiceHost, config: ListenerConfig, access_log: AccessLogger | None) -> None:
        self.head_limits = HEAD_LIMITS
        self.heads = host.heads
        self.header_timeout_s = HEAD_TIMEOUT_S
        self.idle_timeout_s = NEXT_REQUEST_TIMEOUT_S
        self.response_timeout_s = config.timeout_s
        self.timed_out = SERVICE_TIMEOUT
        self.closing = False
        self.counts = ServiceCounts()
        self.host = host
        self.config = config
        self.access_log = access_log
        self.tracer: Tracer | None = None

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Serve the requests of a stream."""
        DownstreamConnection(channel, self, self.host, TUNNEL_CLIENT, now)

    def begin(self, exchange: Exchange, now: float) -> None:
        """Send the request to the service."""
        exchange.endpoint = self.config.endpoint_id
        exchange.request_id = exchange.head.request_id
        exchange.is_entry = False
        if self.tracer is not None:
            self.tracer.begin(exchange)
        self.send(exchange, now)

    def answered(self, exchange: Exchange, now: float) -> None:
        """The service works; nothing is kept about it."""

    def failed(self, exchange: Exchange, now: float) -> None:
        """Report the failure of the service."""
        failure = exchange.failure
        if failure is not None and failure.evidence is not Evidence.STALE:
            warn_failed(self.host, self.config, failure)

    def retry(self, exchange: Exchange, now: float) -> None:
        """Use a new connection where an idle one had ended; for all else the server may have a better choice."""
        if exchange.failure is not None and exchange.failure.evidence is Evidence.STALE:
            self.counts.retries += 1
            self.send(exchange, now, fresh=True)
        else:
            exchange.give_up(now)

    def own_answer(self, exchange: Exchange, status: int, message: str, fields: bytes) -> tuple[ResponseHead, bytes]:
        """Tell the server what failed, which makes the client's answer of it. Only Pico's servers get the details."""
        failure = exchange.failure
        if failure is not None and failure.reason == exchange.reason:
            fields += failure.fields_for_peer(tells_all=bool(exchange.request_id))
        return error_message(status, message, fields)

    def send(self, exchange: Exchange, now: float, *, fresh: bool = False) -> None:
        """Send the request to the service; ``fresh`` asks for a new connection."""
        raise NotImplementedError

    def finished(self, exchange: Exchange, now: float) -> None:
        """Count and log an exchange that is over."""
        self.counts.finished(exchange)
        if self.access_log is not None:
            self.access_log.add(exchange, exchange.head.forwarded_for, now)
        if self.tracer is not None:
            self.tracer.finished(exchange, now)

    def refused(self, error: MessageError, client: ClientFacts, now: float) -> tuple[bytes, Mapping[str, str], bytes]:
        """Log that the server sent bytes that are not a request."""
        self.host.warn(
            "agent", "the server sent bytes that are not a request", status=error.status, reason=error.reason
        )
        return b"", NO_DETAILS, b""
