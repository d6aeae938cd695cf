"""One endpoint of an agent: keeps a tunnel open, replaces it before it breaks where that is possible, and leaves well.

Life of a listener::

    SEEKING --registered--> SERVING --lost--> SEEKING
                              |  ^
                    GO_AWAY   |  | registered (the old tunnel is left only now)
                              v  |
                            MOVING
    any --service unhealthy--> RESTING --healthy again--> SEEKING
    any --drain--> LEAVING --nothing in flight--> DONE
    SEEKING --refused for good--> DONE

Only the server's own refusal of the endpoint is for good (``docs/decisions/refusals.md``). After what a balancer
answers while the server restarts, and after a wrong URL, the listener warns and tries again.
"""

from enum import Enum
from typing import Protocol
from urllib.parse import quote

from pico_core import __version__
from pico_core.agent.counts import ServiceCounts
from pico_core.agent.tunnel import AgentTunnel
from pico_core.config.agent import AgentConnectConfig, ListenerConfig
from pico_core.config.tls import CONNECT_PROFILE
from pico_core.credentials import Credentials
from pico_core.dial import Backoff, Complaints, Server, WebSocketDial, advised, explain
from pico_core.entropy import Entropy
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, FlushScheduler, Logger
from pico_core.machine.turns import Turns
from pico_core.timers import NEVER
from pico_core.tunnel.agreement import (
    FIRST_WINDOW,
    MAX_STREAMS,
    NODE,
    SECOND_AGENT,
    SECOND_AGENT_CAME,
    URL,
    VERSION,
    WORKERS,
    first_window_bytes,
    told,
    told_number,
)
from pico_core.tunnel.channel import StreamChannel
from pico_core.websocket.handshake import HandshakeError
from pico_core.websocket.refusal import Refusal

OVERLAP_S = 2.0
"""How long a replaced tunnel still takes requests: by then every node has heard of the new one."""

LINGER_S = 5.0
"""How long a tunnel that was left takes streams, unless the server closes it before, as Pico's server does: at once, or
when every node has heard that the tunnel leaves."""

LASTED_S = 1.0
"""A tunnel that lived this long worked: its loss begins the pauses anew. So a server that ends every tunnel at once is
asked ever more slowly."""

FIRST_ATTEMPT_S = 3.0
"""How long the first attempt after a loss may take; each that fails doubles it. A connection that a balancer leads to a
node that is gone must not hold the agent for long: another one is led elsewhere."""

MAX_RETRY_AFTER_S = 60
"""The longest pause that a server may ask for. Agents wait up to twice as long, so that not all come back together."""

PASSING_STATUSES = (408, 429)
"""Refusals that pass without a change on either side, besides 5xx."""


class StreamHandler(Protocol):
    """Serves the streams that come through the tunnels of one listener."""

    closing: bool
    """Whether the agent is about to stop."""
    counts: ServiceCounts

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Serve a stream that the server has opened. Its first bytes come to ``channel.user``, which this sets."""


class ListenerState(Enum):
    """Where a listener stands; see the drawing at the top."""

    SEEKING = "seeking"
    SERVING = "serving"
    MOVING = "moving"
    RESTING = "resting"
    LEAVING = "leaving"
    DONE = "done"


class ListenerHost(Connector, FlushScheduler, Logger, Protocol):
    """The part of its machine that a listener needs."""

    turns: Turns

    def listener_opened(self, listener: "AgentListener", now: float) -> None:
        """The endpoint is registered."""

    def listener_filling(self, listener: "AgentListener", now: float) -> None:
        """Most of the streams that the listener may have are open."""

    def listener_lost(self, listener: "AgentListener", reason: str, now: float) -> None:
        """The last tunnel is gone, against the listener's will; it tries again."""

    def listener_refused(self, listener: "AgentListener", reason: str, now: float) -> None:
        """The server refused the endpoint for good; the listener is over."""

    def listener_done(self, listener: "AgentListener", now: float) -> None:
        """The listener was told to drain, and its last tunnel has ended."""


class AgentListener:
    """Next: ``start``, and in the end ``drain``."""

    __slots__ = (
        "_agent_id", "_attempt", "_attempt_s", "_backoff", "_complaints", "_connect", "_credentials", "_entropy",
        "_handler", "_host", "_hurry_until", "_instance", "_is_shared", "_server", "_tunnels", "config",
        "max_streams", "moves", "node", "permitted_streams", "refused_with", "state", "trouble", "url", "workers",
    )  # fmt: skip

    def __init__(
        self,
        host: ListenerHost,
        config: ListenerConfig,
        connect: AgentConnectConfig,
        handler: StreamHandler,
        max_streams: int,
        agent_id: bytes,
        entropy: Entropy,
        credentials: Credentials,
    ) -> None:
        """``max_streams`` is how many streams the agent takes in a tunnel.

        ``permitted_streams`` is how many of them the server opens at most, as it tells; all of them before.
        ``url`` is where clients reach the endpoint and ``node`` the ID of the node, as the server tells; empty before.
        ``workers`` is how many nodes share the node's ports.
        ``trouble`` is why the last attempt failed, and ``refused_with`` the status of the refusal that was for good.

        ``agent_id`` is the same for all listeners of an agent, and new in each process.
        """
        self.config = config
        self.max_streams = self.permitted_streams = max_streams
        self.state = ListenerState.SEEKING
        self.url = ""
        self.node = ""
        self.workers = 1
        self.moves = 0
        """How often it was moved since it last had a node for itself."""
        self.trouble = ""
        self.refused_with = 0
        self._host = host
        self._connect = connect
        self._handler = handler
        self._agent_id = agent_id
        self._entropy = entropy
        self._credentials = credentials
        self._instance = b"%016x" % entropy.getrandbits(64)
        self._tunnels: tuple[AgentTunnel, ...] = ()  # seldom more than one
        self._attempt: WebSocketDial | None = None
        self._server = Server(connect.url, entropy, connect.proxy_url, CONNECT_PROFILE)
        self._backoff = Backoff(connect.backoff.first_s, connect.backoff.longest_s, entropy)
        self._hurry_until = 0.0
        self._attempt_s = connect.timeout_s
        self._complaints = Complaints()
        self._is_shared = False

    def start(self, now: float) -> None:
        """Make the first attempt to reach a server and register."""
        self._seek(now)

    def renew(self, now: float) -> None:
        """Open a new tunnel with the token that has just come, and leave the old one, whose token will expire.

        An attempt that shows the old token is given up: its tunnel would end with that.
        """
        self._cancel_attempt(now)
        if self.state is ListenerState.SERVING:
            self.state = ListenerState.MOVING
            self._log("info", "connecting again with the new token")
        self._seek(now)

    def move(self, now: float) -> None:
        """Open a new tunnel, which may lead to another node, and leave the old one."""
        if self.state is ListenerState.SERVING:
            self.state = ListenerState.MOVING
            self.moves += 1
            self._seek(now)

    def drain(self, now: float) -> None:
        """As ``leave``, and have the requests in flight be the last ones of their connections: the agent stops."""
        self._handler.closing = True
        self.leave(now)

    def leave(self, now: float) -> None:
        """Ask the server to route nothing here any more; ``listener_done`` follows when nothing is in flight."""
        if self.state is ListenerState.DONE:
            return
        self.state = ListenerState.LEAVING
        self._cancel_attempt(now)
        for tunnel in self._tunnels:
            tunnel.leave(now)
        if not self._tunnels:
            self._done(now)

    def rest(self, now: float) -> None:
        """Take no requests for a while: the service is unhealthy. Next: ``resume``."""
        if self.state in (ListenerState.LEAVING, ListenerState.DONE):
            return
        self.state = ListenerState.RESTING
        self._cancel_attempt(now)
        for tunnel in self._tunnels:
            tunnel.leave(now)

    def resume(self, now: float) -> None:
        """Take requests again."""
        if self.state is ListenerState.RESTING:
            self.state = ListenerState.SEEKING
            self._backoff.reset()
            self._seek(now)

    def close(self, now: float) -> None:
        """End every tunnel now."""
        self.state = ListenerState.DONE
        for tunnel in self._tunnels:
            tunnel.close(now)
        self._tunnels = ()

    def cut(self, now: float) -> None:
        """Leave now: what is in flight is lost. ``listener_done`` follows at once."""
        self.leave(now)
        for tunnel in self._tunnels:
            tunnel.cut(now)

    @property
    def counts(self) -> ServiceCounts:
        """The counters of the service; listeners with the same one share it."""
        return self._handler.counts

    @property
    def tunnel_count(self) -> int:
        """How many tunnels are open."""
        return len(self._tunnels)

    @property
    def has_tunnel(self) -> bool:
        """Whether requests can come."""
        return bool(self._tunnels) and self.state is not ListenerState.RESTING

    @property
    def stream_count(self) -> int:
        """How many streams are open: a request or a connection each, or none for a while."""
        return sum(tunnel.stream_count for tunnel in self._tunnels)

    @property
    def is_filling(self) -> bool:
        """Whether a tunnel is there, and three quarters of the streams that the server may open are."""
        return bool(self._tunnels) and self.stream_count >= self.permitted_streams - self.permitted_streams // 4

    # --- as the user of a dial ---

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """Registered: leave the older tunnels, whose work this one takes over."""
        answer = () if self._attempt is None else self._attempt.answer
        self._attempt = None
        for older in self._tunnels:
            self._host.timers.schedule(now + OVERLAP_S, older.leave)
        self.url, self.node = told(answer, URL), told(answer, NODE)
        first_window, lingers_s = first_window_bytes(answer), LINGER_S if self.node else 0.0
        tunnel = AgentTunnel(self._host, self, channel, self._entropy, self.max_streams, first_window, lingers_s, now)
        self._tunnels = (*self._tunnels, tunnel)
        self.state = ListenerState.SERVING
        self.workers = told_number(answer, WORKERS, 1)
        self.permitted_streams = min(told_number(answer, MAX_STREAMS, self.max_streams), self.max_streams)
        self._host.listener_opened(self, now)
        self._is_shared = self._is_shared and len(self._tunnels) > 1
        if SECOND_AGENT in answer:
            self._told_of_second_agent()
        if rest:
            tunnel.on_data(rest, now)

    def on_dial_refused(self, error: HandshakeError, now: float) -> None:
        """Try again, unless it is the server that refuses this endpoint and no tunnel is left."""
        self._attempt = None
        reason = explain(error)
        if error.refusal is Refusal.FINAL and error.status == 401 and self._credentials.path:
            self._retry(f"{reason}; the token is that of '{self._credentials.path}'", now)
            self._credentials.read_now(now)
        elif error.refusal is Refusal.FINAL and not self._tunnels:
            self.state = ListenerState.DONE
            self.refused_with = error.status
            self._host.listener_refused(self, advised(error), now)
        elif error.refusal is Refusal.LEAVING:
            pause_s = self._backoff.jittered_s(self._connect.backoff.after_loss_s)
            self._retry_in(pause_s, reason, now)
        elif error.refusal is Refusal.PASSING and error.retry_after_s:
            wait_s = min(error.retry_after_s, MAX_RETRY_AFTER_S)
            self._retry_in(max(self._backoff.next_s(), self._backoff.jittered_s(2 * wait_s)), reason, now)
        elif error.refusal is Refusal.FOREIGN or error.status in PASSING_STATUSES or error.status >= 500:
            self._retry(reason, now)
        else:
            self._retry(f"{reason}; is connect.url that of its upstream port?", now)

    def on_dial_failed(self, reason: str, now: float) -> None:
        """The server could not be reached: try again after a pause, and give the next attempt twice the time."""
        self._attempt = None
        self._attempt_s = min(2 * self._attempt_s, self._connect.timeout_s)
        self._retry(f"cannot reach the server: {reason}", now)

    # --- as the user of the tunnels ---

    def stream_opened(self, channel: StreamChannel, now: float) -> None:
        """A stream came in through any of the tunnels."""
        self._handler.accept(channel, now)
        if self.is_filling:
            self._host.listener_filling(self, now)

    def tunnel_going_away(self, tunnel: AgentTunnel, now: float) -> None:
        """The server drains: find another place first, leave this one after. It also says so of a replaced tunnel."""
        if self.state is ListenerState.SERVING and self._tunnels and tunnel is self._tunnels[-1]:
            self.state = ListenerState.MOVING
            self._hurry(now)
            self._log("info", "the server asks to go elsewhere, connecting again")
            self._seek(now)

    def tunnel_noticed(self, text: bytes, now: float) -> None:
        """The server told something; what this version does not know is dropped."""
        if text == SECOND_AGENT_CAME:
            self._told_of_second_agent()

    def tunnel_lost(self, tunnel: AgentTunnel, reason: str, now: float) -> None:
        """A tunnel has ended: if it was the last one, connect again, or be done where the listener drains."""
        self._tunnels = tuple(each for each in self._tunnels if each is not tunnel)
        if self._tunnels:
            return
        if self.state is ListenerState.SERVING:
            self.state = ListenerState.SEEKING
            if now - tunnel.opened_at >= LASTED_S:
                self._complaints.clear()
                self._hurry(now)
            self._host.listener_lost(self, reason, now)
            self._retry(f"tunnel lost: {reason}", now)
            if now < self._hurry_until:
                backoff = self._connect.backoff
                self._log(
                    "info", "trying often for a while", every_s=backoff.after_loss_s, for_s=backoff.after_loss_for_s
                )
        elif self.state is ListenerState.LEAVING:
            self._done(now)

    # --- inside ---

    def _seek(self, now: float) -> None:
        if self._attempt is None and self.state in (ListenerState.SEEKING, ListenerState.MOVING):
            self._attempt = WebSocketDial(
                self._host,
                self,
                self._server,
                "/piko/v1/upstream/" + quote(self.config.endpoint_id, safe=""),
                (
                    *self._credentials.fields,
                    (b"x-piko-instance", self._instance),
                    (b"x-pico-agent", self._agent_id),
                    (b"x-pico-protocol", self.config.protocol.encode()),
                    (MAX_STREAMS, b"%d" % self.max_streams),
                    (VERSION, __version__.encode()),
                    FIRST_WINDOW,
                ),
                self._entropy,
                self._attempt_s,
                now,
            )

    def _cancel_attempt(self, now: float) -> None:
        if self._attempt is not None:
            self._attempt.cancel(now)
            self._attempt = None

    def _hurry(self, now: float) -> None:
        """Begin the pauses anew, and keep them short for a while: a tunnel worked, so the server will be back."""
        self._backoff.reset()
        self._hurry_until = now + self._connect.backoff.after_loss_for_s
        self._attempt_s = min(FIRST_ATTEMPT_S, self._connect.timeout_s)

    def _retry(self, reason: str, now: float) -> None:
        """Try again after a jittered, growing pause."""
        most_s = self._connect.backoff.after_loss_s if now < self._hurry_until else NEVER
        self._retry_in(self._backoff.next_s(most_s), reason, now)

    def _retry_in(self, pause_s: float, reason: str, now: float) -> None:
        self.trouble = reason
        if self.state in (ListenerState.SEEKING, ListenerState.MOVING):
            level = "warning" if self._complaints.is_due(reason, now) else "debug"
            self._log(level, reason, retry_in_s=round(pause_s, 2))
            self._host.timers.schedule(now + pause_s, self._seek)

    def _log(self, level: str, message: str, **fields: float) -> None:
        self._host.log(
            level, "agent", message, endpoint=self.config.endpoint_id, server=str(self._connect.url), **fields
        )

    def _told_of_second_agent(self) -> None:
        """Warn of it once, however many nodes tell it of however many tunnels."""
        if not self._is_shared:
            self._is_shared = True
            self._log("warning", "another agent serves this endpoint too, and gets a part of its requests")

    def _done(self, now: float) -> None:
        self.state = ListenerState.DONE
        self._host.listener_done(self, now)
