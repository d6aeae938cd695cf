"""The ports that a node offers to every host, said at its start and where a reload changes it."""

from itertools import islice

from pico_core.config.auth import AuthConfig
from pico_core.config.changes import is_among
from pico_core.config.server import ServerConfig, auth_sections, tenant_auth
from pico_core.config.server_ports import PORTS, Ports, entrances, entrances_first
from pico_core.config.values import is_loopback
from pico_core.machine.parts import Logger
from pico_core.server.widening import widened

OPEN = "anyone who reaches these ports may use them: set the keys, or let only those reach them whom you trust"

OPEN_TENANTS = "agents of these tenants need no token: neither they nor the port have a key"

PLAIN_KEY_SETS = "key sets are fetched without TLS: an attacker on the way can put in a key and let anyone in"

UNGUARDED = "these ports asked for a token, a certificate or a key until the configuration was read again"

FEWER_GUARDS = "these are not asked for any more since the configuration was read again"

WIDENED = "policies let more pass since the configuration was read again"

MAX_NAMED = 20
"""Of patterns and of tenants in one line; the line says how many there are in all."""

_RULES = ("audience", "issuer", "require_expiry")


def open_ports(config: ServerConfig, ports: Ports = PORTS) -> list[tuple[str, str]]:
    """Return the ports that other hosts reach, each with the section to configure.

    Those that ask for a token, or for a certificate, are left out. A host that reaches the gossip port of a cluster
    without a key can join it and take its requests.
    """
    return [
        (f"{port.name} {address}", port.guard)
        for port in entrances_first(ports)
        if not is_loopback((address := port.bind_addr(config)).host) and not port.is_guarded(config)
    ]


def open_tenants(config: ServerConfig) -> list[str]:
    """Return the tenants for which anyone who reaches the upstream port may register endpoints."""
    upstream = config.upstream
    if upstream.auth.is_on or upstream.tls.asks_for_certificates:
        return []
    return [tenant.id for tenant in upstream.tenants if not tenant.auth.is_on]


def plain_key_sets(config: ServerConfig) -> dict[str, str]:
    """Return the URLs of key sets that are fetched from other hosts without TLS, by their keys."""
    found = {}
    for key, section in auth_sections(config).items():
        source = section.jwks.endpoint
        origin = None if source is None or section.jwks.is_secure else source.origin
        if origin is not None and not is_loopback(origin.host):
            found[f"{key}.jwks.endpoint"] = str(source)
    return found


def guards(config: ServerConfig, ports: Ports = PORTS) -> set[str]:
    """Return the credentials that ports ask for, as keys of the configuration."""
    found = {key for key, section in auth_sections(config).items() if section.is_on}
    for port in entrances(ports):
        if port.tls is not None and port.tls(config).asks_for_certificates:
            found.add(f"{port.key}.tls.client_cas")
    for key, section in auth_sections(config).items():
        found.update(f"{key}.{name}" for name in _rules(section))
    return found


def _rules(section: AuthConfig) -> list[str]:
    return [name for name in _RULES if section.is_on and getattr(section, name)]


def warn_of_open_ports(host: Logger, config: ServerConfig, rows: Ports = PORTS) -> None:
    """Log what is open to strangers: a line for ports and one for tenants, each with the keys of the configuration."""
    found = open_ports(config, rows)
    if found:
        ports, keys = (", ".join(column) for column in zip(*found, strict=True))
        host.log("warning", "access", OPEN, ports=ports, keys=keys)
    _warn_of_tenants(host, open_tenants(config))
    _warn_of_key_sets(host, plain_key_sets(config))


def warn_of_lost_guards(host: Logger, before: ServerConfig, after: ServerConfig, rows: Ports = PORTS) -> None:
    """Log what a reload has opened: ports, tenants, and policies by the patterns of their endpoints."""
    lost = [port for port in entrances_first(rows) if port.is_guarded(before) and not port.is_guarded(after)]
    if lost:
        ports = ", ".join(f"{port.name} {port.bind_addr(after)}" for port in lost)
        host.log("warning", "access", UNGUARDED, ports=ports, keys=", ".join(port.guard for port in lost))
    known = set(open_tenants(before))
    opened = [tenant for tenant in open_tenants(after) if tenant not in known]
    _warn_of_tenants(host, opened)
    plain = plain_key_sets(before)
    _warn_of_key_sets(host, {key: url for key, url in plain_key_sets(after).items() if plain.get(key) != url})
    told = {port.guard for port in lost} | {tenant_auth(tenant) for tenant in opened}
    gone = sorted(key for key in _lost_guards(before, after, rows) if not is_among(key, told))
    if gone:
        host.log("warning", "access", FEWER_GUARDS, keys=_some(gone), count=len(gone))
    if before.policies != after.policies:
        _warn_of_policies(host, before, after)


def _lost_guards(before: ServerConfig, after: ServerConfig, rows: Ports) -> set[str]:
    """Name the guards that a reload takes away; of tenants that are gone only where agents need no tenant now."""
    kept = auth_sections(after)
    gone = guards(before, rows) - guards(after, rows)
    if after.upstream.tenants:
        former = {tenant_auth(each.id) for each in before.upstream.tenants} - kept.keys()
        gone = {key for key in gone if not is_among(key, former)}
    return {key for key in gone if not is_among(key.rpartition(".")[0], gone)}


def _warn_of_tenants(host: Logger, tenants: list[str]) -> None:
    if tenants:
        keys = _some([tenant_auth(each) for each in tenants])
        host.log("warning", "access", OPEN_TENANTS, tenants=_some(tenants), keys=keys, count=len(tenants))


def _warn_of_key_sets(host: Logger, urls: dict[str, str]) -> None:
    if urls:
        host.log(
            "warning", "access", PLAIN_KEY_SETS, urls=_some(list(dict.fromkeys(urls.values()))), keys=_some([*urls])
        )


def _warn_of_policies(host: Logger, before: ServerConfig, after: ServerConfig) -> None:
    found = list(widened(before.policies, after.policies))
    if found:
        shown = _some([f"{pattern} ({', '.join(rules)})" for pattern, rules in found])
        host.log("warning", "access", WIDENED, endpoints=shown, count=len(found))
    if before.policies and not after.policies:
        host.log("warning", "access", "no policy holds any more", keys="policies")


def _some(names: list[str]) -> str:
    """Return names in one line, cut short where there are many."""
    return ", ".join(islice(names, MAX_NAMED)) + (", ..." if len(names) > MAX_NAMED else "")
