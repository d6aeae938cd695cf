"""What agents and forwarders declare alike about the way to the server."""

from typing import Annotated, TypeAlias

from pico_core.config.declare import PROXY_URL, Key
from pico_core.config.proxy import Proxy
from pico_core.config.tls import ClientTlsConfig


class ConnectTlsConfig(ClientTlsConfig, frozen=True, kw_only=True):
    """TLS towards the server, where connect.url is https://."""


ProxyUrl: TypeAlias = Annotated[
    Proxy | None,
    Key(
        PROXY_URL,
        "The HTTP proxy on the way to the server, asked with CONNECT; credentials in it are never logged.",
        "Empty: HTTP_PROXY or HTTPS_PROXY of the environment, by the server's scheme, unless NO_PROXY has the server.",
    ),
]
