"""The agent: registers endpoints through tunnels it opens, and passes their streams to local services."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pico_core.agent.growth import Growth, tunnel_streams
from pico_core.agent.health import HealthCheck
from pico_core.agent.host_header import RenamedHostStreams
from pico_core.agent.http_streams import HttpStreams
from pico_core.agent.listener import AgentListener, ListenerState, StreamHandler
from pico_core.agent.pages import AgentPages
from pico_core.agent.request_streams import RequestStreams
from pico_core.agent.tcp_streams import TcpStreams
from pico_core.agent.watching import StartWatch
from pico_core.boundary import ConfigReloaded, Exit, Listen, ListenFailed, Listening, ShutdownRequested
from pico_core.config.agent import AgentConfig, ListenerConfig
from pico_core.config.changes import changed_keys, taken_over
from pico_core.config.inspect import PORT, InspectConfig
from pico_core.config.logs import LogConfig
from pico_core.config.values import Address
from pico_core.credentials import Credentials
from pico_core.entropy import Entropy
from pico_core.machine.admission import UNLIMITED, ConnectionLimits
from pico_core.machine.base import BaseMachine
from pico_core.machine.channel import TcpChannel
from pico_core.machine.head_budget import HeadBudget
from pico_core.machine.logs import LINES_PER_WINDOW
from pico_core.machine.parts import STOP_HINT
from pico_core.plain.client_pages import ADMIN, ADMIN_PLACES, ClientPages, admin_refused, tell_admin_port
from pico_core.plain.server import PlainConnection
from pico_core.proxy.access_log import AccessLogger
from pico_core.proxy.endpoint import NO_HOST_NAME, is_host_label
from pico_core.proxy.tracing import Tracer
from pico_core.records import UseLogConfig

if TYPE_CHECKING:
    from pico_core.agent.inspector.inspector import Inspector

LINES_PER_LISTENER = 2
"""Log lines of one kind in ten seconds for each endpoint: those of an agent with many are not peers' doing."""

ADMIN_LIMITS = ConnectionLimits(UNLIMITED.most, {ADMIN: ADMIN_PLACES, PORT: ADMIN_PLACES})
"""Other peers an agent chooses itself."""

APPLIED = (
    "listeners",
    "connect.token",
    "connect.token_file",
    "connect.tenant_id",
    "connect.tls",
    "log",
    "grace_period",
)
"""Keys and sections that are taken over while it runs; the others need a restart."""


class AgentMachine(BaseMachine):
    """A ``Machine``. It ends by itself only when the server has refused its last endpoint for good."""

    def __init__(self, config: AgentConfig, entropy: Entropy, *, is_watched: bool = False) -> None:
        """``is_watched`` says that a person looks on, who is told whether services answer (``watching``)."""
        super().__init__(ADMIN_LIMITS, max(LINES_PER_WINDOW, LINES_PER_LISTENER * len(config.listeners)))
        self.config = config
        self.heads = HeadBudget()
        self.draining = False
        self._entropy = entropy
        self._agent_id = b"%016x" % entropy.getrandbits(64)
        self._stream_handlers: dict[int, StreamHandler] = {}
        """By the ``id`` of the configuration: a program may have two listeners that are configured alike."""
        self._access_log = AccessLogger(self, "agent.access", "agent")
        tracing = config.tracing
        self._tracer = Tracer(self, tracing, entropy, "agent") if tracing.endpoint else None
        connect = config.connect
        self.inspector = self._make_inspector(config.inspect)
        self.credentials = Credentials(self, "agent", connect.token, connect.token_file, connect.tenant_id, self._renew)
        self.listeners = {self._listener(each, tunnel_streams(each)): None for each in config.listeners}
        self._growth = Growth(self, self._listener)
        self._replaced: dict[AgentListener, None] = {}
        """Listeners that leave when the one that was configured in their place has a tunnel."""
        self._checks = {id(each): self._check(each) for each in config.listeners if each.health_check.protocol != "off"}
        self._watch = StartWatch(self, config.listeners) if is_watched else None
        told = AgentPages(self.listeners, str(connect.url))
        self._pages = ClientPages(told, self, config.admin.allowed_hosts, config.log)

    def _make_inspector(self, config: InspectConfig) -> "Inspector | None":
        if config.bind_addr is None:
            return None
        from pico_core.agent.inspector.inspector import Inspector  # a start without it is spared its code

        return Inspector(config, config.bind_addr, self)

    def _listener(self, config: ListenerConfig, max_streams: int) -> AgentListener:
        if id(config) not in self._stream_handlers:
            made = self.handler(config)
            if isinstance(made, RequestStreams):
                made.tracer = self._tracer
            self._stream_handlers[id(config)] = made if self.inspector is None else self.inspector.tap(made)
        handler = self._stream_handlers[id(config)]
        return AgentListener(
            self, config, self.config.connect, handler, max_streams, self._agent_id, self._entropy, self.credentials
        )

    def _check(self, config: ListenerConfig) -> HealthCheck:
        def changed(is_healthy: bool, now: float) -> None:
            for listener in list(self.listeners):
                if listener.config is config:
                    (listener.resume if is_healthy else listener.rest)(now)

        return HealthCheck(self, config, changed)

    def handler(self, listener: ListenerConfig) -> StreamHandler:
        """Return the part that serves the streams of a listener."""
        if listener.protocol == "tcp":
            return TcpStreams(self, listener)
        streams = HttpStreams if listener.host_header == "keep" else RenamedHostStreams
        return streams(self, listener, self.access_logger(listener))

    def access_logger(self, listener: ListenerConfig) -> AccessLogger | None:
        """Return the log of the requests of a listener, if they are logged."""
        log_access = listener.access_log.is_enabled(self.config.log, "agent.access")
        return self._access_log if log_access else None

    def on_start(self, now: float) -> None:
        """Look for the server with every listener."""
        if self.config.connect.proxy_url is not None:
            self.log("info", "agent", "connecting through a proxy", proxy=str(self.config.connect.proxy_url))
        self.credentials.warn_of_clear_text(self.config.connect.url)
        self.credentials.start(now)
        admin = self.config.admin.bind_addr
        if admin is not None:
            self.emit(Listen(ADMIN, admin.host, admin.port))
        if self.inspector is not None:
            self.inspector.listen()
        for listener in self.listeners:
            self._warn_of_name(listener.config)
            listener.start(now)
        for check in self._checks.values():
            check.start(now)
        if self._watch is not None:
            self._watch.start(now)

    def seeking(self) -> tuple[str, str]:
        """Return an endpoint that has no tunnel and looks for a server, and why; empty texts where each has one."""
        for listener in self.listeners:
            if not listener.has_tunnel and listener.state is ListenerState.SEEKING:
                return listener.config.endpoint_id, listener.trouble
        return "", ""

    def on_listening(self, event: Listening, now: float) -> None:
        """Tell where operators and viewers can ask."""
        if event.listener == PORT:
            addr = str(Address(event.host, event.port))
            self.log("info", PORT, "listening", addr=addr, url=f"http://{addr}/")
        else:
            tell_admin_port(self, event)

    def on_listen_failed(self, event: ListenFailed, now: float) -> None:
        """Stop: a monitor would not see the agent, or an operator not its requests."""
        inspector = self.inspector
        if inspector is not None and event.listener == PORT:
            why = f"cannot listen on inspector address '{inspector.address}': {event.reason}"
            self.emit(Exit(1, f"{why}; choose another one with --inspect.bind-addr"))
        else:
            self.emit(Exit(1, admin_refused(self.config.admin.bind_addr, event.reason)))

    def on_accepted(self, channel: TcpChannel, listener: str, now: float) -> None:
        """Answer an operator or a viewer."""
        if self.inspector is not None and listener == PORT:
            self.inspector.accept(channel, now)
        else:
            PlainConnection(channel, self._pages, self, now)

    def handler_of(self, endpoint: str) -> StreamHandler | None:
        """Return the part that serves the streams of an endpoint, while it is registered or about to be."""
        for listener in self.listeners:
            if listener.config.endpoint_id == endpoint:
                return self._stream_handlers.get(id(listener.config))
        return None

    def _renew(self, now: float) -> None:
        for listener in list(self.listeners):
            listener.renew(now)

    def _warn_of_name(self, config: ListenerConfig) -> None:
        """Warn of an endpoint ID that looks like one that a host name reaches; a ``tcp`` endpoint has no host name."""
        endpoint = config.endpoint_id
        if config.protocol == "tcp":
            return
        if not is_host_label(endpoint):
            self.warn("agent", NO_HOST_NAME, endpoint=endpoint)
        elif endpoint != endpoint.lower():
            message = "an endpoint ID has no case in Pico, and only its header reaches this one in a Piko cluster"
            self.warn("agent", message, endpoint=endpoint, use=endpoint.lower())

    def on_config_reloaded(self, event: ConfigReloaded, now: float) -> None:
        """Take over what can change while this process runs, and name the rest."""
        config = event.config
        assert isinstance(config, AgentConfig), "a configuration is read again as it was read"
        connect = config.connect
        self.credentials.reload(connect.token, connect.token_file, connect.tenant_id, now)
        self.log_reload(changed_keys(self.config, config), APPLIED)
        self.config = taken_over(self.config, config, APPLIED)
        self._pages.configure(self.config.log)
        self._log_requests()
        if not self.draining:
            self.listen_anew(now)

    def use_log(self, config: LogConfig) -> None:
        """Log as an operator asks."""
        self.config = replace(self.config, log=config)
        self._log_requests()
        self.emit(UseLogConfig(config))

    def _log_requests(self) -> None:
        """Log the requests of each listener, or do not, as ``log`` says now."""
        for handler in self._stream_handlers.values():
            if isinstance(handler, RequestStreams):
                handler.access_log = self.access_logger(handler.config)

    def listen_anew(self, now: float) -> None:
        """Register the endpoints that are new or changed, and leave those that are gone.

        A listener that was changed leaves when its successor has a tunnel, so that no request fails.
        """
        wanted = set(self.config.listeners)
        known = {each.config for each in self.listeners}
        for config in self.config.listeners:
            if config not in known:
                self.begin(config, now)
        served = {each.config.endpoint_id for each in self.listeners if each.config in wanted and each.has_tunnel}
        coming = {each.endpoint_id for each in wanted} - served
        self._replaced.clear()
        for listener in [each for each in self.listeners if each.config not in wanted]:
            if listener.config.endpoint_id in coming:
                self._replaced[listener] = None
            else:
                self._leave_stale(listener, now)

    def begin(self, config: ListenerConfig, now: float) -> None:
        """Register an endpoint."""
        listener = self._listener(config, tunnel_streams(config))
        self.listeners[listener] = None
        self._warn_of_name(config)
        listener.start(now)
        if config.health_check.protocol != "off":
            check = self._checks[id(config)] = self._check(config)
            check.start(now)

    def _leave_stale(self, listener: AgentListener, now: float) -> None:
        self._stop_check(listener.config)
        self.log("info", "agent", "leaving an endpoint", endpoint=listener.config.endpoint_id)
        listener.leave(now)

    def _stop_check(self, config: ListenerConfig) -> None:
        check = self._checks.pop(id(config), None)
        if check is not None:
            check.stop()

    def _drop_shared(self, config: ListenerConfig) -> None:
        """Drop what the listeners of a configuration share, if none of them is left."""
        if not any(each.config is config for each in self.listeners):
            self._stream_handlers.pop(id(config), None)
            self._stop_check(config)

    def on_shutdown_requested(self, event: ShutdownRequested, now: float) -> None:
        """The first request drains, a second one ends the agent at once."""
        if self.draining:
            self.emit(Exit(1, "stopped at once by a second signal"))
            return
        self.draining = True
        for check in self._checks.values():
            check.stop()
        self.log(
            "info",
            "agent",
            "draining",
            streams=sum(listener.stream_count for listener in self.listeners),
            at_most_s=self.config.grace_period_s,
            hint=STOP_HINT,
        )
        self.timers.schedule(now + self.config.grace_period_s, self._give_up)
        for listener in list(self.listeners):
            listener.drain(now)

    def _give_up(self, now: float) -> None:
        if any(listener.stream_count for listener in self.listeners):
            self.log("warning", "agent", "stopped with requests in flight: the grace period is over")
        for listener in self.listeners:
            listener.close(now)
        self.emit(Exit(0, ""))

    # --- what the listeners report ---

    def listener_opened(self, listener: AgentListener, now: float) -> None:
        """An endpoint is registered: what was configured for it before may leave."""
        config = listener.config
        for older in [each for each in self._replaced if each.config.endpoint_id == config.endpoint_id]:
            if older is not listener:
                del self._replaced[older]
                self._leave_stale(older, now)
        if not self.draining:
            self._growth.opened(listener, now)
        if listener in self._growth.further:
            self.log("info", "agent", "further tunnel opened", endpoint=config.endpoint_id)
            return
        told = {name: text for name, text in (("url", listener.url), ("node", listener.node)) if text}
        self.log("info", "agent", "endpoint registered", endpoint=config.endpoint_id, addr=str(config.addr), **told)

    def is_further(self, listener: AgentListener) -> bool:
        """Return whether the endpoint has the listener's tunnel beyond the one that it always has."""
        return listener in self._growth.further

    def listener_filling(self, listener: AgentListener, now: float) -> None:
        """Open a further tunnel if the service may get more."""
        if not self.draining:
            self._growth.filling(listener, now)

    def listener_refused(self, listener: AgentListener, reason: str, now: float) -> None:
        """Trying again would change nothing: the operator has to. The other endpoints go on."""
        endpoint, server = listener.config.endpoint_id, self.config.connect.url
        self.listeners.pop(listener, None)
        self._drop_shared(listener.config)
        if listener in self._growth.further:
            self._growth.refused(listener, now)
            self.log("warning", "agent", "further tunnel refused", endpoint=endpoint, reason=reason)
        elif self.listeners:
            self.log("error", "agent", "endpoint refused", endpoint=endpoint, server=str(server), reason=reason)
        else:
            self.on_last_refused(f"the server at {server} refused endpoint '{endpoint}': {reason}", now)

    def listener_lost(self, listener: AgentListener, reason: str, now: float) -> None:
        """The listener itself logs it, and tries again."""

    def on_last_refused(self, message: str, now: float) -> None:
        """End with the reason: no endpoint is left."""
        self.emit(Exit(1, message))

    def on_last_done(self, now: float) -> None:
        """End: no endpoint is left."""
        self.log("info", "agent", "stopped")
        self.emit(Exit(0, ""))

    def listener_done(self, listener: AgentListener, now: float) -> None:
        """A listener has drained: exit if it was the last one of an agent that stops."""
        self.listeners.pop(listener, None)
        self._replaced.pop(listener, None)
        self._growth.over(listener)
        self._drop_shared(listener.config)
        if not self.listeners:
            self.on_last_done(now)
