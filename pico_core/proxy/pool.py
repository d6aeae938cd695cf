"""Keep-alive connections to one place: the agent's to its service, and a node's to another node."""

from collections.abc import Callable

from pico_core.fair_queue import FairQueue
from pico_core.http.message import HeadLimits
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import Connector
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import BUSY, IDEMPOTENT, SERVICE_LOST, SERVICE_REFUSED, SERVICE_STALE, Failure
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
        may_exceed: Callable[[int], bool] | None = None,
        max_opening: int | None = None,
    ) -> None:
        """``keep`` makes the upstream of each connection. ``tls`` names the TLS profile of the driver that they use.

        ``limit`` idle ones are kept; where there are as many, ``may_exceed`` says whether one more is. ``max_opening``
        is how many connections are opened at once, ``None`` for one for each exchange that finds none idle. Further
        exchanges wait for the first that is opened or free, in the order of their coming, and endpoints take turns. See
        ``waits_in_vain``.
        """
        self.host = host
        self.port = port
        self.keep = keep
        self.response_limits = response_limits
        self.heads = heads
        self._connector = connector
        self._tls = tls
        self._idle = IdleUpstreams(limit, idle_timeout_s, may_exceed)
        self._connect_timeout_s = connect_timeout_s
        self._max_opening = max_opening
        self._opening = 0
        self._waiting: FairQueue[_Opening] = FairQueue()
        """By endpoint: what waits until it may open a connection."""
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

        ``on_failure(exchange, reason, now)`` is called if none can be opened; the request was not sent then. The reason
        is that of ``BUSY`` where the request has waited in vain.
        """
        upstream = None if fresh else self._take(exchange, now)
        if upstream is not None:
            exchange.forward(upstream, extra, now)
            return
        exchange.stamp(now)
        opening = _Opening(self, exchange, extra, on_failure, now, fresh=fresh)
        if self._max_opening is None or self._opening < self._max_opening:
            self._open(opening)
        else:
            self._waiting.put(exchange.endpoint, opening)

    def waits_in_vain(self, exchange: Exchange, waited_s: float, now: float) -> bool:
        """Return whether a request, which has waited so long for its turn, should be answered 503 instead of sent."""
        return False

    def _open(self, opening: "_Opening") -> None:
        self._opening += 1
        self._connector.connect(self.host, self.port, self._connect_timeout_s, opening, self._tls)

    def opened(self, now: float) -> None:
        """A connection was opened, or could not be: open the next one that is waited for."""
        self._opening -= 1
        late = self._pass_over(now)
        if self._waiting:
            self._open(self._waiting.take())
        for each in late:
            each.fail(BUSY.reason, now)

    def expire_waiting(self, reason: str, now: float) -> None:
        """No connection could be opened: so it is for those that waited for as long as that may take."""
        before = now - self._connect_timeout_s
        for opening in self._waiting.remove_first(lambda each: each.began_at <= before):
            opening.fail(reason, now)

    def _pass_over(self, now: float) -> "list[_Opening]":
        """Forget what is next and nobody wants any more; remove and return what is next and has waited in vain."""
        late = []
        while (opening := self._waiting.first()) is not None:
            if opening.is_wanted:
                if not self.waits_in_vain(opening.exchange, now - opening.began_at, now):
                    break
                late.append(opening)
            self._waiting.skip()
        return late

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
        if self._waiting:
            self._serve_next(now)

    def _serve_next(self, now: float) -> None:
        """Give the exchange that waits next a connection that is idle, if it may use one."""
        late = self._pass_over(now)
        opening = self._waiting.first()
        if opening is not None and not opening.fresh and (upstream := self._take(opening.exchange, now)) is not None:
            self._waiting.take()
            opening.exchange.forward(upstream, opening.extra, now)
        for each in late:
            each.fail(BUSY.reason, now)

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
    """A connection for an exchange, which is being opened or waits for that."""

    __slots__ = ("_on_failure", "_pool", "began_at", "exchange", "extra", "fresh")

    def __init__(
        self,
        pool: ConnectionPool,
        exchange: Exchange,
        extra: bytes,
        on_failure: Callable[[Exchange, str, float], None],
        now: float,
        *,
        fresh: bool,
    ) -> None:
        self.exchange = exchange
        self.extra = extra
        self.fresh = fresh
        self.began_at = now
        self._pool = pool
        self._on_failure = on_failure

    @property
    def is_wanted(self) -> bool:
        """Whether the client still waits."""
        return self.exchange.state is not OVER

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Use it, or keep it if the client did not wait for it."""
        upstream = self._pool.keep(channel, self._pool)
        upstream.introduce = self._pool.introduce
        self._pool.opened(now)
        if self.is_wanted:
            self.exchange.forward(upstream, self.extra, now)
        else:
            self._pool.release(upstream, now)

    def on_connect_failed(self, reason: str, now: float) -> None:
        """Tell the exchange, if it still waits."""
        self._pool.expire_waiting(reason, now)
        self._pool.opened(now)
        self.fail(reason, now)

    def fail(self, reason: str, now: float) -> None:
        """Tell the exchange, if it still waits, that it gets no connection."""
        if self.is_wanted:
            self._on_failure(self.exchange, reason, now)
