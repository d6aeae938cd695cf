"""How a server divides its descriptors among its ports and the connections that it opens itself; limits of heads."""

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from pico_core.config.server import ServerConfig
from pico_core.config.server_ports import OF_WORKERS, PEERS, PORTS, PROXY, Places, PortRow, Ports
from pico_core.http.message import HeadLimits
from pico_core.http.writing import CONNECTION_CLOSE, error_message, response_bytes
from pico_core.machine.admission import ConnectionLimits, MemberPlaces, PortLimits
from pico_core.proxy.answers import NONE
from pico_core.proxy.failures import BUSY
from pico_core.proxy.reasons import error_line

SERVER_DESCRIPTORS = 64
"""Kept for what is not a connection: listeners, logs, the loop, lookups; and for connections that are closing."""

MAX_RESERVED = 64
"""Connections to the admin port, and to the gossip port: operators and other nodes need few, each for a moment."""

RETRY_AFTER_S = 1
"""The pause that a refused peer is told: places become free all the time."""

REASON = error_line("overloaded")


def connection_limits(
    config: ServerConfig,
    descriptors: int,
    balancers: Mapping[str, Container[str]] = MappingProxyType({}),
    may_be_node: Callable[[str], bool] | None = None,
    *,
    is_worker: bool = False,
    ports: Ports = PORTS,
) -> ConnectionLimits:
    """Return the limits for a process that may have ``descriptors`` open; ``balancers`` by listener have no share.

    A sixteenth each is for the ports with few connections and for them only. Agents keep a quarter, clients and the
    connections to other nodes an eighth each, and those from other nodes a sixteenth. All of these may have more while
    others do not need theirs. ``may_be_node`` says which addresses other nodes have.
    A worker has further ports, which keep less; that for other nodes has the same places as their connections here.
    """
    most = max(descriptors - SERVER_DESCRIPTORS, descriptors // 2)
    if config.max_connections:
        most = min(most, config.max_connections)
    small = max(min(most // 16, MAX_RESERVED), 1)
    outgoing = most // 8
    nodes_reserve = max(most // 16, 1)
    common = most - small * sum(row.places is Places.FEW for row in ports) - outgoing - nodes_reserve
    upstream = _bounded(common - most // 8, config.upstream.max_connections)
    upstream_reserve = min(most // 4, upstream)
    proxy = _bounded(common - upstream_reserve, config.proxy.max_connections)
    share = config.max_address_share
    wait = b"Retry-After: %d\r\n" % RETRY_AFTER_S
    answer = _refusal(wait)
    agent_answer = _refusal(REASON + wait)
    client_answer = _refusal((b"" if config.proxy.error_detail == NONE else REASON) + BUSY.fields_for_peer())
    of_clients = PortLimits(proxy, min(most // 8, proxy), share, gives_way=True, answer=client_answer)
    of_agents = PortLimits(upstream, upstream_reserve, share, answer=agent_answer)
    by_places = {
        Places.FEW: PortLimits(small, small, answer=answer),
        Places.SPARE: PortLimits(small, 0, answer=answer),
        Places.AGENTS: of_agents,
        Places.CLIENTS: of_clients,
        Places.NODES: _for_nodes(of_clients, common - upstream_reserve, nodes_reserve),
    }
    # PEERS is behind those of clients, whose idle connections are closed before theirs.
    rows = (*ports, *(OF_WORKERS if is_worker else (PEERS,)))
    return ConnectionLimits(
        most,
        {row.listener: _of_port(row, by_places[row.places], balancers) for row in rows},
        outgoing,
        MemberPlaces(PEERS.listener, PROXY.listener, may_be_node) if may_be_node is not None else None,
    )


def _of_port(row: PortRow, limits: PortLimits, balancers: Mapping[str, Container[str]]) -> PortLimits:
    answer = limits.answer if row.refuses_with_503 else b""
    return replace(limits, answer=answer, shared=balancers.get(row.listener, ()))


def _for_nodes(clients: PortLimits, unreserved: int, reserve: int) -> PortLimits:
    """Return the limits for other nodes: clients keep their reserve of what is ``unreserved`` by others."""
    most = max(unreserved - clients.reserve, 0) + reserve
    return replace(clients, most=most, reserve=reserve, address_share=1.0)


def head_limits(config: ServerConfig) -> HeadLimits:
    """Return the limits of a head that is passed on."""
    return HeadLimits(max_head_bytes=config.proxy.http.max_header_bytes)


def unfinished_bytes(config: ServerConfig) -> int:
    """Return how many bytes all unfinished heads may have together: one of the longest always has room."""
    return max(config.proxy.http.max_unfinished_bytes, config.proxy.http.max_header_bytes)


def _bounded(available: int, configured: int) -> int:
    return max(min(available, configured) if configured else available, 1)


def _refusal(fields: bytes) -> bytes:
    """Return the answer to a peer for which there is no place. Another node, which forwards, tries elsewhere then."""
    head, body = error_message(503, "too many connections to this server", fields)
    return response_bytes(head, CONNECTION_CLOSE) + body
