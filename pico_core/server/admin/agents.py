"""``/status/upstream/agents``: the tunnels of a node, with the agent at the other end of each."""

from collections.abc import Iterable

import msgspec

from pico_core.server.facts import Facts
from pico_core.server.tunnels import TunnelConnection

AGENTS_LISTED = 1_000
"""Some 200 KiB of JSON; an answer that another node passes on may have 16 MiB."""


class AgentRow(msgspec.Struct, frozen=True):
    """A tunnel: ``agent`` is the address that it comes from, ``version`` is empty for agents that do not tell it."""

    endpoint: str
    node: str
    agent: str
    version: str
    protocol: str
    open_s: float
    in_flight: int


class Agents(msgspec.Struct, frozen=True):
    """How many tunnels there are, and the first of them, in the order of their endpoints."""

    count: int
    rows: list[AgentRow]


def agents(facts: Facts, now: float) -> Agents:
    """Return the tunnels of this node."""
    counts = facts.registry.counts()
    rows: list[AgentRow] = []
    for endpoint in sorted(counts):
        rows += _of_endpoint(facts.node_id, facts.registry.members(endpoint), now)
        if len(rows) >= AGENTS_LISTED:
            break
    return Agents(sum(counts.values()), rows[:AGENTS_LISTED])


def _of_endpoint(node_id: str, tunnels: Iterable[TunnelConnection], now: float) -> list[AgentRow]:
    rows = [
        AgentRow(
            tunnel.endpoint,
            node_id,
            tunnel.client_host,
            tunnel.registration.version,
            tunnel.registration.protocol,
            round(now - tunnel.opened_at, 1),
            tunnel.in_flight,
        )
        for tunnel in tunnels
    ]
    return sorted(rows, key=lambda row: (row.agent, -row.open_s))
