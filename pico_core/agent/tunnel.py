"""The agent's end of one tunnel: takes the streams that the server opens, until either side ends it."""

from typing import Protocol

from pico_core.entropy import Entropy
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import FlushScheduler
from pico_core.machine.turns import Turns
from pico_core.mux.events import GoAwayReceived, MuxEvent, NoticeReceived, PongReceived, SessionFailed, StreamOpened
from pico_core.mux.stream import CLOSED
from pico_core.pieces import Piece
from pico_core.timers import Timers
from pico_core.tunnel.channel import GONE, StreamChannel, dispatch, finish_tunnel, flush_tunnel
from pico_core.tunnel.tunnel import Tunnel


class AgentTunnelHost(FlushScheduler, Protocol):
    """The part of its machine that a tunnel needs."""

    timers: Timers
    turns: Turns


class TunnelUser(Protocol):
    """The part that serves the streams of a tunnel."""

    def stream_opened(self, channel: StreamChannel, now: float) -> None:
        """The server opened a stream: a client's connection, or several requests one after the other."""

    def tunnel_going_away(self, tunnel: "AgentTunnel", now: float) -> None:
        """The server asks to go elsewhere; the tunnel works until it is closed."""

    def tunnel_noticed(self, text: bytes, now: float) -> None:
        """The server told something that came up after the registration."""

    def tunnel_lost(self, tunnel: "AgentTunnel", reason: str, now: float) -> None:
        """The tunnel has ended, and all its streams with it; ``reason`` is one readable clause."""


class AgentTunnel:
    """A tunnel whose handshake is done. Next: ``on_data`` with the bytes behind it; at last ``leave`` or ``close``."""

    __slots__ = (
        "_channel",
        "_host",
        "_last_ping",
        "_left",
        "_lingers_s",
        "_over",
        "_tunnel",
        "_user",
        "deadline_at",
        "opened_at",
    )

    def __init__(
        self,
        host: AgentTunnelHost,
        user: TunnelUser,
        channel: TcpChannel,
        entropy: Entropy,
        max_streams: int,
        first_window_bytes: int,
        lingers_s: float,
        now: float,
    ) -> None:
        """``max_streams`` is how many streams the server may have open; ``first_window_bytes`` was agreed on.

        ``lingers_s`` is how long it takes further streams after ``leave``.
        """
        self.opened_at = now
        self._host = host
        self._user = user
        self._channel = channel
        self._tunnel = Tunnel(
            now,
            entropy=entropy,
            max_incoming_streams=max_streams,
            max_outgoing_streams=0,
            first_window_bytes=first_window_bytes,
        )
        self._over = False
        self._last_ping: int | None = None
        self._left = False
        self._lingers_s = lingers_s
        self.deadline_at = self._tunnel.deadline()
        channel.user = self
        host.timers.watch(self, now)

    def leave(self, now: float) -> None:
        """Ask the server to route nothing here any more; the tunnel closes when the streams in flight have ended.

        A ping follows the GO_AWAY: its answer says that the server has read both. A Pico server may go on opening
        streams until its other nodes have heard, and then closes the tunnel itself.
        """
        if not self._over:
            self._tunnel.go_away()
            self._last_ping = self._tunnel.session.ping()
            self._host.mark_dirty(self)

    def close(self, now: float) -> None:
        """End the tunnel now."""
        if not self._over:
            self._over = True
            self._tunnel.go_away()
            self._finish()

    def cut(self, now: float) -> None:
        """End the tunnel now, and tell its streams."""
        self._tunnel.go_away()
        self._end("left", now)

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._tunnel.session.streams)

    # --- as the user of the TCP connection ---

    def on_data(self, data: Piece, now: float) -> None:
        """Take bytes from the server."""
        events = self._tunnel.receive(bytes(data), now)
        if self._tunnel.behind:
            self._channel.hold(b"")
        self._dispatch(events, now)

    def on_eof(self, now: float) -> None:
        """A bare FIN is how servers leave."""
        self.on_lost(now)

    def on_lost(self, now: float) -> None:
        """End the tunnel, whose connection is gone."""
        self._end("connection closed by the server", now)

    def on_writable(self, now: float) -> None:
        """The server takes more."""
        self._dispatch(self._tunnel.resume_output(), now)
        self._host.mark_dirty(self)

    def on_deadline(self, now: float) -> None:
        """A ping is due, or the server is silent."""
        self._dispatch(self._tunnel.tick(now), now)
        self.deadline_at = self._tunnel.deadline()

    def flush(self, now: float) -> None:
        """Send the frames that gathered in this turn."""
        if not self._over:
            if flush_tunnel(self._tunnel, self._channel):
                self._host.mark_dirty(self)
            self._end_if_left(now)

    # --- inside ---

    def _finish(self) -> None:
        self._host.timers.unwatch(self)
        finish_tunnel(self._tunnel, self._channel)
        self._channel.close()

    def _dispatch(self, events: list[MuxEvent], now: float) -> None:
        dispatch(events, self._session_event, now)
        self._end_if_left(now)
        if self._tunnel.has_output:
            self._host.mark_dirty(self)

    def _end_if_left(self, now: float) -> None:
        """End once nothing is in flight or on its way. The last stream ends by what is received, or by what is sent."""
        if self._left and not self._tunnel.session.streams:
            self._end("left", now)

    def _lingered(self, now: float) -> None:
        self._left = True
        if not self._over:
            self._end_if_left(now)

    def _session_event(self, event: MuxEvent, now: float) -> None:
        if isinstance(event, StreamOpened):
            if event.stream.state is CLOSED:  # reset before this process came to it: it is not wanted any more
                event.stream.owner = GONE
                return
            self._user.stream_opened(StreamChannel(event.stream, self, self._host, self._host.turns), now)
        elif isinstance(event, PongReceived):
            if event.number == self._last_ping:
                self._last_ping = None
                if self._lingers_s:
                    self._host.timers.schedule(now + self._lingers_s, self._lingered)
                else:
                    self._left = True
        elif isinstance(event, NoticeReceived):
            self._user.tunnel_noticed(event.text, now)
        elif isinstance(event, GoAwayReceived):
            self._user.tunnel_going_away(self, now)
        elif isinstance(event, SessionFailed):
            self._end(event.reason, now)

    def _end(self, reason: str, now: float) -> None:
        if self._over:
            return
        self._over = True
        self._finish()
        self._user.tunnel_lost(self, reason, now)
        self._dispatch(self._tunnel.fail(reason), now)
