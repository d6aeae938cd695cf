"""What a running node takes over of a configuration that was read again. Start at ``take_over``."""

from collections.abc import Mapping

from pico_core.config.server import ServerConfig
from pico_core.server.access import Access
from pico_core.server.facts import Facts
from pico_core.server.proxies import TrustedProxies

APPLIED = (
    "proxy.auth",
    "proxy.trusted_proxies",
    "proxy.tls",
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

GOSSIP_KEYS = "cluster.gossip.keys"


def applied_keys(facts: Facts, config: ServerConfig) -> set[str]:
    """Return the keys and sections that can be taken over: ``APPLIED``, without what would begin or end sealing."""
    applied = set(APPLIED)
    if bool(config.cluster.gossip.secrets) != facts.gossip.is_sealed:
        applied.discard(GOSSIP_KEYS)
    return applied


def take_over(
    facts: Facts, access: Access, proxies: Mapping[str, TrustedProxies], config: ServerConfig, now: float
) -> None:
    """Let the parts of a node go by ``config``. Raises ``ConfigError``, and changes nothing.

    Tunnels stay until their tokens expire; those of a tenant that is no more are closed.
    """
    access.reload(config, now)
    for tunnel in list(facts.tunnels):
        if tunnel.tenant is not None and tunnel.tenant.id not in access.tenants:
            tunnel.close(now)
    if bool(config.cluster.gossip.secrets) == facts.gossip.is_sealed:
        facts.gossip.take_keys(config.cluster.gossip.secrets)
    facts.policies.configure(config.policies)
    proxies["proxy"].take_over(config.proxy.trusted_proxies)
    proxies["upstream"].take_over(config.upstream.trusted_proxies)
