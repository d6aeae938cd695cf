"""Which client gets the last streams of an endpoint whose tunnels are nearly full, and which one waits.

A tunnel carries ``max_streams`` requests at once. While seven eighths of them are enough, nothing here is asked. Beyond
that, one client must not keep out all others:

- The last eighth is for clients that hold less than an equal share of the endpoint's streams.
- A request that gets no stream waits up to ``WAIT_S`` for one, then it is answered 503. A node that is busy reads its
  clients late, and carries out its checks as late: it takes that time off the wait, and lets nobody wait if nothing
  is left of it.
- At most half as many wait as there are streams: others would wait in vain, and all their refusals in one turn would
  come late.
- Clients that send a body, or read an answer, slower than ``MIN_BYTES_PER_S`` lose their requests to those that wait.

Clients are told apart by their address. Those behind one balancer that is not among the trusted proxies are one client,
and keep seven eighths.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from pico_core.client_group import client_group
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.states import OVER, REQUESTED, RESPONDING
from pico_core.server.registry import Registry
from pico_core.server.tunnels import TunnelConnection
from pico_core.timers import NEVER, Timers

WAIT_S = 0.05
"""So that a client has its answer within a tenth of a second, also if that is a refusal and the node is busy."""

ROOM_CHECK_S = 0.01
"""How often those that wait are looked at. A stream that is free is used so much later at most."""

MAX_WAITING = 2_048
"""Requests that wait at once, in all endpoints, each with at most ``MAX_REPLAY_BYTES`` of its body."""

STREAMS_PER_WAITING = 2
"""One request waits for so many streams of its endpoint: a tunnel that answers within 0.1 s frees half of its streams
in ``WAIT_S``."""

MAX_TRIED = 64
"""How many waiting requests of one endpoint that still get no stream are looked at in one check."""

COUNT_S = 0.1
"""How old the count of a client's streams may be: counting costs 0.2 ms for a full tunnel."""

MIN_BYTES_PER_S = 240
RATE_GRACE_S = 5.0
"""A client that is slower than this, on average since the request began and after a grace, is slower than any modem."""

SHED_S = 0.5
"""How often the requests of one endpoint are searched for slow ones."""


class CrowdingHost(Protocol):
    """The part of the machine that waiting needs."""

    timers: Timers


class Crowding:
    """The requests that wait for a stream, and how many streams of a nearly full endpoint each client holds."""

    def __init__(
        self,
        host: CrowdingHost,
        registry: Registry[TunnelConnection],
        route: Callable[[Exchange, float], bool],
        give_up: Callable[[Exchange, float], None],
    ) -> None:
        """``route`` sends a request to a tunnel here and returns whether one had room; ``give_up`` answers it."""
        self.raws: dict[str, dict[Exchange, None]] = {}
        """By endpoint: requests whose stream carries raw bytes, upgraded ones and those of the TCP route."""
        self.waiting: dict[str, dict[Exchange, float]] = {}
        """By endpoint: the requests that wait, and until when, in this order."""
        self._host = host
        self._registry = registry
        self._route = route
        self._give_up = give_up
        self._waiting_count = 0
        self._counts: dict[str, tuple[float, Counter[str]]] = {}
        self._shed_at: dict[str, float] = {}
        self._checking = False
        self._check_due_at = NEVER
        self._late = (0.0, 0.0)
        self._closed = False

    # --- shares ---

    def admits(self, exchange: Exchange, now: float) -> bool:
        """Return whether the client may take one of the last streams of its endpoint, and count it if so."""
        endpoint = exchange.endpoint
        counted_at, counts = self._counts.get(endpoint, (-COUNT_S, Counter()))
        if now - counted_at >= COUNT_S:
            counts = Counter(client_group(each.client_host) for each in self._exchanges(endpoint))
            self._counts[endpoint] = (now, counts)
            self._begin_checks(now)
        client = client_group(exchange.client_host)
        held = counts[client]
        if held >= self._capacity(endpoint) // (len(counts) + 1):
            return False
        counts[client] = held + 1
        return True

    def _capacity(self, endpoint: str) -> int:
        """Return how many streams the tunnels here have."""
        return sum(tunnel.max_streams for tunnel in self._registry.members(endpoint))

    def raw(self, exchange: Exchange) -> None:
        """Count a request whose stream in a tunnel here carries raw bytes. Next: ``finished``."""
        self.raws.setdefault(exchange.endpoint, {})[exchange] = None

    def finished(self, exchange: Exchange) -> None:
        """Forget a request that is over: it may be one that waits, or holds a raw stream."""
        raws = self.raws.get(exchange.endpoint, {})
        if exchange in raws:
            del raws[exchange]
            if not raws:
                del self.raws[exchange.endpoint]
        self._leave(exchange)

    def _exchanges(self, endpoint: str) -> Iterator[Exchange]:
        for tunnel in self._registry.members(endpoint):
            yield from tunnel.exchanges()
        yield from self.raws.get(endpoint, ())

    # --- waiting ---

    def hold(self, exchange: Exchange, now: float) -> bool:
        """Let a request wait for a stream of a tunnel here; return whether it may. Next: ``route`` or ``give_up``."""
        endpoint = exchange.endpoint
        until = now + WAIT_S - self._lateness_s(now)
        count = len(self.waiting.get(endpoint, ()))
        if self._closed or until <= now or self._waiting_count >= MAX_WAITING:
            return False
        if count * STREAMS_PER_WAITING >= self._capacity(endpoint):
            return False
        self.waiting.setdefault(endpoint, {})[exchange] = until
        self._waiting_count += 1
        self._begin_checks(now)
        return True

    def _lateness_s(self, now: float) -> float:
        """Return for how long the bytes of this turn may have lain in the kernel: the check of the turn is as late."""
        checked_at, late_s = self._late
        return late_s if checked_at == now else max(now - self._check_due_at, 0.0)

    def close(self, now: float) -> None:
        """Answer those that wait: the node stops."""
        self._closed = True
        for exchanges in list(self.waiting.values()):
            for exchange in list(exchanges):
                self._leave(exchange)
                self._give_up(exchange, now)

    def _leave(self, exchange: Exchange) -> None:
        waiting = self.waiting.get(exchange.endpoint, {})
        if exchange in waiting:
            del waiting[exchange]
            self._waiting_count -= 1
            if not waiting:
                del self.waiting[exchange.endpoint]

    def _begin_checks(self, now: float) -> None:
        if not self._checking:
            self._checking = True
            self._schedule_check(now)

    def _schedule_check(self, now: float) -> None:
        self._check_due_at = now + ROOM_CHECK_S
        self._host.timers.schedule(self._check_due_at, self._check)

    def _check(self, now: float) -> None:
        late_s = max(now - self._check_due_at, 0.0)
        self._late = (now, late_s)
        for endpoint, waiting in list(self.waiting.items()):
            if now >= self._shed_at.get(endpoint, 0.0):
                self._shed_at[endpoint] = now + SHED_S
                self._shed(endpoint, now)
            self._serve(list(waiting.items()), now, late_s)
        for endpoint in [each for each, (at, _) in self._counts.items() if now - at >= COUNT_S]:
            del self._counts[endpoint]
        self._checking = bool(self.waiting or self._counts)
        if self._checking:
            self._schedule_check(now)
        else:
            self._check_due_at = NEVER
            self._shed_at.clear()

    def _serve(self, waiting: list[tuple[Exchange, float]], now: float, late_s: float) -> None:
        """Send on those that have room now, in the order of their coming, and answer those whose time is over."""
        tries = MAX_TRIED
        for exchange, until in waiting:
            if tries and exchange.state is not OVER:
                if self._route(exchange, now):
                    self._leave(exchange)
                    continue
                tries -= 1
            if until <= now + late_s and exchange.state is not OVER:
                self._leave(exchange)
                self._give_up(exchange, now)

    def _shed(self, endpoint: str, now: float) -> None:
        """End the requests of clients that are too slow."""
        for exchange in list(self._exchanges(endpoint)):
            due_bytes = MIN_BYTES_PER_S * (now - exchange.started_at - RATE_GRACE_S)
            if exchange.state is RESPONDING:
                if not exchange.downstream.writable and exchange.sent_bytes < due_bytes:
                    exchange.on_deadline(now)
            elif exchange.state is REQUESTED and not exchange.request_done and exchange.received_bytes < due_bytes:
                upstream = exchange.upstream
                if upstream is not None and upstream.writable:
                    exchange.on_deadline(now)
