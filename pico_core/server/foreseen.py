"""What a request would meet at this node now, without sending it."""

from collections.abc import Sequence

from pico_core.cluster.view import TCP, RemoteNode, claimed
from pico_core.gossip.status import NodeStatus
from pico_core.proxy.failures import BUSY, HTTP_ENDPOINT, NO_ROUTE, NODE_UNREACHABLE, TCP_ENDPOINT
from pico_core.server.facts import Facts
from pico_core.server.tunnels import TunnelConnection


def nodes_with(facts: Facts, endpoint: str) -> list[RemoteNode]:
    """Return the other nodes that serve an endpoint, as far as this one knows."""
    return [node for node in facts.view.serving(endpoint) if node.status is not NodeStatus.LEFT]


def foreseen_reason(
    facts: Facts,
    endpoint: str,
    tunnels: Sequence[TunnelConnection],
    nodes: Sequence[RemoteNode],
    protocol: str,
    now: float,
) -> str:
    """Return why a request would fail, empty where an upstream that works has room for it."""
    raw = protocol == TCP
    here = [each for each in tunnels if each.raw is None or each.raw is raw]
    there = [each for each in nodes if claimed(each.claims.get(endpoint, ""))[0] in ("", protocol)]
    if not here and not there:
        if not tunnels and not nodes:
            return NO_ROUTE.reason
        return (HTTP_ENDPOINT if raw else TCP_ENDPOINT).reason
    if any(each.health is None and not each.is_full for each in here):
        return ""
    if any(facts.gossip.can_forward(each.id, now) and each.status is NodeStatus.ACTIVE for each in there):
        return ""
    if here and all(each.is_full for each in here):
        return BUSY.reason
    if here:
        return next((each.reason for each in facts.stories.failures(endpoint) if each.reason), NO_ROUTE.reason)
    return NODE_UNREACHABLE.reason
