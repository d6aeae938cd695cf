"""The permissions of clients and agents on the ports of a server: the one place that decides them.

The endpoint that a request is permitted is the one that it is routed to: ``admit_client`` and ``admit_agent`` take it
in its one spelling and return it under the name that it has inside the cluster.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from pico_core.access.gate import Gate
from pico_core.access.grant import (
    CLOCK_UNKNOWN,
    EXPIRED_TOKEN,
    INVALID_AUTHORIZATION,
    KEYS_UNKNOWN,
    NO_CREDENTIALS,
    NOT_PERMITTED,
    UNKNOWN_TENANT,
    Denied,
    Grant,
)
from pico_core.access.token import Malformed, Unverified
from pico_core.config.auth import AuthConfig
from pico_core.config.server import ServerConfig, auth_sections, tenant_auth
from pico_core.errors import ConfigError
from pico_core.http.message import RequestHead
from pico_core.machine.parts import WallClock
from pico_core.server.key_sets import KeySet, KeySetHost
from pico_core.server.tenants import Tenant, qualified, tenant_id, tenant_of
from pico_core.timers import NEVER

REFUSED_CLAIM = "a token is refused: its signature is right, but not what it says"

_AUTHORIZATION = b"\r\nauthorization:"
_OWN_AUTHORIZATION = (b"x-pico-authorization", b"x-piko-authorization")


class AccessHost(KeySetHost, WallClock, Protocol):
    """The part of the machine that access needs."""


class Permission(msgspec.Struct, frozen=True):
    """The endpoint that an agent may register: its name inside the cluster, tenant, owner, and the end (wall time).

    ``owner`` is the subject of the token, or empty.
    """

    endpoint: str
    tenant: Tenant | None
    owner: str
    expires_at: float


class Access:
    """The gates of all ports. Next: ``start``; then the ``admit_...`` methods, each of which may raise ``Denied``."""

    def __init__(self, host: AccessHost, config: ServerConfig) -> None:
        """Raises ``ConfigError`` for keys that cannot be used; the loader of the configuration has checked them."""
        self._host = host
        self._configs: dict[str, AuthConfig] = {}
        self.gates: dict[str, Gate | None] = {}
        self._key_sets: dict[str, KeySet] = {}
        self.tenants: dict[str, Tenant] = {}
        self._set_up(config)

    def start(self, now: float) -> None:
        """Begin to fetch the key sets."""
        for key_set in self._key_sets.values():
            key_set.start(now)

    def reload(self, config: ServerConfig, now: float) -> None:
        """Take over other keys, rules and tenants. Raises ``ConfigError``, and then nothing is changed.

        What was admitted before stays admitted until its token expires.
        """
        for key, section in auth_sections(config).items():
            try:
                section.gate()
            except ConfigError as error:
                raise ConfigError(f"{key}: {error}") from None
        before = set(self._key_sets.values())
        self._set_up(config)
        for key_set in self._key_sets.values():
            if key_set not in before:
                key_set.start(now)

    def _set_up(self, config: ServerConfig) -> None:
        """Make what has changed anew, and keep the rest with what it remembers."""
        sections = auth_sections(config)
        for key in [key for key in self._configs if key not in sections]:
            self._remove(key)
        for key, section in sections.items():
            if self._configs.get(key) != section:
                self._replace(key, section)
        tenants = {each.id: self.tenants.get(each.id) or Tenant(each) for each in config.upstream.tenants}
        for each in config.upstream.tenants:
            tenants[each.id].reload(each)
        self.tenants = tenants
        self._proxy = self.gates["proxy.auth"]
        self.guards_proxy = self._proxy is not None or bool(tenants)

    def _replace(self, key: str, section: AuthConfig) -> None:
        older = self._key_sets.get(key)
        self._remove(key)
        self._configs[key] = section
        gate = self.gates[key] = section.gate()
        source = section.jwks.endpoint
        if gate is not None and source is not None:
            key_set = self._key_sets[key] = KeySet(self._host, f"{key}.jwks", section, source, gate)
            if older is not None:
                key_set.take_over(older)

    def _remove(self, key: str) -> None:
        self._configs.pop(key, None)
        self.gates.pop(key, None)
        key_set = self._key_sets.pop(key, None)
        if key_set is not None:
            key_set.stop()

    # --- the proxy port ---

    def admit_client(self, head: RequestHead, endpoint: str, now: float) -> str:
        """Return the name inside the cluster of the endpoint that a request may reach. Raises ``Denied``.

        A request that another node forwarded is checked like any other: that node hands its token and tenant on.
        """
        tenant = ""
        gate = self._proxy
        if gate is not None:
            grant = head.grant
            if grant is None or grant.era is not gate.era:
                grant = self._verified(head, gate, now)
            elif grant.expires_at != NEVER and grant.expires_at <= self._host.wall_s(now):
                raise Denied(EXPIRED_TOKEN)
            if grant.limited and not grant.permits(endpoint):
                raise Denied(NOT_PERMITTED)
            tenant = grant.tenant
            if tenant and not self.tenants:
                raise Denied(UNKNOWN_TENANT)
        return qualified(tenant_of(head, self.tenants, tenant), endpoint) if self.tenants else endpoint

    def _verified(self, head: RequestHead, gate: Gate, now: float) -> Grant:
        """Verify the token of a request, and move it out of the fields that the service gets."""
        if not head.authorization:
            head.authorization, head.fields = _take_authorization(head.fields)
            head.onward = b""
        elif _AUTHORIZATION[2:] in head.fields.lower():
            _hide_copies(head)
        head.grant = self._check("proxy.auth", gate, head.authorization, now)
        return head.grant

    def deadline_at(self, head: RequestHead, now: float) -> float:
        """Return until when a raw connection that a client has opened may last, ``NEVER`` for as long as it likes."""
        grant = head.grant
        if grant is None or grant.expires_at == NEVER or self._configs["proxy.auth"].disable_disconnect_on_expiry:
            return NEVER
        return now + max(grant.expires_at - self._host.wall_s(now), 0.0)

    # --- the upstream port ---

    def admit_agent(self, head: RequestHead, endpoint: str, now: float) -> Permission:
        """Return the permission of an agent that asks for ``endpoint``. Raises ``Denied``."""
        tenant_named = tenant_id(head)
        tenant = self.tenants.get(tenant_named)
        if tenant is None and (tenant_named or self.tenants):
            raise Denied(UNKNOWN_TENANT)
        key = "upstream.auth"
        if tenant is not None and self.gates[tenant_auth(tenant.id)] is not None:
            key = tenant_auth(tenant.id)
        gate = self.gates[key]
        if gate is None:
            return Permission(qualified(tenant_named, endpoint), tenant, "", NEVER)
        grant = self._check(key, gate, head.authorization or _take_authorization(head.fields)[0], now)
        if not grant.permits(endpoint) or (grant.tenant and grant.tenant != tenant_named):
            raise Denied(NOT_PERMITTED)
        expires_at = NEVER if self._configs[key].disable_disconnect_on_expiry else grant.expires_at
        return Permission(qualified(tenant_named, endpoint), tenant, grant.subject, expires_at)

    # --- the admin port ---

    def admit_operator(self, fields: Iterable[tuple[bytes, bytes]], now: float) -> tuple[bytes, float]:
        """Return the credentials of a question that may be answered, empty where none are asked for, and their end.

        Raises ``Denied``. The port shows everything, so a token that is limited to endpoints or to a tenant does not
        open it.
        """
        gate = self.gates["admin.auth"]
        if gate is None:
            return b"", NEVER
        own = [value for name, value in fields if name in _OWN_AUTHORIZATION]
        usual = [value for name, value in fields if name == b"authorization"]
        given = own or usual
        if not given:
            raise Denied(NO_CREDENTIALS)
        if len(set(given)) > 1:
            raise Denied(INVALID_AUTHORIZATION)
        grant = self._check("admin.auth", gate, given[0], now)
        if grant.limited or grant.tenant:
            raise Denied(NOT_PERMITTED)
        if grant.expires_at == NEVER or self._configs["admin.auth"].disable_disconnect_on_expiry:
            return given[0], NEVER
        return given[0], now + max(grant.expires_at - self._host.wall_s(now), 0.0)

    # --- inside ---

    def _check(self, key: str, gate: Gate, authorization: bytes, now: float) -> Grant:
        wall_s = self._host.wall_s(now)
        if not wall_s:
            raise Denied(CLOCK_UNKNOWN, 503)
        try:
            return gate.check(authorization, wall_s)
        except Malformed as error:
            self._host.warn("access", REFUSED_CLAIM, key=key, reason=error.problem)
            raise
        except Unverified as error:
            key_set = self._key_sets.get(key)
            if key_set is not None and (error.kid_unknown or not key_set.known) and key_set.look_again(now):
                raise Denied(KEYS_UNKNOWN, 503) from None
            raise


def _take_authorization(fields: bytes) -> tuple[bytes, bytes]:
    """Return the value of the one Authorization field among field lines, and the other lines. Raises ``Denied``."""
    lower_case = fields.lower()
    begin = 0 if lower_case.startswith(_AUTHORIZATION[2:]) else lower_case.find(_AUTHORIZATION) + 2
    if begin == 1:
        raise Denied(NO_CREDENTIALS)
    end = lower_case.find(b"\r\n", begin) + 2
    if lower_case.find(_AUTHORIZATION, end - 2) >= 0:
        raise Denied(INVALID_AUTHORIZATION)
    value = fields[begin + len(_AUTHORIZATION) - 2 : end - 2].strip(b" \t")
    if not value:
        raise Denied(NO_CREDENTIALS)
    return value, fields[:begin] + fields[end:]


def _hide_copies(head: RequestHead) -> None:
    """Take Authorization away where a client has put its token there too. What else is there is the service's."""
    token = head.authorization.split()[-1]
    lines = head.fields.splitlines(keepends=True)
    kept = [line for line in lines if token not in line or not line.lower().startswith(_AUTHORIZATION[2:])]
    if len(kept) < len(lines):
        head.fields, head.onward = b"".join(kept), b""
