"""The upstream port: agents connect, register an endpoint, and requests go to them through mux streams."""

from collections.abc import Iterator
from typing import Protocol

from pico_core.bounds import TUNNEL_STREAMS
from pico_core.cluster.health import Health
from pico_core.http.cutting import HeadReader
from pico_core.http.message import HeadLimits, MessageError, RequestHead
from pico_core.http.parsing import parse_request_head
from pico_core.http.writing import refusal
from pico_core.machine.admission import Dismissible
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.parts import AnsweringHost, FlushScheduler, WallClock
from pico_core.machine.turns import Turns
from pico_core.mux.events import GoAwayReceived, MuxEvent, SessionFailed
from pico_core.pieces import Piece
from pico_core.proxy.exchange import Exchange
from pico_core.proxy.failures import BUSY, SERVICE_LOST, STREAM_REFUSED, TUNNEL_LOST, Failure
from pico_core.proxy.kept import IdleUpstreams, KeptUpstream
from pico_core.proxy.reasons import reason_of
from pico_core.proxy.states import RESPONDING
from pico_core.server.agreement import HANDSHAKE_LIMITS, RESERVED_PART, Agreement, Term, refusal_fields
from pico_core.server.claims import Registration
from pico_core.server.ends import keep_upstream
from pico_core.server.tcp_route import TcpOpening
from pico_core.server.tenants import Tenant
from pico_core.timers import NEVER
from pico_core.tunnel.channel import StreamChannel, dispatch, finish_tunnel, flush_tunnel
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import HandshakeError

KEEP_IDLE_STREAM_S = 60.0
"""How long a mux stream is kept for the next request. The agent's side holds a connection to its service for it."""

MAX_IDLE_STREAMS = TUNNEL_STREAMS - TUNNEL_STREAMS // RESERVED_PART
"""More idle streams than this per tunnel are closed at once: the usual limit leaves the others to raw connections."""

NO_IDLE_STREAMS = IdleUpstreams(0, 0.0)
"""Of all tunnels that have not had a stream yet: nothing is put here."""


class TunnelHost(AnsweringHost, FlushScheduler, WallClock, Protocol):
    """The part of its node that a tunnel needs."""

    turns: Turns
    head_limits: HeadLimits
    """Bounds of the heads that services send."""
    heads: HeadBudget
    """The budget of all unfinished heads."""

    def agent_behind(self, channel: TcpChannel, head: RequestHead) -> str:
        """Return the address of the agent whose request came through ``channel``, perhaps of a trusted proxy."""

    def register(self, head: RequestHead, head_bytes: bytes, client: str, now: float) -> Agreement:
        """Return the features to agree on with the agent at ``client``. Raises ``HandshakeError``."""

    def tunnel_opened(self, tunnel: "TunnelConnection", now: float) -> None:
        """The agent registered: route requests to it."""

    def tunnel_going_away(self, tunnel: "TunnelConnection", now: float) -> None:
        """The agent leaves, or has to: have the tunnel ``leave``, now or later."""

    def tunnel_leaving(self, tunnel: "TunnelConnection", now: float) -> None:
        """The agent takes no further requests; those in flight go on."""

    def tunnel_lost(self, tunnel: "TunnelConnection", reason: str, now: float) -> None:
        """The tunnel has ended, and all its streams with it; ``reason`` is one readable clause."""

    def tunnel_refused(self, client: str, status: int, code: str, reason: str) -> None:
        """A peer on the upstream port did not get a tunnel."""


class TunnelConnection(Dismissible):
    """One agent's connection: handshake, then streams. It is the source of the upstream connections inside it."""

    __slots__ = (
        "_accepted_at",
        "_farewell",
        "_host",
        "_idle",
        "_open",
        "_reader",
        "_term",
        "_tunnel",
        "_upstreams",
        "answered_at",
        "asked_to_leave",
        "believes_failures",
        "channel",
        "client_host",
        "crowded_at",
        "deadline_at",
        "endpoint",
        "health",
        "in_flight",
        "instance",
        "leaving",
        "max_streams",
        "opened_at",
        "raw",
        "registration",
        "tenant",
    )

    registration: Registration

    def __init__(self, channel: TcpChannel, host: TunnelHost, timeout_s: float, now: float) -> None:
        """The agent has ``timeout_s`` to register."""
        self._accepted_at = now
        self.channel = channel
        self.client_host = channel.host
        self.endpoint = ""
        self.raw: bool | None = None
        self.instance = b""
        self.in_flight = 0
        self.health: Health | None = None
        self.answered_at = now
        self.leaving = False
        self.max_streams = 0
        self.crowded_at = 0
        self.asked_to_leave = False
        self.believes_failures = False
        self.tenant: Tenant | None = None
        self._term: Term | None = None
        self._farewell = ""
        self.deadline_at = now + timeout_s
        self._host = host
        self._reader: HeadReader | None = HeadReader(HANDSHAKE_LIMITS)
        self._tunnel: Tunnel | None = None
        self._open = False
        self._idle = NO_IDLE_STREAMS
        self._upstreams: dict[KeptUpstream, None] | None = None  # made for the first stream
        channel.user = self
        host.timers.watch(self, now)

    @property
    def idle_since(self) -> float:
        """Since when the peer has not registered; ``NEVER`` for a tunnel."""
        return NEVER if self._open else self._accepted_at

    def dismiss(self, now: float) -> None:
        """Close the connection of a peer that has not registered."""
        self.channel.close()
        self._end("no place for more connections", now)

    # --- for the proxy ---

    @property
    def response_limits(self) -> HeadLimits:
        """Bounds of the heads that come from the service."""
        return self._host.head_limits

    @property
    def heads(self) -> HeadBudget:
        """The budget of all unfinished heads."""
        return self._host.heads

    def acquire(self, *, fresh: bool = False) -> KeptUpstream | None:
        """Return a connection to the service for one exchange; ``None`` if no more can be had now.

        One that was used before is preferred, unless it must be ``fresh`` because it is to carry raw bytes.
        """
        tenant = self.tenant
        if tenant is not None and tenant.is_full:
            return None
        upstream = None if fresh else self._idle.take()
        if upstream is None and (self._tunnel is None or not self._tunnel.session.can_open_stream):
            return None
        self.in_flight += 1
        if tenant is not None:
            tenant.in_flight += 1
        if upstream is not None or self._tunnel is None:
            return upstream
        self._host.mark_dirty(self)  # the service may send first: it must learn of the stream before any byte
        upstream = keep_upstream(StreamChannel(self._tunnel.open_stream(), self, self._host, self._host.turns), self)
        if self._upstreams is None:
            self._upstreams = {}
            self._idle = IdleUpstreams(MAX_IDLE_STREAMS, KEEP_IDLE_STREAM_S)
        self._upstreams[upstream] = None
        return upstream

    @property
    def is_full(self) -> bool:
        """Whether the tunnel works, and has no stream left for another request."""
        if self.tenant is not None and self.tenant.is_full:
            return True
        return self._tunnel is not None and not self.leaving and not self._tunnel.session.can_open_stream

    def probe(self) -> int:
        """Ask the agent for a sign of life; return how many calls before this one it has left without any."""
        if self._tunnel is None:
            return 0
        self._host.mark_dirty(self)
        return self._tunnel.probe()

    def tell(self, notice: bytes) -> None:
        """Tell the agent what has come up since it registered."""
        if self._tunnel is not None:
            self._host.mark_dirty(self)
            self._tunnel.notice(notice)

    def failure_of_loss(self, upstream: KeptUpstream) -> Failure:
        """Return the failure when the stream ended: within a response an agent cannot say more of its service."""
        channel, exchange = upstream.channel, upstream.exchange
        if self._open and exchange is not None and exchange.state is RESPONDING:
            return SERVICE_LOST
        if not self._open or not isinstance(channel, StreamChannel) or channel.is_accepted:
            return TUNNEL_LOST
        return STREAM_REFUSED if exchange is None else BUSY  # an agent refuses no request for another reason

    def exchanges(self) -> Iterator[Exchange]:
        """The requests that are in flight here, except for upgraded ones."""
        if self._tunnel is not None:
            for upstream in self._upstreams or ():
                if upstream.exchange is not None:
                    yield upstream.exchange

    def openings(self) -> Iterator[TcpOpening]:
        """The streams for raw TCP that the agent has not accepted yet."""
        if self._tunnel is not None:
            for stream in self._tunnel.session.streams.values():
                user = stream.owner.user
                if isinstance(user, TcpOpening):
                    yield user

    def release(self, upstream: KeptUpstream, now: float) -> None:
        """Keep the stream for the next request."""
        self.in_flight -= 1
        if self.tenant is not None:
            self.tenant.in_flight -= 1
        if self.leaving:
            upstream.retire()
            self._close_if_done(now)
        else:
            self._idle.put(upstream, now)

    def retired(self, upstream: KeptUpstream) -> None:
        """Forget a stream that was closed while it was idle."""
        if self._upstreams is not None:
            self._upstreams.pop(upstream, None)

    def discard(self, upstream: KeptUpstream, now: float) -> None:
        """The stream is over, in an exchange or idle."""
        self.retired(upstream)
        if not self._idle.remove(upstream):
            self.in_flight -= 1
            if self.tenant is not None:
                self.tenant.in_flight -= 1
            self._close_if_done(now)

    # --- what the TCP connection reports ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the agent."""
        tunnel = self._tunnel
        if tunnel is not None:
            events = tunnel.receive(bytes(data), now)
            if tunnel.behind:
                self.channel.hold(b"")
            self._dispatch(tunnel, events, now)
        elif self._reader is not None:
            self._receive_handshake(self._reader, bytes(data), now)

    def on_eof(self, now: float) -> None:
        """A bare FIN is how Piko's agents leave: the tunnel is gone."""
        self.channel.close()
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """The tunnel is gone. An agent that leaves has said so before (``_session_event``)."""
        self._end(self._farewell or "the connection was lost", now)

    def on_writable(self, now: float) -> None:
        """The agent takes more: send what waits in the streams."""
        if self._tunnel is not None:
            self._dispatch(self._tunnel, self._tunnel.resume_output(), now)
            self._host.mark_dirty(self)

    def on_deadline(self, now: float) -> None:
        """A ping is due, the agent is silent for too long, its token expires, or it never finished its handshake."""
        tunnel = self._tunnel
        if tunnel is None:
            self.channel.close()
            self._end("handshake timeout", now)
            return
        if self._term is not None and self._has_expired(self._term, now):
            return
        self._dispatch(tunnel, tunnel.tick(now), now)
        self._idle.expire(now)
        self.deadline_at = self._next_deadline(tunnel, now)

    def flush(self, now: float) -> None:
        """Send everything that gathered in this turn, as few WebSocket messages as possible."""
        if self._tunnel is not None and flush_tunnel(self._tunnel, self.channel):
            self._host.mark_dirty(self)

    # --- leaving ---

    def is_of(self, instance: bytes) -> bool:
        """Say whether the agent of this tunnel has named itself so."""
        return bool(instance) and self.instance == instance

    def _next_deadline(self, tunnel: Tunnel, now: float) -> float:
        """Return when to look again: wall time may jump, and is looked at with every ping at least."""
        term = self._term
        if term is None:
            return tunnel.deadline()
        until = term.expires_at if self.asked_to_leave else term.leave_at
        return min(tunnel.deadline(), now + max(until - self._host.wall_s(now), 0.0))

    def _has_expired(self, term: Term, now: float) -> bool:
        """Close the tunnel if its token has expired; shortly before, ask the agent to come again with another one."""
        wall_s = self._host.wall_s(now)
        if term.expires_at <= wall_s:
            self._farewell = "its token has expired"
            self.close(now)
            return True
        if term.leave_at <= wall_s:
            self.drain(now)
        return False

    def supersede(self, now: float) -> None:
        """The same agent has a newer tunnel: this one gets no more requests and closes when those in flight end."""
        self._farewell = "replaced by a newer tunnel of the same agent"
        self.leave(now)

    def drain(self, now: float) -> None:
        """Ask the agent to go elsewhere.

        Our agents keep this tunnel until they have another one. Others (Piko's) do not react to GO_AWAY: their tunnel
        gets no more requests and is closed when those in flight end, which makes them connect again.
        """
        if self._tunnel is None or self.asked_to_leave:
            return
        self.asked_to_leave = True
        self._tunnel.go_away()
        self._host.mark_dirty(self)
        if not self.instance:
            self._host.tunnel_going_away(self, now)

    def leave(self, now: float) -> None:
        """Take no more requests, and close when those in flight have ended."""
        if not self.leaving:
            self.leaving = True
            self._host.tunnel_leaving(self, now)
            self._idle.close()
        self._close_if_done(now)

    def close(self, now: float) -> None:
        """End the tunnel now."""
        if self._tunnel is not None:
            self._tunnel.go_away()
            finish_tunnel(self._tunnel, self.channel)
        self.channel.close()
        self._end(self._farewell or "closed by this server", now)

    # --- inside ---

    def _receive_handshake(self, reader: HeadReader, data: bytes, now: float) -> None:
        try:
            read = reader.receive(data)
        except MessageError as error:
            self._refuse(error, reader.is_head_request, now)
            return
        if read is None:
            self._host.heads.hold(self, reader.pending_bytes, now)
            return
        head, rest = read
        self._drop_head()
        try:
            self._register(head, rest, now)
        except (MessageError, HandshakeError) as error:
            self._refuse(error, head.startswith(b"HEAD "), now)

    def _register(self, head_bytes: bytes, rest: bytes, now: float) -> None:
        head = parse_request_head(head_bytes, HANDSHAKE_LIMITS)
        self.client_host = self._host.agent_behind(self.channel, head)
        agreed = self._host.register(head, head_bytes, self.client_host, now)
        self.endpoint = agreed.endpoint
        self.instance = agreed.instance
        self._term = agreed.term
        self.believes_failures = agreed.is_pico
        self.max_streams = agreed.max_streams
        self.tenant = agreed.tenant
        self.registration = agreed.registration
        self.raw = agreed.registration.is_raw
        self.channel.send(agreed.response)
        self.crowded_at = self.max_streams - self.max_streams // RESERVED_PART
        self._tunnel = Tunnel(
            now, entropy=None, max_outgoing_streams=self.max_streams, first_window_bytes=agreed.first_window_bytes
        )
        self._tunnel.session.opens_after_go_away = bool(self.instance)
        self._open = True
        self.opened_at = now
        self.deadline_at = self._next_deadline(self._tunnel, now)
        self._host.tunnel_opened(self, now)
        if rest:
            self.on_data(rest, now)

    def _refuse(self, error: MessageError | HandshakeError, bodiless: bool, now: float) -> None:
        self._drop_head()
        code = error.code or reason_of(error.status)
        self._host.tunnel_refused(self.client_host, error.status, code, error.reason)
        fields = refusal_fields(error, code)
        date = self._host.dates.line(now)
        self.channel.send(refusal(error.status, error.reason, date, fields=fields, bodiless=bodiless))
        self._end(error.reason, now)
        self._host.lingering.begin(self.channel, now)

    def head_over_budget(self, now: float) -> None:
        """Refuse the unfinished head, since those of all peers take too much memory."""
        self._refuse(MessageError(503, "too many unfinished requests"), bodiless=False, now=now)

    def _drop_head(self) -> None:
        self._reader = None
        self._host.heads.release(self)

    def _dispatch(self, tunnel: Tunnel, events: list[MuxEvent], now: float) -> None:
        dispatch(events, self._session_event, now)
        if tunnel.has_output:
            self._host.mark_dirty(self)

    def _session_event(self, event: MuxEvent, now: float) -> None:
        if isinstance(event, GoAwayReceived):
            self._farewell = "the agent moved, as asked" if self.asked_to_leave else "the agent stopped"
            self._host.tunnel_going_away(self, now)
        elif isinstance(event, SessionFailed):
            if self._tunnel is not None:
                finish_tunnel(self._tunnel, self.channel)
            self.channel.close()
            self._end(self._farewell or event.reason, now)

    def _close_if_done(self, now: float) -> None:
        if self.leaving and not self.in_flight:
            self.close(now)

    def _end(self, reason: str, now: float) -> None:
        self.deadline_at = NEVER
        self._drop_head()
        self._host.timers.unwatch(self)
        if not self._open:
            return
        self._open = False
        self.leaving = True
        tunnel, self._tunnel = self._tunnel, None
        self._host.tunnel_lost(self, reason, now)
        if tunnel is not None:
            self._dispatch(tunnel, tunnel.fail(reason), now)
