"""The way from a forwarder to its endpoints, looked at when their ports open: a port that listens says nothing of it.

Each endpoint is asked for once, and again after pauses while it cannot be reached. The question opens no connection to
the service (``proxy.way_check``).
"""

from typing import Protocol

from pico_core.config.forward import ForwardConfig
from pico_core.config.tls import CONNECT_PROFILE
from pico_core.credentials import Credentials
from pico_core.dial import Backoff, Server, WebSocketDial, explain
from pico_core.entropy import Entropy
from pico_core.forward.target import target_of
from pico_core.machine.channel import TcpChannel
from pico_core.machine.parts import Connector, Logger
from pico_core.proxy.failures import HTTP_ENDPOINT
from pico_core.proxy.way_check import QUERY, REACHABLE
from pico_core.websocket.handshake import HandshakeError
from pico_core.websocket.refusal import Refusal

CHECK_TIMEOUT_S = 5.0
"""Somebody waits at a terminal; a server that is there answers sooner."""

FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 30.0
"""Between two checks of an endpoint that cannot be reached: servers count each as a request that failed."""

WRONG_PORT = "; forwarders connect to the proxy port, 8000 by default"
"""What is likely where the server has no such route."""

NO_KEY = "invalid Sec-WebSocket-Key"
"""The answer of a Pico server that does not know the question."""


class ChecksHost(Connector, Logger, Protocol):
    """The part of the forwarder that the checks need."""

    config: ForwardConfig
    credentials: Credentials
    entropy: Entropy

    def serves(self, endpoint: str) -> bool:
        """Return whether a port is for the endpoint."""


class WayChecks:
    """One check after the other. ``begin`` when a port is open, ``works`` when a connection reached its endpoint."""

    def __init__(self, host: ChecksHost) -> None:
        self._host = host
        connect = host.config.connect
        self._server = Server(connect.url, host.entropy, connect.proxy_url, CONNECT_PROFILE)
        self._waiting: dict[str, None] = {}
        self._running = ""
        self._told: dict[str, str] = {}
        """Why endpoints cannot be reached, as far as it was said."""
        self._pauses: dict[str, Backoff] = {}

    def begin(self, endpoint: str, now: float) -> None:
        """Check the way to an endpoint, unless that is being done."""
        if endpoint not in self._pauses:
            self._pauses[endpoint] = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S, self._host.entropy)
            self._ask(endpoint, now)

    def works(self, endpoint: str) -> None:
        """A connection has reached the endpoint: say so where the opposite was said, and ask no more."""
        self._pauses.pop(endpoint, None)
        if self._told.pop(endpoint, ""):
            self._tell_reached(endpoint)

    # --- one check ---

    def _ask(self, endpoint: str, now: float) -> None:
        self._waiting[endpoint] = None
        self._next(now)

    def _next(self, now: float) -> None:
        """Begin the next check, if none is running."""
        while self._waiting and not self._running:
            endpoint = next(iter(self._waiting))
            del self._waiting[endpoint]
            if endpoint not in self._pauses or not self._host.serves(endpoint):
                self._pauses.pop(endpoint, None)
                self._told.pop(endpoint, None)
                continue
            self._running = endpoint
            target = f"{target_of(endpoint)}?{QUERY.decode()}"
            fields = self._host.credentials.fields
            WebSocketDial(self._host, self, self._server, target, fields, None, CHECK_TIMEOUT_S, now)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """Not by a server that keeps to RFC 6455: it has opened the connection, so the endpoint can be reached."""
        channel.abort()
        self._found("", now)

    def on_dial_refused(self, error: HandshakeError, now: float) -> None:
        """The answer to the question, or of something that is not a Pico server."""
        if error.reason in (REACHABLE, NO_KEY):
            self._found("", now)
        elif error.status == 400 and error.refusal is Refusal.FOREIGN:  # Piko's server says no more than that
            about = self._about(self._running)
            self._host.log("info", "forward", "the server does not tell whether the endpoint can be reached", **about)
            self._pauses.pop(self._running, None)
            self._over(now)
        else:
            has_no_route = error.status == 404 and error.code != HTTP_ENDPOINT.reason
            self._found(explain(error) + (WRONG_PORT if has_no_route else ""), now)

    def on_dial_failed(self, reason: str, now: float) -> None:
        """There is no answer."""
        self._found(f"cannot reach the server: {reason}", now)

    def _found(self, reason: str, now: float) -> None:
        """Say what was found where that is new, and check again later what cannot be reached."""
        endpoint = self._running
        pause = self._pauses.get(endpoint)  # gone where a connection has reached it meanwhile
        if pause is not None and not reason:
            del self._pauses[endpoint]
            self._told.pop(endpoint, None)
            self._tell_reached(endpoint)
        elif pause is not None:
            if self._told.get(endpoint) != reason:
                self._told[endpoint] = reason
                about = self._about(endpoint)
                self._host.log("warning", "forward", "the endpoint cannot be reached now", **about, reason=reason)
            self._host.timers.schedule(now + pause.next_s(), lambda at: self._ask(endpoint, at))
        self._over(now)

    def _over(self, now: float) -> None:
        self._running = ""
        self._next(now)

    def _tell_reached(self, endpoint: str) -> None:
        self._host.log("info", "forward", "the endpoint can be reached", **self._about(endpoint))

    def _about(self, endpoint: str) -> dict[str, str]:
        return {"endpoint": endpoint, "server": str(self._host.config.connect.url)}
