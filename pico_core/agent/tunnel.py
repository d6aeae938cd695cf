"""The agent's end of one tunnel: connect, register, take streams, until either side ends it."""

from functools import partial
from typing import Protocol

from pico_core.entropy import Entropy
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.mux.events import GoAwayReceived, MuxEvent, PongReceived, SessionFailed, StreamOpened
from pico_core.pieces import Piece
from pico_core.timers import NEVER
from pico_core.tunnel.channel import StreamChannel, dispatch, finish_tunnel, flush_tunnel
from pico_core.tunnel.tunnel import Tunnel
from pico_core.websocket.handshake import ClientHandshake, HandshakeError

MAX_STREAMS = 1_024
"""Requests at once in one tunnel; the server opens no more either."""


class TunnelOwner(Protocol):
    """Who wanted the tunnel."""

    def tunnel_opened(self, tunnel: "AgentTunnel", now: float) -> None:
        """The server accepted the registration."""

    def stream_opened(self, channel: StreamChannel, now: float) -> None:
        """The server opened a stream: a client's connection, or several requests one after the other."""

    def tunnel_going_away(self, tunnel: "AgentTunnel", now: float) -> None:
        """The server asks to go elsewhere; the tunnel works until it is closed."""

    def tunnel_lost(self, tunnel: "AgentTunnel", reason: str, now: float) -> None:
        """The tunnel is gone, or never came to be for a reason that may pass."""

    def tunnel_refused(self, tunnel: "AgentTunnel", status: int, reason: str, now: float) -> None:
        """The server refused the registration with an HTTP status."""


class AgentTunnel:
    """One attempt to reach the server and, if it succeeds, the tunnel. Next: ``leave``, or ``close``."""

    __slots__ = (
        "_channel",
        "_connection",
        "_entropy",
        "_handshake",
        "_last_ping",
        "_left",
        "_mark_dirty",
        "_node",
        "_over",
        "_owner",
        "_tunnel",
        "deadline_at",
        "opened_at",
    )

    def __init__(
        self,
        node: BaseMachine,
        owner: TunnelOwner,
        entropy: Entropy,
        handshake: ClientHandshake,
        address: tuple[str, int],
        timeout_s: float,
    ) -> None:
        self.deadline_at = node.now + timeout_s
        self.opened_at = NEVER
        self._node = node
        self._owner = owner
        self._entropy = entropy
        self._handshake = handshake
        self._channel: TcpChannel | None = None
        self._tunnel: Tunnel | None = None
        self._over = False
        self._last_ping = 0
        self._mark_dirty = partial(node.mark_dirty, self)
        self._left = False
        self._connection = node.connect(*address, timeout_s, self)

    @property
    def open(self) -> bool:
        """Whether the server accepted it and it is not lost."""
        return self._tunnel is not None and not self._over

    def leave(self, now: float) -> None:
        """Ask the server to route nothing here any more; the tunnel closes when the streams in flight have ended.

        A ping follows the GO_AWAY: its answer says that no stream is on its way any more.
        """
        if self._tunnel is not None and not self._over:
            self._tunnel.go_away()
            self._last_ping = self._tunnel.session.ping()
            self._mark_dirty()

    def close(self, now: float) -> None:
        """End it now."""
        if self._tunnel is not None:
            self._tunnel.go_away()
        self._finish()
        if self._channel is not None:
            self._channel.close()
        else:
            self._node.cancel_connect(self._connection)
        self._over = True
        self._node.timers.unwatch(self)

    # --- as a dialer ---

    def on_connected(self, channel: TcpChannel, now: float) -> None:
        """Ask for the registration."""
        self._channel = channel
        channel.user = self
        self._node.timers.watch(self, now)
        channel.send(self._handshake.request_bytes())

    def on_connect_failed(self, reason: str, now: float) -> None:
        """The server cannot be reached now."""
        self._end(reason, now)

    # --- as the user of the TCP connection ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the server."""
        if self._tunnel is not None:
            self._dispatch(self._tunnel, self._tunnel.receive(bytes(data), now), now)
            return
        try:
            rest = self._handshake.receive(bytes(data))
        except HandshakeError as error:
            self._refused(error, now)
            return
        if rest is not None:
            self._opened(rest, now)

    def on_eof(self, now: float) -> None:
        """A bare FIN is how servers leave."""
        if self._tunnel is None:
            try:
                self._handshake.receive_eof()
            except HandshakeError as error:
                self._refused(error, now)
            return
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """The connection is gone."""
        self._end("connection closed by the server", now)

    def on_writable(self, now: float) -> None:
        """The server takes more."""
        if self._tunnel is not None:
            self._dispatch(self._tunnel, self._tunnel.resume_output(), now)
            self._mark_dirty()

    def on_deadline(self, now: float) -> None:
        """The registration takes too long, or a ping is due, or the server is silent."""
        if self._tunnel is None:
            self._end("registration timed out", now)
            return
        self._dispatch(self._tunnel, self._tunnel.tick(now), now)
        self._mark_dirty()
        self.deadline_at = self._tunnel.deadline()

    def flush(self, now: float) -> None:
        """Send what gathered in this turn."""
        if self._tunnel is not None and self._channel is not None:
            flush_tunnel(self._tunnel, self._channel, self._mark_dirty)
            self._end_if_left(self._tunnel, now)

    # --- inside ---

    def _finish(self) -> None:
        if self._tunnel is not None and self._channel is not None:
            finish_tunnel(self._tunnel, self._channel)

    def _opened(self, rest: bytes, now: float) -> None:
        self._tunnel = Tunnel(now, entropy=self._entropy, max_incoming_streams=MAX_STREAMS)
        self.opened_at = now
        self.deadline_at = self._tunnel.deadline()
        self._owner.tunnel_opened(self, now)
        if rest:
            self.on_data(rest, now)

    def _dispatch(self, tunnel: Tunnel, events: list[MuxEvent], now: float) -> None:
        dispatch(events, self._session_event, now)
        self._end_if_left(tunnel, now)
        if tunnel.session.has_output:
            self._mark_dirty()

    def _end_if_left(self, tunnel: Tunnel, now: float) -> None:
        """End once nothing is in flight or on its way. The last stream ends by what is received, or by what is sent."""
        if self._left and not tunnel.session.streams:
            self._end("left", now)

    def _session_event(self, event: MuxEvent, now: float) -> None:
        if isinstance(event, StreamOpened):
            self._owner.stream_opened(StreamChannel(event.stream, self._mark_dirty), now)
        elif isinstance(event, PongReceived):
            self._left = self._left or event.number == self._last_ping
        elif isinstance(event, GoAwayReceived):
            self._owner.tunnel_going_away(self, now)
        elif isinstance(event, SessionFailed):
            self._end(event.reason, now)

    def _refused(self, error: HandshakeError, now: float) -> None:
        self._over = True
        self._node.timers.unwatch(self)
        if self._channel is not None:
            self._channel.close()
        self._owner.tunnel_refused(self, error.status, error.reason, now)

    def _end(self, reason: str, now: float) -> None:
        if self._over:
            return
        self._over = True
        self._node.timers.unwatch(self)
        self._finish()
        if self._channel is not None:
            self._channel.close()
        self._owner.tunnel_lost(self, reason, now)
        if self._tunnel is not None:
            self._dispatch(self._tunnel, self._tunnel.fail(reason), now)
