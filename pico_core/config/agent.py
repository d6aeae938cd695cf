"""The configuration of ``pico agent``: every key, its default, and why."""

from typing import Annotated, ClassVar

from pico_core.config.client_admin import ClientAdminConfig
from pico_core.config.connect import ConnectTlsConfig, ProxyUrl, TenantId, Token, TokenFile, check_token
from pico_core.config.declare import (
    CONNECT_URL,
    DURATION,
    DURATION_OR_ZERO,
    HEALTH_PATH,
    HOST_HEADER,
    IDENTIFIER,
    ORIGIN,
    Key,
    Section,
    one_of,
    whole_number,
)
from pico_core.config.inspect import InspectConfig
from pico_core.config.logs import AccessLogConfig, LogConfig
from pico_core.config.tls import SERVICE_PROFILE, ClientTlsConfig
from pico_core.config.tracing import TracingConfig
from pico_core.config.values import Origin
from pico_core.errors import ConfigError

SERVICE_S = 10.0
SERVICE_STREAMS = 4_096
"""How long a service may take, and how much it gets at once: defaults of a listener, also of one in a program."""
MAX_CONNECTIONS = 64
"""Tunnels that an agent keeps open for an endpoint: as many as a server has workers at most."""


class HttpClientConfig(Section, frozen=True, kw_only=True):
    """Connections from the agent to the service."""

    idle_conn_timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long a connection to the service is kept without a request.",
            "90 s spares a busy service new connections and returns them to one that is not.",
        ),
    ] = 90.0
    max_idle_conns: Annotated[
        int,
        Key(
            whole_number(0, 1_000_000),
            "How many idle connections to the service are kept; 0 opens a new one for each request.",
            "4096 is as many requests as the service gets at once (max_streams): a busy service keeps its connections.",
        ),
    ] = SERVICE_STREAMS


class ServiceTlsConfig(ClientTlsConfig, frozen=True, kw_only=True):
    """TLS towards the service, where addr is a URL with https://."""


class HealthCheckConfig(Section, frozen=True, kw_only=True):
    """Checks of the service by the agent: while they fail, the endpoint takes no requests here."""

    protocol: Annotated[
        str,
        Key(
            one_of("off", "tcp", "http"),
            "off; tcp for a connection; http for a GET that must be answered below 400.",
            "off: the server avoids an agent whose requests fail by itself.",
        ),
    ] = "off"
    path: Annotated[
        str, Key(HEALTH_PATH, "The path of the GET.", "/: services that have nothing better answer it.")
    ] = "/"
    interval_s: Annotated[
        float, Key(DURATION, "The time between two checks.", "5 s costs a service nothing, and is soon enough.")
    ] = 5.0
    timeout_s: Annotated[
        float, Key(DURATION, "How long a check may take.", "3 s: a service that is slower is as good as down.")
    ] = 3.0
    failures: Annotated[
        int,
        Key(
            whole_number(1, 100),
            "How many checks in a row must fail before the endpoint is taken out; one that succeeds brings it back.",
            "2: one may be lost to a restart.",
        ),
    ] = 2


class ListenerConfig(Section, frozen=True, kw_only=True):
    """An endpoint to register, and the service its requests go to."""

    endpoint_id: Annotated[str, Key(IDENTIFIER, "The endpoint whose requests come through this tunnel.")]
    addr: Annotated[
        Origin,
        Key(ORIGIN, "The service: a port of this machine, a host:port, or (http) a URL such as http://host:port."),
    ]
    protocol: Annotated[
        str,
        Key(
            one_of("http", "tcp"),
            "What the service speaks: http for requests, tcp for plain connections.",
            "http: what most services speak.",
        ),
    ] = "http"
    timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long the service may take to accept a connection and, with http, to take more of a request or "
            "begin its response.",
            "10 s: less than the server's proxy.timeout, so that the agent's more precise error wins.",
        ),
    ] = SERVICE_S
    max_streams: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000),
            "How many requests or connections the service gets at once. One tunnel carries 1024, or fewer if the server"
            " says so; the agent opens a further one when three quarters are in use.",
            "4096: more than most services take. The server answers 503 beyond it, or asks another agent.",
        ),
    ] = SERVICE_STREAMS
    connections: Annotated[
        int,
        Key(
            whole_number(1, MAX_CONNECTIONS),
            "How many tunnels the agent keeps open for the endpoint; they share max_streams. Where a balancer or "
            "several workers stand behind the server's address, each may lead elsewhere.",
            "1: other nodes forward to the one that has it. With workers, give a few times their number.",
        ),
    ] = 1
    host_header: Annotated[
        str,
        Key(
            HOST_HEADER,
            "The Host that the service is told: keep for the client's, rewrite for that of addr, or a name.",
            "keep: most services build links from it; development servers that refuse it want rewrite or localhost.",
        ),
    ] = "keep"
    access_log: AccessLogConfig = AccessLogConfig()
    http_client: HttpClientConfig = HttpClientConfig()
    tls: ServiceTlsConfig = ServiceTlsConfig()
    health_check: HealthCheckConfig = HealthCheckConfig()

    def __post_init__(self) -> None:
        if self.protocol == "tcp" and self.addr.scheme:
            raise ConfigError(f"a tcp listener wants a port or a host:port, found the URL '{self.addr}'")
        if self.protocol == "tcp" and self.host_header != "keep":
            raise ConfigError(f"host_header is for http listeners, found '{self.host_header}' at a tcp one")
        if self.protocol == "tcp" and self.health_check.protocol == "http":
            raise ConfigError("health_check.protocol is http at a tcp listener; give tcp or off")
        self.tls.check_use("tls", "addr is not https://", is_secure=self.addr.is_secure)


def service_profile(config: ListenerConfig) -> str:
    """Return the name of the TLS profile with which the agent reaches a service."""
    return f"{SERVICE_PROFILE} {config.endpoint_id} {config.addr}"


class BackoffConfig(Section, frozen=True, kw_only=True):
    """Pauses between attempts to connect, each shortened at random by up to half."""

    first_s: Annotated[
        float,
        Key(
            DURATION, "The pause after the first failure; it doubles with each further one.", "100 ms outlasts a blip."
        ),
    ] = 0.1
    longest_s: Annotated[
        float,
        Key(DURATION, "The longest pause.", "15 s: a thousand agents ask a server that is away 90 times a second."),
    ] = 15.0
    after_loss_s: Annotated[
        float,
        Key(
            DURATION,
            "The longest pause during connect.backoff.after_loss_for, and the one after a draining node's refusal.",
            "1 s: an agent is back about a second after the server is.",
        ),
    ] = 1.0
    after_loss_for_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "How long after the loss of a tunnel that worked the pauses stay short.",
            "5 m outlasts a restart of the whole cluster.",
        ),
    ] = 300.0

    def __post_init__(self) -> None:
        if self.first_s > self.longest_s:
            raise ConfigError("connect.backoff.first must not be longer than connect.backoff.longest")


class AgentConnectConfig(Section, frozen=True, kw_only=True):
    """Connection to the server."""

    url: Annotated[
        Origin,
        Key(
            CONNECT_URL,
            "The upstream port of the server, or of a balancer before the cluster; its path comes before the tunnel's.",
            "A server on this machine, with its default port.",
        ),
    ] = Origin("localhost", 8001, "http")
    timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long one attempt to connect and register may take; after it the agent tries again.",
            "30 s outlasts a balancer that is just being replaced.",
        ),
    ] = 30.0
    token: Token = None
    token_file: TokenFile = None
    tenant_id: TenantId = ""
    proxy_url: ProxyUrl = None
    tls: ConnectTlsConfig = ConnectTlsConfig()
    backoff: BackoffConfig = BackoffConfig()

    def __post_init__(self) -> None:
        check_token(self.token, self.token_file)
        self.tls.check_use("tls", "url is not https://", is_secure=self.url.is_secure)


class AgentConfig(Section, frozen=True, kw_only=True):
    """General.

    The whole configuration of an agent. The line above titles the keys at its top. Next: ``load``, then the machine.
    """

    aliases: ClassVar[dict[str, str]] = {"server": "admin"}

    listeners: tuple[ListenerConfig, ...] = ()
    connect: AgentConnectConfig = AgentConnectConfig()
    admin: ClientAdminConfig = ClientAdminConfig()
    inspect: InspectConfig = InspectConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    grace_period_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "The longest a stop may take while requests in flight finish.",
            "1 m lets ordinary downloads end.",
        ),
    ] = 60.0
