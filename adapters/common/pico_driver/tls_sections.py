"""Which TLS profiles a configuration needs: the names that its machine uses, and the sections that are behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pico_core.errors import ConfigError

if TYPE_CHECKING:
    from pico_core.config.agent import AgentConfig
    from pico_core.config.forward import ForwardConfig
    from pico_core.config.server import ServerConfig
    from pico_core.config.tls import ClientTlsConfig, ServerTlsConfig
    from pico_core.config.values import Origin
    from pico_driver.tls_profiles import Profiles


class TlsSections(NamedTuple):
    """The sections by the name of their profile, each with its dotted name. Next: ``load_profiles``."""

    servers: dict[str, tuple[str, ServerTlsConfig]]
    clients: dict[str, tuple[str, ClientTlsConfig]]


def server_sections(config: ServerConfig) -> TlsSections:
    """Return the sections of a server by the names of their profiles: of ports, and of what it asks others."""
    from pico_core.config.server import auth_sections
    from pico_core.config.server_ports import ENTRANCES
    from pico_core.config.tls import PEERS_PROFILE, ClientTlsConfig, jwks_profile

    servers: dict[str, tuple[str, ServerTlsConfig]] = {}
    for port in ENTRANCES:
        if port.tls is not None and port.tls(config).enabled:
            servers[port.listener] = (f"{port.key}.tls", port.tls(config))

    clients: dict[str, tuple[str, ClientTlsConfig]] = {}
    if config.proxy.tls.enabled or config.admin.tls.enabled:
        clients[PEERS_PROFILE] = ("proxy.tls.client", config.proxy.tls.client)
    for key, auth in auth_sections(config).items():
        if auth.jwks.is_secure:
            name, section = jwks_profile(auth.jwks.root_cas), ClientTlsConfig(root_cas=auth.jwks.root_cas)
            clients[name] = ("auth.jwks" if name in clients else f"{key}.jwks", section)
    return TlsSections(servers, clients)


def agent_sections(config: AgentConfig) -> TlsSections:
    """Return the sections of an agent by the names of their profiles."""
    from pico_core.config.agent import service_profile
    from pico_core.config.tls import CONNECT_PROFILE

    clients: dict[str, tuple[str, ClientTlsConfig]] = {}
    if config.connect.url.is_secure:
        clients[CONNECT_PROFILE] = ("connect.tls", config.connect.tls)
    for index, listener in enumerate(config.listeners):
        if listener.addr.is_secure:
            clients[service_profile(listener)] = (f"listeners[{index}].tls", listener.tls)
    return TlsSections({}, clients)


def forward_sections(config: ForwardConfig) -> TlsSections:
    """Return those of a forwarder."""
    from pico_core.config.tls import CONNECT_PROFILE

    clients: dict[str, tuple[str, ClientTlsConfig]] = {}
    if config.connect.url.is_secure:
        clients[CONNECT_PROFILE] = ("connect.tls", config.connect.tls)
    return TlsSections({}, clients)


def client_sections(server: Origin, profile: str, section: str, keys: dict[str, Any]) -> TlsSections:
    """Return those of a command that asks one server. Raises ``ConfigError``."""
    from pico_core.config.tls import ClientTlsConfig

    try:
        config = ClientTlsConfig(**keys)
    except ConfigError as error:
        raise ConfigError(f"--{section}: {error}") from None
    config.check_use(section, "the server's URL is not https://", is_secure=server.is_secure)
    return TlsSections({}, {profile: (section, config)} if server.is_secure else {})


def reload_profiles(profiles: Profiles | None, sections: TlsSections) -> None:
    """Load what the sections name now. Raises ``ConfigError``, and then all stays as it was.

    What speaks TLS at all changes with a restart only, so a section that is new or gone counts then; its files are
    looked at all the same. The machine names the keys of it. Those of key sets and services come and go.
    """
    load_profiles(sections)
    if profiles is not None:
        profiles.replace(sections.servers, sections.clients, _is_fixed)
        return
    new = sorted(key for name, (key, _) in sections.clients.items() if not _is_fixed(name))
    if new:
        raise ConfigError(f"{', '.join(new)}: nothing spoke TLS when this process began; it takes a restart")


def _is_fixed(name: str) -> bool:
    """Return whether a profile stays while the process runs. Those of key sets and services come and go with them."""
    from pico_core.config.tls import JWKS_PROFILE, SERVICE_PROFILE

    return name.partition(" ")[0] not in (JWKS_PROFILE, SERVICE_PROFILE)


def load_profiles(sections: TlsSections) -> Profiles | None:
    """Load what the sections name; ``None`` where nothing uses TLS. Raises ``ConfigError`` that names key and file."""
    if not sections.servers and not sections.clients:
        return None
    from pico_driver.tls_profiles import Profiles

    return Profiles(sections.servers, sections.clients)
