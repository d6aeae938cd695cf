"""``/status/explain/{endpoint}``: what a request for an endpoint would do now at this node, and why.

The node looks at what it would choose from, and sends nothing. What failed lately tells what would fail again.
"""

from itertools import islice

import msgspec

from pico_core.cluster.view import RemoteNode, claimed
from pico_core.proxy.reasons import REASONS
from pico_core.server.facts import Facts
from pico_core.server.foreseen import foreseen_reason, nodes_with
from pico_core.server.stories import Story
from pico_core.server.tunnels import TunnelConnection

FAILURES_EXPLAINED = 5
TUNNELS_EXPLAINED = 100
"""How much of each is told: people read it."""


class TunnelOutlook(msgspec.Struct, frozen=True):
    """A tunnel of the endpoint at this node. ``failing`` says that it is avoided after failures."""

    agent: str
    version: str
    protocol: str
    open_s: float
    in_flight: int
    max_streams: int
    failing: bool


class NodeOutlook(msgspec.Struct, frozen=True):
    """Another node that serves the endpoint, as far as this one knows."""

    node: str
    status: str
    draining: bool
    tunnels: int
    protocol: str
    failing: bool


class Outlook(msgspec.Struct, frozen=True):
    """The outcome of a request now: ``reason`` is why it would fail, empty if it would succeed.

    ``phase`` is where the node itself stands: ``starting``, ``running``, ``draining`` or ``stopped``.
    """

    node: str
    endpoint: str
    protocol: str
    succeeds: bool
    reason: str
    meaning: str
    advice: str
    tunnels: list[TunnelOutlook]
    nodes: list[NodeOutlook]
    policy: str
    wants_token: bool
    similar: list[str]
    failures: list[Story]
    phase: str


def outlook(facts: Facts, endpoint: str, protocol: str, now: float) -> Outlook:
    """Tell how this node would route a request for ``endpoint`` now, or a TCP connection: ``protocol`` says which."""
    tunnels = list(facts.registry.members(endpoint))
    nodes = nodes_with(facts, endpoint)
    failures = list(islice(facts.stories.failures(endpoint), FAILURES_EXPLAINED))
    reason = foreseen_reason(facts, endpoint, tunnels, nodes, protocol, now)
    return Outlook(
        node=facts.node_id,
        endpoint=endpoint,
        protocol=protocol,
        succeeds=not reason,
        reason=reason,
        meaning=REASONS[reason].meaning if reason else "",
        advice=REASONS[reason].advice if reason else "",
        tunnels=[_tunnel(each, now) for each in tunnels[:TUNNELS_EXPLAINED]],
        nodes=[_node(each, endpoint) for each in nodes[:TUNNELS_EXPLAINED]],
        policy=_policy(facts, endpoint),
        wants_token=facts.config.proxy.auth.is_on,
        similar=[] if tunnels or nodes else _similar(facts, endpoint),
        failures=failures,
        phase=facts.state.value,
    )


def _tunnel(tunnel: TunnelConnection, now: float) -> TunnelOutlook:
    registration = tunnel.registration
    return TunnelOutlook(
        tunnel.client_host,
        registration.version,
        registration.protocol,
        round(now - tunnel.opened_at, 1),
        tunnel.in_flight,
        tunnel.max_streams,
        tunnel.health is not None,
    )


def _node(node: RemoteNode, endpoint: str) -> NodeOutlook:
    return NodeOutlook(
        node.id,
        node.status.value,
        node.draining,
        node.endpoints.get(endpoint, 0),
        claimed(node.claims.get(endpoint, ""))[0],
        endpoint in node.health,
    )


def _policy(facts: Facts, endpoint: str) -> str:
    policy = facts.policies.of(endpoint)
    return "" if policy is None else policy.named(endpoint)


def _similar(facts: Facts, endpoint: str) -> list[str]:
    """Return endpoints with names that are nearly the one that no agent serves."""
    import difflib  # needed for a wrong name only

    known = dict.fromkeys(facts.registry.counts())
    for node in facts.view:
        known |= dict.fromkeys(node.endpoints)
    return difflib.get_close_matches(endpoint, known, n=3)
