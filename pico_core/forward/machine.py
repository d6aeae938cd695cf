"""The forwarder: local ports whose connections go to ``tcp`` endpoints, through the server's proxy port."""

from urllib.parse import quote

from pico_core.boundary import ConfigReloaded, Exit, Listen, ListenFailed, Listening, ShutdownRequested
from pico_core.config.changes import changed_keys, taken_over
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from pico_core.credentials import Credentials
from pico_core.dial import TLS_PROFILE, Backoff, Complaints, Server, WebSocketDial, explain
from pico_core.entropy import Entropy
from pico_core.machine.admission import MAX_DESCRIPTORS, ConnectionLimits, PortLimits
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.proxy.waiting import WaitingChannel
from pico_core.proxy.websocket_channel import WebSocketChannel
from pico_core.timers import NEVER
from pico_core.websocket.handshake import HandshakeError
from pico_core.websocket.refusal import Refusal

FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 1.0
"""A person may be waiting, and ``connect.timeout`` ends it: the pauses stay short."""

BUSY_S = 5.0
"""How long a server's 503 is taken for one that passes: a node drains, or every tunnel is full for a moment."""

OWN_DESCRIPTORS = 32
"""Kept for what is not a connection of the machine: listeners, logs, the loop, lookups."""


APPLIED = ("connect.token", "connect.token_file", "connect.tenant_id", "connect.tls", "log")
"""Keys and sections that are taken over while it runs; the others need a restart."""


class ForwardMachine(BaseMachine):
    """A ``Machine``. Stops at once when asked to: its connections are the user's own."""

    def __init__(self, config: ForwardConfig, entropy: Entropy, descriptors: int = MAX_DESCRIPTORS) -> None:
        """``descriptors`` is how many the process may have open: each connection takes two."""
        most = max(descriptors - OWN_DESCRIPTORS, 2)
        per_port = PortLimits(most // 2, 0)
        super().__init__(
            ConnectionLimits(most, {str(index): per_port for index in range(len(config.ports))}, most // 2)
        )
        self.config = config
        self.entropy = entropy
        self.server = Server(config.connect.url, entropy, config.connect.proxy_url, TLS_PROFILE)
        self.complaints = Complaints()
        connect = config.connect
        self.credentials = Credentials(
            self, "forward", connect.token, connect.token_file, connect.tenant_id, lambda _now: None
        )
        self._ports: dict[str, PortConfig] = {str(index): port for index, port in enumerate(config.ports)}

    def on_start(self, now: float) -> None:
        """Open the ports."""
        self.credentials.start(now)
        if self.config.connect.proxy_url is not None:
            self.log("info", "forward", "connecting through a proxy", proxy=str(self.config.connect.proxy_url))
        for name, port in self._ports.items():
            self.emit(Listen(name, port.addr.host, port.addr.port))

    def on_listening(self, event: Listening, now: float) -> None:
        """Say where to connect to."""
        endpoint = self._ports[event.listener].endpoint_id
        self.log("info", "forward", "listening", addr=str(Address(event.host, event.port)), endpoint=endpoint)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A port that cannot be opened is what the user asked for: give up."""
        address = self._ports[event.listener].addr
        self.emit(Exit(1, f"cannot listen on '{address}': {event.reason}; choose another address"))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Reach the endpoint through the server, then join both."""
        PendingConnection(self, self._ports[listener].endpoint_id, channel, now)

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """Take over what can change while this process runs, and name the rest."""
        config = event.config
        assert isinstance(config, ForwardConfig), "a configuration is read again as it was read"
        connect = config.connect
        self.credentials.reload(connect.token, connect.token_file, connect.tenant_id, now)
        self.log_reload(changed_keys(self.config, config), APPLIED)
        self.config = taken_over(self.config, config, APPLIED)

    def reached(self, channel: TcpChannel) -> None:
        """The endpoint of a local connection is reached."""

    def unreachable(self, endpoint: str, channel: TcpChannel, status: int, reason: str) -> None:
        """It is not, and the connection is refused; ``status`` is that of the server's answer, or 0."""
        self.warn_of(endpoint, "cannot reach the endpoint", reason)

    def warn_of(self, endpoint: str, message: str, reason: str) -> None:
        """Warn about the way to an endpoint."""
        self.warn("forward", message, endpoint=endpoint, server=str(self.config.connect.url), reason=reason)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """Stop at once, and say how many connections that cuts. Those that a driver accepts have odd numbers."""
        self.log("info", "forward", "stopped", connections=sum(number % 2 for number in self._connections))
        self.emit(Exit(0, ""))


class PendingConnection:
    """A local connection for which a WebSocket to the endpoint is being opened, in several attempts if need be.

    The server's own refusal ends it, a 503 only after ``BUSY_S``. A server that is away, or what a balancer answers for
    it, is waited for until ``connect.timeout``.
    """

    def __init__(self, machine: ForwardMachine, endpoint: str, channel: TcpChannel, now: float) -> None:
        self._machine = machine
        self._endpoint = endpoint
        self._channel = channel
        self._waiting = WaitingChannel(channel, self._cancel)
        self._until = now + machine.config.connect.timeout_s
        self._backoff = Backoff(FIRST_BACKOFF_S, LAST_BACKOFF_S, machine.entropy)
        self._dial: WebSocketDial | None = None
        self._is_over = False
        self._busy_until: float | None = None
        self._seek(now)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """Join."""
        self._is_over = True
        self._machine.complaints.clear()
        self._machine.reached(self._channel)
        self._waiting.join(WebSocketChannel(channel, self._machine.entropy), now)
        if rest:
            channel.user.on_data(rest, now)

    def on_dial_refused(self, error: HandshakeError, now: float) -> None:
        """The server does not let us reach the endpoint, or something before it answered."""
        if error.refusal in (Refusal.FOREIGN, Refusal.LEAVING):
            self._retry(explain(error), now)
        elif error.refusal is Refusal.PASSING and error.status == 503:
            if self._busy_until is None:
                self._busy_until = now + BUSY_S
            self._retry(explain(error), now, self._busy_until, error.status)
        else:
            self._fail(explain(error), error.status)

    def on_dial_failed(self, reason: str, now: float) -> None:
        """The server cannot be reached."""
        self._retry(f"cannot reach the server: {reason}", now)

    def _seek(self, now: float) -> None:
        if not self._is_over:
            machine = self._machine
            target = "/_piko/v1/tcp/" + quote(self._endpoint, safe="")
            left_s = self._until - now
            if left_s <= 0:  # the process was stopped during the pause
                self._fail("no time is left to connect")
                return
            fields = machine.credentials.fields
            self._dial = WebSocketDial(machine, self, machine.server, target, fields, machine.entropy, left_s, now)

    def _retry(self, reason: str, now: float, until: float = NEVER, status: int = 0) -> None:
        """Try again after a pause, unless the time is over by then, or it is ``until``."""
        self._dial = None
        pause_s = self._backoff.next_s()
        if now + pause_s >= min(self._until, until):
            self._fail(reason, status)
            return
        if self._machine.complaints.is_due(reason, now):
            self._machine.warn_of(self._endpoint, "cannot reach the endpoint yet", reason)
        self._machine.timers.schedule(now + pause_s, self._seek)

    def _cancel(self) -> None:
        self._is_over = True
        if self._dial is not None:
            self._dial.cancel()

    def _fail(self, reason: str, status: int = 0) -> None:
        self._is_over = True
        self._machine.unreachable(self._endpoint, self._channel, status, reason)
        self._waiting.refuse()
