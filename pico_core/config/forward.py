"""The configuration of ``pico forward``: every key, its default, and why."""

from typing import Annotated

from pico_core.config.client_admin import ClientAdminConfig
from pico_core.config.connect import ConnectTlsConfig, ProxyUrl, TenantId, Token, TokenFile, check_token
from pico_core.config.declare import CLIENTS_URL, DURATION, IDENTIFIER, LOCAL_ADDRESS, Key, Section
from pico_core.config.logs import LogConfig
from pico_core.config.values import Address, Origin


class PortConfig(Section, frozen=True, kw_only=True):
    """A local port, and the endpoint its connections go to."""

    addr: Annotated[Address, Key(LOCAL_ADDRESS, "Where to listen: a port (of this machine only) or a host:port.")]
    endpoint_id: Annotated[str, Key(IDENTIFIER, "The tcp endpoint that connections are forwarded to.")]


class ForwardConnectConfig(Section, frozen=True, kw_only=True):
    """Connection to the server."""

    url: Annotated[
        Origin,
        Key(
            CLIENTS_URL,
            "The proxy port of the server, or of a balancer before the cluster; its path comes before the endpoint's.",
            "A server on this machine, with its default port.",
        ),
    ] = Origin("localhost", 8000, "http")
    timeout_s: Annotated[
        float,
        Key(
            DURATION,
            "How long reaching the endpoint through the server may take, attempts and pauses together.",
            "30 s outlasts a balancer that is just being replaced.",
        ),
    ] = 30.0
    token: Token = None
    token_file: TokenFile = None
    tenant_id: TenantId = ""
    proxy_url: ProxyUrl = None
    tls: ConnectTlsConfig = ConnectTlsConfig()

    def __post_init__(self) -> None:
        check_token(self.token, self.token_file)
        self.tls.check_use("tls", "url is not https://", is_secure=self.url.is_secure)


class ForwardConfig(Section, frozen=True, kw_only=True):
    """General.

    The whole configuration of a forwarder. The line above titles the keys at its top. Next: ``load``, then the machine.
    """

    ports: tuple[PortConfig, ...] = ()
    connect: ForwardConnectConfig = ForwardConnectConfig()
    admin: ClientAdminConfig = ClientAdminConfig()
    log: LogConfig = LogConfig()
