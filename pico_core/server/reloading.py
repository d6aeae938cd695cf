"""The keys that a running node takes over of a configuration that was read again. Start at ``take_over``."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PORTS, Ports
from pico_core.machine.admission import ConnectionLimits
from pico_core.server.access import Access
from pico_core.server.facts import Facts
from pico_core.server.limits import unfinished_bytes
from pico_core.server.proxies import TrustedProxies

APPLIED = (
    "max_connections",
    "max_address_share",
    "proxy.max_connections",
    "proxy.timeout",
    "proxy.http",
    "proxy.wait_timeout",
    "proxy.max_waiting",
    "proxy.access_log",
    "proxy.allowed_origins",
    "proxy.error_detail",
    "proxy.public_url",
    "proxy.auth",
    "proxy.trusted_proxies",
    "proxy.tls",
    "upstream.max_connections",
    "upstream.max_streams",
    "upstream.registration_timeout",
    "upstream.registration_rate",
    "upstream.registration_burst",
    "upstream.allowed_origins",
    "upstream.auth",
    "upstream.tenants",
    "upstream.trusted_proxies",
    "upstream.tls",
    "upstream.rebalance.shed_rate",
    "upstream.rebalance.min_conns",
    "admin.auth",
    "admin.tls",
    "cluster.gossip.keys",
    "policies",
    "log",
    "grace_period",
    "drain_delay",
)
"""Keys and sections of the configuration that a running node takes over; the others need a restart.

Files of TLS and the levels of logs are taken over outside of the core.
"""

GOSSIP_KEYS_PATH = "cluster.gossip.keys"


def applied_keys(facts: Facts, config: ServerConfig) -> set[str]:
    """Return the keys and sections that can be taken over.

    Those are ``APPLIED``, without what would begin or end sealing, and without the TLS of a port that would begin or
    end to speak it.
    """
    applied = set(APPLIED).difference(switched_tls(facts.config, config, facts.ports))
    if bool(config.cluster.gossip.secrets) != facts.gossip.is_sealed:
        applied.discard(GOSSIP_KEYS_PATH)
    return applied


def switched_tls(before: ServerConfig, after: ServerConfig, ports: Ports = PORTS) -> list[str]:
    """Return the sections of ports that speak TLS by one of two configurations, and not by the other."""
    return [
        f"{port.key}.tls"
        for port in ports
        if port.tls is not None and port.tls(before).enabled != port.tls(after).enabled
    ]


class Configured(Protocol):
    """A part of a node that takes over what it is configured to do."""

    def configure(self, config: ServerConfig) -> None:
        """Go by ``config`` from now on. What was begun before goes on as it was."""


def take_over(
    facts: Facts,
    access: Access,
    proxies: Mapping[str, TrustedProxies],
    parts: Iterable[Configured],
    limits: ConnectionLimits,
    config: ServerConfig,
    now: float,
) -> None:
    """Let the parts of a node go by ``config``. Raises ``ConfigError``, and changes nothing.

    Tunnels stay until their tokens expire. The tunnels of a tenant that was removed are closed. Where ``config`` has
    tenants, so are the tunnels without one. ``limits`` hold for connections that come later.
    """
    access.reload(config, now)
    facts.admission.configure(limits)
    facts.heads.limit_bytes = unfinished_bytes(config)
    for part in parts:
        part.configure(config)
    for tunnel in list(facts.tunnels):
        is_known = not access.tenants if tunnel.tenant is None else tunnel.tenant.id in access.tenants
        if not is_known:
            tunnel.close(now)
    if bool(config.cluster.gossip.secrets) == facts.gossip.is_sealed:
        facts.gossip.take_keys(config.cluster.gossip.secrets)
    facts.policies.configure(config.policies)
    for port in facts.ports:
        if port.behind is not None:
            proxies[port.listener].take_over(port.behind(config).trusted_proxies)
