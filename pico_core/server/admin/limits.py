"""Every limit of a node that an operator meets: its key, its value, its present use, and what happens at it.

``declared`` returns them for ``/status/limits`` and for ``docs/limits.md``. A limit
without a key of its own has the reason why.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import PEERS, PORTS, Places, PortRow, Ports, entrances, entrances_first
from pico_core.config.tls import ServerTlsConfig
from pico_core.config.values import show_duration
from pico_core.gossip.state import MAX_ENDPOINTS
from pico_core.plain.exposition import Number
from pico_core.server import gossip_budget
from pico_core.server.facts import Facts

Value: TypeAlias = int | float | str


class LimitRow(msgspec.Struct, frozen=True):
    """One limit: ``used`` is ``None`` where it is for a single request or connection, and nothing adds up.

    ``limit`` is 0 where there is none. A duration is a text such as ``10s``.
    """

    key: str
    limit: Value
    used: Number | None
    then: str


class Limit(msgspec.Struct, frozen=True):
    """The declaration of a limit. ``fixed`` says why it has no key; then ``key`` is what it bounds."""

    key: str
    value: Callable[[Facts], Value]
    then: str
    used: Callable[[Facts], Number] | None = None
    fixed: str = ""


def _seconds(read: Callable[[Facts], float]) -> Callable[[Facts], str]:
    return lambda facts: show_duration(read(facts))


def _most(listener: str) -> Callable[[Facts], int]:
    return lambda facts: facts.admission.limits.ports[listener].most


def _open(listener: str) -> Callable[[Facts], int]:
    return lambda facts: len(facts.admission.ports[listener].channels)


def _share(listener: str) -> Callable[[Facts], int]:
    def read(facts: Facts) -> int:
        port = facts.admission.limits.ports[listener]
        return int(port.most * port.address_share)

    return read


def _largest(listener: str) -> Callable[[Facts], int]:
    return lambda facts: max(facts.admission.ports[listener].clients.values(), default=0)


def _handshakes(port: PortRow, section: Callable[[ServerConfig], ServerTlsConfig]) -> tuple[Limit, Limit]:
    return (
        Limit(
            f"{port.key}.tls.handshake_timeout",
            _seconds(lambda facts: section(facts.config).handshake_timeout_s),
            "the connection is closed",
        ),
        Limit(
            f"{port.key}.tls.max_handshakes",
            lambda facts: section(facts.config).max_handshakes,
            "the oldest handshake ends, and its connection is closed",
            lambda facts: facts.admission.handshakes.get(port.listener, 0),
        ),
    )


def _all_open(facts: Facts) -> int:
    return facts.admission.outgoing + sum(len(port.channels) for port in facts.admission.ports.values())


_RESERVED = "it follows from max_connections: so many are kept for this port, whatever the others have"
_LEFT = "it follows from max_connections: a sixteenth is kept for them, and they have what others do not need"
_NODE = "it follows from the length of the messages of gossip, which is the same on all nodes"

_OF_NODE = (
    Limit(
        "max_connections",
        lambda facts: facts.admission.limits.most,
        "idle clients are closed, the longest idle first; then new connections get a 503 with Retry-After",
        _all_open,
    ),
)

_OF_REQUESTS = (
    Limit(
        "proxy.http.read_header_timeout",
        _seconds(lambda facts: facts.config.proxy.http.read_header_timeout_s),
        "the client gets a 408 and its connection is closed",
    ),
    Limit(
        "proxy.http.idle_timeout",
        _seconds(lambda facts: facts.config.proxy.http.idle_timeout_s),
        "the connection is closed",
    ),
    Limit(
        "proxy.http.max_header_bytes",
        lambda facts: facts.config.proxy.http.max_header_bytes,
        "a request gets a 431; for a response the client gets a 502",
    ),
    Limit(
        "proxy.http.max_unfinished_bytes",
        lambda facts: facts.heads.limit_bytes,
        "the longest unfinished heads are refused with 503 or 502 until an eighth is free",
        lambda facts: facts.heads.used_bytes,
    ),
    Limit(
        "proxy.timeout",
        _seconds(lambda facts: facts.config.proxy.timeout_s),
        "the client gets a 504",
    ),
    Limit(
        "proxy.wait_timeout",
        _seconds(lambda facts: facts.config.proxy.wait_timeout_s),
        "the client gets the answer there is",
    ),
    Limit(
        "proxy.max_waiting",
        lambda facts: facts.config.proxy.max_waiting,
        "requests without a route are answered at once",
        lambda facts: len(facts.waiting),
    ),
)

_OF_AGENTS_AND_NODES = (
    Limit(
        "upstream.registration_timeout",
        _seconds(lambda facts: facts.config.upstream.registration_timeout_s),
        "the connection is closed",
    ),
    Limit(
        "upstream.max_streams",
        lambda facts: facts.config.upstream.max_streams,
        "requests go to another tunnel of the endpoint, or get a 503",
        lambda facts: max((tunnel.in_flight for tunnel in facts.tunnels), default=0),
    ),
    Limit(
        "upstream.registration_rate",
        lambda facts: facts.config.upstream.registration_rate,
        "the agent gets a 503 with the time to wait",
    ),
    Limit(
        "upstream.registration_burst",
        lambda facts: facts.config.upstream.registration_burst,
        "upstream.registration_rate holds",
    ),
    Limit(
        "endpoints of the node",
        lambda _facts: MAX_ENDPOINTS,
        "agents of further endpoints get a 503",
        lambda facts: facts.registry.endpoint_count,
        _NODE,
    ),
    Limit(
        "cluster.gossip.max_packet_size",
        lambda facts: facts.config.cluster.gossip.max_packet_size,
        "what has no room comes in the next packet; longer datagrams of strangers are dropped",
    ),
    Limit(
        "gossip streams of strangers",
        lambda _facts: gossip_budget.STRANGER_STREAMS,
        "the oldest stream of the client with most of them ends",
        fixed="a node that starts needs one for some milliseconds",
    ),
    Limit(
        "gossip streams of members",
        lambda _facts: gossip_budget.MEMBER_STREAMS,
        "the oldest stream of the node with most of them ends",
        fixed="a node has one or two open, for some milliseconds",
    ),
    Limit(
        "drain_delay",
        _seconds(lambda facts: facts.config.drain_delay_s),
        "a stopping node that is idle leaves",
    ),
    Limit(
        "grace_period",
        _seconds(lambda facts: facts.config.grace_period_s),
        "a stopping node ends what is in flight, 2 s before",
    ),
)


def declared(ports: Ports) -> tuple[Limit, ...]:
    """Return the limits of a node with these ports."""
    rows = entrances_first(ports)
    return (
        *_OF_NODE,
        *(_connections(port) for port in (*rows, PEERS)),
        *(limit for port in rows for limit in _shares(port)),
        *_OF_REQUESTS,
        *(limit for port in entrances(ports) if port.tls is not None for limit in _handshakes(port, port.tls)),
        *_OF_AGENTS_AND_NODES,
    )


def _connections(port: PortRow) -> Limit:
    if port.places is Places.FEW:
        name, fixed = f"connections of the {port.name} port", _RESERVED
    elif port.places is Places.NODES:
        name, fixed = "connections of other nodes to the proxy port", _LEFT
    else:
        name, fixed = f"{port.key}.max_connections", ""
    return Limit(name, _most(port.listener), port.when_full, _open(port.listener), fixed)


_WHEN_A_SHARE_IS_TAKEN = {
    Places.CLIENTS: "the client gets places of idle connections only, or a 503",
    Places.AGENTS: "the address gets a 503",
}


def _shares(port: PortRow) -> Iterator[Limit]:
    then = _WHEN_A_SHARE_IS_TAKEN.get(port.places)
    if then is not None:
        yield Limit(
            f"max_address_share ({port.name})",
            _share(port.listener),
            f"when 7/8 of the port are taken, {then}",
            _largest(port.listener),
        )


LIMITS = declared(PORTS)

TENANT_LIMITS = {
    "max_tunnels": "its agents get a 503",
    "max_streams": "its requests get a 503",
    "registration_rate": "its agents get a 503 with the time to wait",
    "registration_burst": "registration_rate of the tenant holds",
}
POLICY_LIMITS = {
    "requests_per_second": "the client gets a 429 with Retry-After",
    "burst": "requests_per_second of the policy holds",
    "max_in_flight": "the client gets a 429 with Retry-After",
    "max_body_bytes": "the client gets a 413",
}


def limit_rows(facts: Facts) -> list[LimitRow]:
    """Return all limits in the order of the declarations; those of tenants and policies only where they are set."""
    rows = [
        LimitRow(each.key, each.value(facts), each.used(facts) if each.used is not None else None, each.then)
        for each in declared(facts.ports)
    ]
    return [*rows, *_of_tenants(facts), *_of_policies(facts)]


def _of_tenants(facts: Facts) -> Iterator[LimitRow]:
    tunnels = Counter(tunnel.tenant.id for tunnel in facts.tunnels if tunnel.tenant is not None)
    in_flight = {tunnel.tenant.id: tunnel.tenant.in_flight for tunnel in facts.tunnels if tunnel.tenant is not None}
    for config in facts.config.upstream.tenants:
        used = {"max_tunnels": tunnels[config.id], "max_streams": in_flight.get(config.id, 0)}
        for name, then in TENANT_LIMITS.items():
            if getattr(config, name):
                yield LimitRow(f"upstream.tenants.{config.id}.{name}", getattr(config, name), used.get(name), then)


def _of_policies(facts: Facts) -> Iterator[LimitRow]:
    for policy in facts.policies:
        used = {"max_in_flight": max(policy.in_flight.values(), default=0)}
        for name, then in POLICY_LIMITS.items():
            if getattr(policy.config, name):
                yield LimitRow(f"policies[{policy.index}].{name}", getattr(policy.config, name), used.get(name), then)
