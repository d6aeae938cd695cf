"""The documents below ``/status/``: what a node knows, as JSON. Field names and their order are part of the interface.

Lists of nodes and maps of endpoints are in order of their IDs, so that two answers can be compared line by line.
"""

from typing import TYPE_CHECKING

import msgspec

from pico_core.cluster.view import RemoteNode, Status
from pico_core.gossip.counters import NodeSnapshot
from pico_core.gossip.wire import Entry

if TYPE_CHECKING:
    from pico_core.server.node import ServerNode

LOCAL = "local"
"""Names the node that is asked, instead of its ID."""


class NodeRow(msgspec.Struct, frozen=True):
    """A node in ``/status/cluster/nodes``: how many endpoints it serves, through how many upstreams."""

    id: str
    status: str
    proxy_addr: str
    admin_addr: str
    endpoints: int
    upstreams: int


class NodeDetail(msgspec.Struct, frozen=True):
    """``/status/cluster/nodes/{id}``: with the number of upstreams of each endpoint."""

    id: str
    status: str
    proxy_addr: str
    admin_addr: str
    endpoints: dict[str, int]


class GossipDetail(msgspec.Struct, frozen=True):
    """``/status/gossip/nodes/{id}``: the row of the node, and its entries in the order of their versions."""

    id: str
    addr: str
    status: str
    version: int
    draining: bool
    silent_s: float
    local: bool
    entries: list[Entry]


def status_document(node: "ServerNode", subject: str, node_id: str, now: float) -> bytes | None:
    """Return the JSON of ``subject``, one of ``SUBJECTS``; ``None`` if it has no node ``node_id``."""
    document = SUBJECTS[subject](node, node_id, now)
    return None if document is None else msgspec.json.encode(document)


def _upstream_endpoints(node: "ServerNode", node_id: str, now: float) -> dict[str, int]:
    return dict(sorted(node.registry.counts().items()))


def _cluster_nodes(node: "ServerNode", node_id: str, now: float) -> list[NodeRow]:
    details = [_own_detail(node)]
    if node.cluster is not None:
        details += [_detail(peer) for peer in node.cluster.view]
    details.sort(key=lambda each: each.id)
    return [
        NodeRow(
            each.id,
            each.status,
            each.proxy_addr,
            each.admin_addr,
            len(each.endpoints),
            sum(each.endpoints.values()),
        )
        for each in details
    ]


def _cluster_node(node: "ServerNode", node_id: str, now: float) -> NodeDetail | None:
    if node_id in (LOCAL, node.node_id):
        return _own_detail(node)
    peer = None if node.cluster is None else node.cluster.view.get(node_id)
    return None if peer is None else _detail(peer)


def _own_detail(node: "ServerNode") -> NodeDetail:
    cluster = node.cluster
    addresses = {} if cluster is None else cluster.addresses
    has_left = cluster is not None and cluster.left
    return NodeDetail(
        node.node_id,
        (Status.LEFT if has_left else Status.ACTIVE).value,
        str(addresses.get("proxy", "")),
        str(addresses.get("admin", "")),
        dict(sorted(node.registry.counts().items())),
    )


def _detail(peer: RemoteNode) -> NodeDetail:
    return NodeDetail(
        peer.id,
        peer.status.value,
        str(peer.proxy_addr or ""),
        str(peer.admin_addr or ""),
        dict(sorted(peer.endpoints.items())),
    )


def _gossip_nodes(node: "ServerNode", node_id: str, now: float) -> list[NodeSnapshot]:
    return [] if node.cluster is None else sorted(node.cluster.gossip.snapshot(now), key=lambda row: row.id)


def _gossip_node(node: "ServerNode", node_id: str, now: float) -> GossipDetail | None:
    if node_id == LOCAL:
        node_id = node.node_id
    for row in _gossip_nodes(node, node_id, now):
        if row.id == node_id and node.cluster is not None:
            entries = node.cluster.gossip.entries(node_id) or []
            return GossipDetail(
                row.id, row.addr, row.status, row.version, row.draining, row.silent_s, row.local, entries
            )
    return None


SUBJECTS = {
    "upstream/endpoints": _upstream_endpoints,
    "cluster/nodes": _cluster_nodes,
    "cluster/node": _cluster_node,
    "gossip/nodes": _gossip_nodes,
    "gossip/node": _gossip_node,
}
