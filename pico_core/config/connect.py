"""The keys of the way to the server, which agents and forwarders have in common."""

from typing import Annotated, TypeAlias

from pico_core.access.secret import Secret
from pico_core.config.declare import OPTIONAL_TENANT, PROXY_URL, TOKEN, TOKEN_FILE, Key
from pico_core.config.proxy import Proxy
from pico_core.config.secrets import SecretFile
from pico_core.config.tls import ClientTlsConfig
from pico_core.errors import ConfigError


class ConnectTlsConfig(ClientTlsConfig, frozen=True, kw_only=True):
    """TLS towards the server, where connect.url is https://."""


ProxyUrl: TypeAlias = Annotated[
    Proxy | None,
    Key(
        PROXY_URL,
        "The HTTP proxy on the way to the server, asked with CONNECT; credentials in it are never logged. "
        "socks5:// and https:// proxies are refused.",
        "Empty: HTTP_PROXY or HTTPS_PROXY of the environment, by the server's scheme, unless NO_PROXY has the server. "
        "These are never used for a server at localhost or a loopback address.",
    ),
]

Token: TypeAlias = Annotated[
    Secret | None,
    Key(TOKEN, "The token to show to the server, where it asks for one.", "Empty: none. Others may see it as a flag."),
]
TokenFile: TypeAlias = Annotated[
    SecretFile | None,
    Key(
        TOKEN_FILE,
        "A file with the token; it is read again every 5 s, so that it can be renewed while this runs.",
        "Empty: none.",
    ),
]
TenantId: TypeAlias = Annotated[
    str,
    Key(OPTIONAL_TENANT, "The tenant of the server that the endpoints belong to, where it has any.", "Empty: none."),
]


def check_token(token: Secret | None, file: SecretFile | None) -> None:
    """Raise ``ConfigError`` where both are given."""
    if token is not None and file is not None:
        raise ConfigError("token and token_file exclude each other; give one of them")
