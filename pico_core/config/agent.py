"""The configuration of ``pico agent``: every key, its default, and why."""

from typing import Annotated

from pico_core.config.declare import (
    DURATION,
    DURATION_OR_ZERO,
    IDENTIFIER,
    ORIGIN,
    SERVER_URL,
    Key,
    Section,
    one_of,
    whole_number,
)
from pico_core.config.logs import AccessLogConfig, LogConfig
from pico_core.config.values import Origin
from pico_core.errors import ConfigError


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
            "100 is as many requests as one listener usually has in flight.",
        ),
    ] = 100


class ListenerConfig(Section, frozen=True, kw_only=True):
    """An endpoint to register, and the service its requests go to."""

    endpoint_id: Annotated[str, Key(IDENTIFIER, "The endpoint whose requests come through this tunnel.")]
    addr: Annotated[
        Origin,
        Key(ORIGIN, "The service: a port of this machine, a host:port, or (http) a URL http://host:port."),
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
            "How long the service may take to accept a connection and, with http, to begin its response.",
            "10 s: less than the server's proxy.timeout, so that the agent's more precise error wins.",
        ),
    ] = 10.0
    max_streams: Annotated[
        int,
        Key(
            whole_number(1, 1_000_000),
            "How many requests or connections the service gets through one tunnel at once.",
            "1024: more than most services take. The server answers 503 beyond it, or asks another agent.",
        ),
    ] = 1_024
    access_log: AccessLogConfig = AccessLogConfig()
    http_client: HttpClientConfig = HttpClientConfig()

    def __post_init__(self) -> None:
        if self.protocol == "tcp" and self.addr.scheme:
            raise ConfigError(f"a tcp listener wants a port or a host:port, found the URL '{self.addr}'")


class AgentConnectConfig(Section, frozen=True, kw_only=True):
    """Connection to the server."""

    url: Annotated[
        Origin,
        Key(
            SERVER_URL,
            "The upstream port of the server, or of a balancer before the cluster.",
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


class AgentConfig(Section, frozen=True, kw_only=True):
    """General."""

    listeners: tuple[ListenerConfig, ...] = ()
    connect: AgentConnectConfig = AgentConnectConfig()
    log: LogConfig = LogConfig()
    grace_period_s: Annotated[
        float,
        Key(
            DURATION_OR_ZERO,
            "The longest a stop may take while requests in flight finish.",
            "1 m lets ordinary downloads end.",
        ),
    ] = 60.0
