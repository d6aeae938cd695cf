"""The forwarder: local ports whose connections go to ``tcp`` endpoints, through the server's proxy port."""

import itertools

from msgspec.structs import replace

from pico_core.boundary import (
    ConfigReloaded,
    Exit,
    Listen,
    ListenFailed,
    Listening,
    ShutdownRequested,
    StopListening,
)
from pico_core.config.changes import changed_keys, taken_over
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.logs import LogConfig
from pico_core.config.tls import CONNECT_PROFILE
from pico_core.config.values import Address, is_loopback
from pico_core.credentials import Credentials
from pico_core.dial import Backoff, Complaints, Server, WebSocketDial, explain
from pico_core.entropy import Entropy
from pico_core.forward.checking import WayChecks
from pico_core.forward.pages import REFUSED, UNREACHABLE, EndpointCounts, ForwardPages
from pico_core.forward.target import target_of
from pico_core.machine.admission import MAX_DESCRIPTORS, ConnectionLimits, PortLimits
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.plain.client_pages import (
    ADMIN,
    ADMIN_PLACES,
    MAX_OPERATORS,
    OPEN_PORT,
    ClientPages,
    admin_refused,
    tell_admin_port,
)
from pico_core.plain.server import PlainConnection
from pico_core.proxy.reasons import CLIENT_LEFT
from pico_core.proxy.waiting import WaitingChannel
from pico_core.proxy.websocket_channel import SUBPROTOCOL, WebSocketChannel
from pico_core.records import UseLogConfig
from pico_core.timers import NEVER
from pico_core.websocket.handshake import HandshakeError
from pico_core.websocket.refusal import Refusal

FIRST_BACKOFF_S = 0.1
"""The first pause before the server is asked again; each further one is longer, up to ``LAST_BACKOFF_S``."""
LAST_BACKOFF_S = 1.0
"""A person may be waiting, and ``connect.timeout`` ends it: the pauses stay short."""

BUSY_S = 5.0
"""How long a server's 503 is taken for one that passes: a node drains, or every tunnel is full for a moment."""

FORWARDER_DESCRIPTORS = 32
"""Kept for what is not a connection of the machine: listeners, logs, the loop, lookups."""


LISTEN_HINT = "the other ports go on; choose another address and send SIGHUP again"

APPLIED = (
    "ports",
    "connect.timeout",
    "connect.token",
    "connect.token_file",
    "connect.tenant_id",
    "connect.tls",
    "log",
)
"""Keys and sections that are taken over while it runs; the others need a restart."""


class ForwardMachine(BaseMachine):
    """A ``Machine``. Stops at once when asked to: its connections are the user's own."""

    def __init__(
        self,
        config: ForwardConfig,
        entropy: Entropy,
        descriptors: int = MAX_DESCRIPTORS,
        *,
        checks_way: bool = False,
    ) -> None:
        """``descriptors`` is how many the process may have open: each connection takes two.

        With ``checks_way`` it looks whether the endpoints can be reached when their ports open.
        """
        self._operators = MAX_OPERATORS if config.admin.bind_addr is not None else 0
        self._most = max(descriptors - FORWARDER_DESCRIPTORS - self._operators, 2)
        self.ports: dict[str, PortConfig] = {str(index): port for index, port in enumerate(config.ports)}
        self.counts = {port.endpoint_id: EndpointCounts() for port in config.ports}
        self.listening: dict[str, str] = {}
        """The addresses of the ports that are open, by listener."""
        self._added: set[str] = set()
        self._closed: dict[str, str] = {}
        """The endpoints of the ports that the last reload has closed, by listener."""
        self._names = itertools.count(len(config.ports))
        super().__init__(self._limits())
        self.config = config
        self.entropy = entropy
        self.server = Server(config.connect.url, entropy, config.connect.proxy_url, CONNECT_PROFILE, keeps=True)
        self.complaints = Complaints()
        connect = config.connect
        self.credentials = Credentials(
            self, "forward", connect.token, connect.token_file, connect.tenant_id, lambda _now: None
        )

        self.checks = WayChecks(self) if checks_way else None
        told = ForwardPages(self, str(connect.url))
        self._pages = ClientPages(told, self, config.admin.allowed_hosts, config.log)

    def _limits(self) -> ConnectionLimits:
        ports = dict.fromkeys(self.ports, PortLimits(self._most // 2, 0))
        if self._operators:
            ports[ADMIN] = ADMIN_PLACES
        return ConnectionLimits(self._most + self._operators, ports, self._most // 2)

    def on_start(self, now: float) -> None:
        """Ask for a listener for each port of the configuration."""
        self.credentials.warn_of_clear_text(self.config.connect.url)
        self.credentials.start(now)
        if self.config.connect.proxy_url is not None:
            self.log("info", "forward", "connecting through a proxy", proxy=str(self.config.connect.proxy_url))
        admin = self.config.admin.bind_addr
        if admin is not None:
            self.emit(Listen(ADMIN, admin.host, admin.port))
        for name, port in self.ports.items():
            self.emit(Listen(name, port.addr.host, port.addr.port))

    def on_listening(self, event: Listening, now: float) -> None:
        """Say where to connect to."""
        if event.listener == ADMIN:
            tell_admin_port(self, event)
            return
        port = self.ports.get(event.listener)
        if port is None:
            return  # it was removed before it was open
        addr, endpoint = str(Address(event.host, event.port)), port.endpoint_id
        self.listening[event.listener] = addr
        self.log("info", "forward", "listening", addr=addr, endpoint=endpoint)
        if not is_loopback(event.host):  # whoever connects is let in by the forwarder's token
            self.log("warning", "forward", OPEN_PORT, addr=addr, endpoint=endpoint)
        if self.checks is not None:
            self.checks.begin(endpoint, now)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """A port that cannot be opened is what the user asked for: give up, unless others are in use already."""
        if event.listener == ADMIN:
            self.emit(Exit(1, admin_refused(self.config.admin.bind_addr, event.reason)))
            return
        port = self.ports.get(event.listener)
        if port is None:
            return  # it was removed before it was open
        if event.listener not in self._added:
            self.emit(Exit(1, f"cannot listen on '{port.addr}': {event.reason}; choose another address"))
            return
        self.log("error", "forward", "cannot listen", addr=str(port.addr), reason=event.reason, hint=LISTEN_HINT)
        del self.ports[event.listener]
        self.config = replace(self.config, ports=tuple(self.ports.values()))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Reach the endpoint through the server, then join both. Or answer an operator."""
        if listener == ADMIN:
            PlainConnection(channel, self._pages, self, now)
            return
        port = self.ports.get(listener)
        endpoint = self._closed.get(listener) if port is None else port.endpoint_id
        if endpoint is None:
            channel.abort()
        else:
            PendingConnection(self, endpoint, self.counts.get(endpoint) or EndpointCounts(), channel, now)

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """Take over what can change while this process runs, and name the rest."""
        config = event.config
        assert isinstance(config, ForwardConfig), "a configuration is read again as it was read"
        if not config.ports:
            self.log("warning", "config", "the changed configuration is not used", reason="it has no ports")
            return
        connect = config.connect
        self.credentials.reload(connect.token, connect.token_file, connect.tenant_id, now)
        self.log_reload(changed_keys(self.config, config), APPLIED)
        self.config = taken_over(self.config, config, APPLIED)
        self._pages.configure(self.config.log)
        self._change_ports(config.ports)

    def use_log(self, config: LogConfig) -> None:
        """Log as an operator asks."""
        self.config = replace(self.config, log=config)
        self.emit(UseLogConfig(config))

    def _change_ports(self, ports: tuple[PortConfig, ...]) -> None:
        """Open the ports that are new, and close those that are gone. Connections that are open stay as they are.

        So do those that wait in the kernel when their port is closed, which the driver accepts then.
        """
        self._closed = {}
        names = {port.addr: name for name, port in self.ports.items()}
        wanted = {port.addr: port for port in ports}
        for addr, name in names.items():
            if addr in wanted:
                self.ports[name] = wanted[addr]
            else:
                self._closed[name] = self.ports.pop(name).endpoint_id
                self.listening.pop(name, None)
                self.emit(StopListening(name))
                self.log("info", "forward", "no longer listening", addr=str(addr))
        for addr, port in wanted.items():
            if addr not in names:
                name = str(next(self._names))
                self.ports[name] = port
                self._added.add(name)
                self.emit(Listen(name, addr.host, addr.port))
        self._added &= set(self.ports)
        self.counts = {port.endpoint_id: self.counts.get(port.endpoint_id) or EndpointCounts() for port in ports}
        self.admission.configure(self._limits())

    def serves(self, endpoint: str) -> bool:
        """Return whether a port is for the endpoint."""
        return endpoint in self.counts

    def reached(self, endpoint: str, channel: TcpChannel) -> None:
        """The endpoint of a local connection is reached."""
        if self.checks is not None:
            self.checks.works(endpoint)

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

    def __init__(
        self, machine: ForwardMachine, endpoint: str, counts: EndpointCounts, channel: TcpChannel, now: float
    ) -> None:
        self._machine = machine
        self._endpoint = endpoint
        self._counts = counts
        counts.open += 1
        counts.accepted += 1
        self._channel = channel
        self._waiting = WaitingChannel(channel, self._cancel)
        self._until = now + machine.config.connect.timeout_s
        self._backoff = Backoff(FIRST_BACKOFF_S, LAST_BACKOFF_S, machine.entropy)
        self._dial: WebSocketDial | None = None
        self._is_over = False
        self._busy_until: float | None = None
        self._trouble = "no time is left to connect"
        self._seek(now)

    def on_dialed(self, channel: TcpChannel, rest: bytes, now: float) -> None:
        """The WebSocket is open: pass bytes between it and the local connection from now on."""
        self._is_over = True
        self._machine.complaints.clear()
        self._machine.reached(self._endpoint, self._channel)
        peer_closes = self._dial is not None and SUBPROTOCOL in self._dial.answer
        websocket = WebSocketChannel(channel, self._machine.entropy, peer_closes=peer_closes)
        self._waiting.join(websocket, now, self._ended)
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
            target = target_of(self._endpoint)
            left_s = self._until - now
            if left_s <= 0:  # the process was stopped during the pause
                self._fail(self._trouble)
                return
            fields = [*machine.credentials.fields, SUBPROTOCOL]
            self._dial = WebSocketDial(machine, self, machine.server, target, fields, machine.entropy, left_s, now)

    def _retry(self, reason: str, now: float, until: float = NEVER, status: int = 0) -> None:
        """Try again after a pause, unless the time is over by then, or it is ``until``."""
        self._dial = None
        self._trouble = reason
        pause_s = self._backoff.next_s()
        if now + pause_s >= min(self._until, until):
            self._fail(reason, status)
            return
        self._counts.retries += 1
        if self._machine.complaints.is_due(reason, now):
            self._machine.warn_of(self._endpoint, "cannot reach the endpoint yet", reason)
        self._machine.timers.schedule(now + pause_s, self._seek)

    def _cancel(self, now: float) -> None:
        self._is_over = True
        self._counts.failed(CLIENT_LEFT)
        if self._dial is not None:
            self._dial.cancel(now)

    def _ended(self, now: float) -> None:
        self._counts.open -= 1

    def _fail(self, reason: str, status: int = 0) -> None:
        self._is_over = True
        self._counts.failed(REFUSED if status else UNREACHABLE)
        self._machine.unreachable(self._endpoint, self._channel, status, reason)
        self._waiting.refuse()
