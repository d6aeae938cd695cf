"""Tenants: the customers that share a node, each under keys and limits of its own.

Inside the cluster an endpoint of a tenant is ``tenant/endpoint``: an ID has no slash, so the name of a tenant's
endpoint is never that of another one. ``docs/decisions/tenants.md`` says how requests name a tenant.
"""

from collections.abc import Container

from pico_core.access.grant import NOT_PERMITTED, UNKNOWN_TENANT, Denied
from pico_core.config.ports import TenantConfig
from pico_core.config.values import TENANT_SEPARATOR
from pico_core.http.message import RequestHead
from pico_core.proxy.endpoint import tenant_label
from pico_core.server.address_rate import AddressRate


def qualified(tenant: str, endpoint: str) -> str:
    """Return the name of an endpoint inside the cluster."""
    return f"{tenant}{TENANT_SEPARATOR}{endpoint}" if tenant else endpoint


def split(endpoint: str) -> tuple[str, str]:
    """Return the tenant, empty where there is none, and the endpoint that clients name."""
    tenant, _, name = endpoint.rpartition(TENANT_SEPARATOR)
    return tenant, name


def tenant_id(head: RequestHead) -> str:
    """Return the tenant that the header names, empty without one."""
    return head.tenant.decode("latin-1").lower()


def tenant_of(head: RequestHead, known: Container[str], permitted: str = "") -> str:
    """Return the tenant that a client's request is for: the one it names, else the one that its token is for.

    Raises ``Denied``.
    """
    named = tenant_id(head)
    if not named:
        label = tenant_label(head)
        named = label if label in known else permitted
    if named not in known:
        raise Denied(UNKNOWN_TENANT)
    if permitted and named != permitted:
        raise Denied(NOT_PERMITTED)
    return named


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
