"""One endpoint of an agent: keeps a tunnel open, replaces it before it breaks where that is possible, and leaves well.

Life of a listener::

    SEEKING --registered--> SERVING --lost--> SEEKING
                              |  ^
                    GO_AWAY   |  | registered (the old tunnel is left only now)
                              v  |
                            MOVING
    any --drain--> LEAVING --nothing in flight--> DONE
    any --refused for good--> DONE
"""

from enum import Enum
from typing import Protocol
from urllib.parse import quote

from pico_core.agent.tunnel import AgentTunnel
from pico_core.config.agent import AgentConnectConfig, ListenerConfig
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.machine.base import BaseMachine
from pico_core.tunnel.channel import StreamChannel
from pico_core.websocket.handshake import ClientHandshake

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 15.0
OVERLAP_S = 2.0
"""How long a replaced tunnel still takes requests: by then every node has heard of the new one."""

STABLE_S = 5.0
"""A tunnel that lived this long was a success: the next attempt comes at once, with a fresh backoff."""

RETRIED_STATUSES = (0, 408, 429)
"""Refusals that may pass, besides 5xx. 0 stands for an answer that was none."""


class StreamHandler(Protocol):
    """What streams are handed to."""

    closing: bool

    def accept(self, channel: StreamChannel, now: float) -> None:
        """Serve a stream."""


class ListenerState(Enum):
    """Where a listener stands; see the drawing at the top."""

    SEEKING = "seeking"
    SERVING = "serving"
    MOVING = "moving"
    LEAVING = "leaving"
    DONE = "done"


class ListenerOwner(Protocol):
    """Who runs the listener."""

    def listener_opened(self, listener: "Listener", now: float) -> None:
        """The endpoint is registered."""

    def listener_refused(self, listener: "Listener", status: int, reason: str, now: float) -> None:
        """The server refused the endpoint for good."""

    def listener_done(self, listener: "Listener", now: float) -> None:
        """The listener has drained."""


class Listener:
    """Next: ``start``, and in the end ``drain``."""

    def __init__(
        self,
        node: BaseMachine,
        owner: ListenerOwner,
        config: ListenerConfig,
        connect: AgentConnectConfig,
        service: StreamHandler,
        entropy: Entropy,
    ) -> None:
        self.config = config
        self.state = ListenerState.SEEKING
        self._node = node
        self._owner = owner
        self._connect = connect
        self._service = service
        self._entropy = entropy
        self._instance = b"%016x" % entropy.getrandbits(64)
        self._tunnels: dict[AgentTunnel, None] = {}
        self._attempt: AgentTunnel | None = None
        self._backoff_s = FIRST_BACKOFF_S

    def start(self, now: float) -> None:
        """Look for a server."""
        if self.state is ListenerState.SEEKING or self.state is ListenerState.MOVING:
            self._seek(now)

    def drain(self, now: float) -> None:
        """Ask the server to route nothing here any more; ``listener_done`` follows when nothing is in flight."""
        if self.state is ListenerState.DONE:
            return
        self.state = ListenerState.LEAVING
        self._service.closing = True
        if self._attempt is not None:
            self._attempt.close(now)
            self._attempt = None
        for tunnel in self._tunnels:
            tunnel.leave(now)
        if not self._tunnels:
            self._done(now)

    def close(self, now: float) -> None:
        """End every tunnel now."""
        self.state = ListenerState.DONE
        for tunnel in list(self._tunnels):
            tunnel.close(now)
        self._tunnels.clear()

    # --- what the tunnels report ---

    def tunnel_opened(self, tunnel: AgentTunnel, now: float) -> None:
        """Registered: leave the older tunnels, whose work this one takes over."""
        self._attempt = None
        for older in self._tunnels:
            self._node.timers.schedule(now + OVERLAP_S, older.leave)
        self._tunnels[tunnel] = None
        self.state = ListenerState.SERVING
        self._owner.listener_opened(self, now)

    def stream_opened(self, channel: StreamChannel, now: float) -> None:
        """A stream came in through any of the tunnels."""
        self._service.accept(channel, now)

    def tunnel_going_away(self, tunnel: AgentTunnel, now: float) -> None:
        """The server drains: find another place first, leave this one after."""
        if self.state is ListenerState.SERVING and tunnel in self._tunnels:
            self.state = ListenerState.MOVING
            self._backoff_s = FIRST_BACKOFF_S
            self._log("info", "the server asks to go elsewhere, connecting again")
            self._seek(now)

    def tunnel_lost(self, tunnel: AgentTunnel, reason: str, now: float) -> None:
        """A tunnel is gone, or an attempt failed."""
        was_open = self._tunnels.pop(tunnel, self) is None
        if tunnel is self._attempt:
            self._attempt = None
            self._retry(f"cannot reach the server: {reason}", now)
        elif was_open and self.state is ListenerState.SERVING and not any(each.open for each in self._tunnels):
            self.state = ListenerState.SEEKING
            if now - tunnel.opened_at >= STABLE_S:
                self._backoff_s = FIRST_BACKOFF_S
            self._retry(f"tunnel lost: {reason}", now)
        elif self.state is ListenerState.LEAVING and not self._tunnels:
            self._done(now)

    def tunnel_refused(self, tunnel: AgentTunnel, status: int, reason: str, now: float) -> None:
        """The server said no."""
        self._attempt = None
        if status in RETRIED_STATUSES or status >= 500:
            self._retry(f"the server refused: {status} {reason}" if status else f"cannot register: {reason}", now)
        else:
            self.state = ListenerState.DONE
            self._owner.listener_refused(self, status, reason, now)

    # --- inside ---

    def _seek(self, now: float) -> None:
        if self._attempt is not None or self.state not in (ListenerState.SEEKING, ListenerState.MOVING):
            return
        url = self._connect.url
        handshake = ClientHandshake(
            str(Address(url.host, url.port)),
            "/piko/v1/upstream/" + quote(self.config.endpoint_id, safe=""),
            ((b"x-piko-instance", self._instance),),
            self._entropy,
        )
        self._attempt = AgentTunnel(
            self._node, self, self._entropy, handshake, (url.host, url.port), self._connect.timeout_s
        )

    def _retry(self, reason: str, now: float) -> None:
        """Try again after a jittered, growing pause."""
        if self.state not in (ListenerState.SEEKING, ListenerState.MOVING):
            return
        wait_s = self._backoff_s * (0.5 + self._entropy.getrandbits(16) / 131_072)
        self._backoff_s = min(self._backoff_s * 2, LAST_BACKOFF_S)
        self._log("warning", reason, retry_in_s=round(wait_s, 2))
        self._node.timers.schedule(now + wait_s, self._seek)

    def _log(self, level: str, message: str, **fields: float) -> None:
        self._node.log(
            level, "agent", message, endpoint=self.config.endpoint_id, server=str(self._connect.url), **fields
        )

    def _done(self, now: float) -> None:
        self.state = ListenerState.DONE
        self._owner.listener_done(self, now)
