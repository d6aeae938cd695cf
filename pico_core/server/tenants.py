"""Tenants: the customers that share a node, each under keys and limits of its own.

Inside the cluster an endpoint of a tenant is ``tenant/endpoint``: an ID has no slash, so the name of a tenant's
endpoint is never that of another one. ``docs/decisions/tenants.md`` says how requests name a tenant.
"""

from pico_core.config.ports import TenantConfig
from pico_core.server.address_rate import AddressRate

SEPARATOR = "/"


def qualified(tenant: str, endpoint: str) -> str:
    """Return the name of an endpoint inside the cluster."""
    return f"{tenant}{SEPARATOR}{endpoint}" if tenant else endpoint


def split(endpoint: str) -> tuple[str, str]:
    """Return the tenant, empty where there is none, and the endpoint that clients name."""
    tenant, _, name = endpoint.rpartition(SEPARATOR)
    return tenant, name


class Tenant:
    """One tenant at this node: what it uses, and how much it may."""

    __slots__ = ("config", "id", "in_flight", "registrations", "tunnels")

    def __init__(self, config: TenantConfig) -> None:
        self.id = config.id
        self.tunnels = 0
        self.in_flight = 0
        self.config = config
        self.registrations = AddressRate(config.registration_rate, config.registration_burst)

    def reload(self, config: TenantConfig) -> None:
        """Take over new limits."""
        self.registrations.configure(config.registration_rate, config.registration_burst)
        self.config = config

    @property
    def is_full(self) -> bool:
        """Whether its tunnels carry as many requests as it may have."""
        return 0 < self.config.max_streams <= self.in_flight
