"""The documents below ``/status/``: what a node knows, as JSON. Field names and their order are part of the interface.

Lists of nodes and maps of endpoints are in the order of their IDs, so that two answers can be compared line by line.
"""

import re
from itertools import islice
from urllib.parse import unquote

import msgspec

from pico_core.cluster.view import HTTP, TCP, RemoteNode
from pico_core.gossip.status import NodeSnapshot, NodeStatus
from pico_core.gossip.wire.records import Entry
from pico_core.server.admin.agents import agents
from pico_core.server.admin.limits import limit_rows
from pico_core.server.admin.outlook import outlook
from pico_core.server.admin.overview import endpoints, overview
from pico_core.server.facts import Facts

STATUS_PATH = re.compile(
    r"/status/(?:upstream/(?:endpoints|agents)|(cluster|gossip)/nodes(?:/([^/]+))?"
    r"|(explain|explain-tcp|requests|endpoints)/([^/]+)|requests|endpoints|overview|limits)"
)

FAILURES_PATH = "/status/requests"
OVERVIEW_PATH = "/status/overview"
LIMITS_PATH = "/status/limits"
ENDPOINTS_PATH = "/status/endpoints"
AGENTS_PATH = "/status/upstream/agents"

INDEX_PATH = "/status"
INDEX = {
    "/status/upstream/endpoints": "the endpoints with a tunnel at this node, with the number of tunnels",
    AGENTS_PATH: "the tunnels of this node: the agent's address and version, and since when",
    "/status/cluster/nodes": "all nodes of the cluster",
    "/status/cluster/nodes/{id}": "one node with its endpoints; 'local' is this one",
    "/status/gossip/nodes": "the nodes that gossip knows",
    "/status/gossip/nodes/{id}": "one node with the keys that it has published",
    OVERVIEW_PATH: "what the dashboard shows of this node",
    ENDPOINTS_PATH: "the endpoints of the cluster, the first of them",
    "/status/endpoints/{text}": "the endpoints of the cluster with this text in their IDs",
    "/status/explain/{endpoint}": "what a request for an endpoint would do now, and why",
    "/status/explain-tcp/{endpoint}": "what a TCP connection to an endpoint would do now, and why",
    FAILURES_PATH: "the last requests that failed",
    "/status/requests/{id}": "the way of one request through this node",
    LIMITS_PATH: "the limits of this node, and their use",
    "/status/stream": "server-sent events about all nodes",
}
"""The answer at ``INDEX_PATH``: the paths below it, with what each tells. ``?forward=`` a node ID asks that node."""

FAILURES_LISTED = 100

ASKED_NODE = "local"
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
    """``/status/gossip/nodes/{id}``: the row of the node, with its entries in the order of their versions."""

    id: str
    addr: str
    status: str
    version: int
    draining: bool
    silent_s: float
    local: bool
    entries: list[Entry]


def status_document(facts: Facts, path: str, now: float) -> bytes | None:
    """Return the JSON for a path that ``STATUS_PATH`` matches, or ``None`` if it names a node that is not known."""
    match = STATUS_PATH.fullmatch(path)
    assert match is not None, "checked before it is asked for, here or elsewhere"
    table, node_id = match[1], unquote(match[2] or "")
    document: object
    if path == FAILURES_PATH:
        document = list(islice(facts.stories.failures(), FAILURES_LISTED))
    elif path == OVERVIEW_PATH:
        document = overview(facts)
    elif path == ENDPOINTS_PATH:
        document = endpoints(facts, "")
    elif match[3] == "endpoints":
        document = endpoints(facts, unquote(match[4]))
    elif match[3] == "requests":
        document = facts.stories.get(unquote(match[4]))
    elif match[3] is not None:
        document = outlook(facts, unquote(match[4]).lower(), TCP if match[3] == "explain-tcp" else HTTP, now)
    elif path == LIMITS_PATH:
        document = limit_rows(facts)
    elif path == AGENTS_PATH:
        document = agents(facts, now)
    elif table is None:
        document = _own_endpoints(facts)
    elif table == "cluster":
        document = _cluster_node(facts, node_id) if node_id else _cluster_nodes(facts)
    else:
        document = _gossip_node(facts, node_id, now) if node_id else _gossip_nodes(facts, now)
    return None if document is None else msgspec.json.encode(document)


def _own_endpoints(facts: Facts) -> dict[str, int]:
    return dict(sorted(facts.registry.counts().items()))


def _cluster_nodes(facts: Facts) -> list[NodeRow]:
    own = _own_detail(facts)
    rows = [_row(own, len(own.endpoints), sum(own.endpoints.values()))]
    for peer in facts.view:
        rows.append(_row(_detail(peer, {}), len(peer.endpoints), peer.upstreams))
    return sorted(rows, key=lambda row: row.id)


def _row(node: NodeDetail, endpoints: int, upstreams: int) -> NodeRow:
    return NodeRow(node.id, node.status, node.proxy_addr, node.admin_addr, endpoints, upstreams)


def _cluster_node(facts: Facts, node_id: str) -> NodeDetail | None:
    if node_id in (ASKED_NODE, facts.node_id):
        return _own_detail(facts)
    peer = facts.view.get(node_id)
    return None if peer is None else _detail(peer, peer.endpoints)


def _own_detail(facts: Facts) -> NodeDetail:
    addresses = facts.addresses
    status = NodeStatus.LEFT if facts.left else NodeStatus.ACTIVE
    proxy_addr, admin_addr = str(addresses.get("proxy", "")), str(addresses.get("admin", ""))
    return NodeDetail(facts.node_id, status.value, proxy_addr, admin_addr, _own_endpoints(facts))


def _detail(peer: RemoteNode, endpoints: dict[str, int]) -> NodeDetail:
    proxy_addr, admin_addr = str(peer.proxy_addr or ""), str(peer.admin_addr or "")
    return NodeDetail(peer.id, peer.status.value, proxy_addr, admin_addr, dict(sorted(endpoints.items())))


def _gossip_nodes(facts: Facts, now: float) -> list[NodeSnapshot]:
    return sorted(facts.gossip.snapshot(now), key=lambda row: row.id)


def _gossip_node(facts: Facts, node_id: str, now: float) -> GossipDetail | None:
    wanted = facts.node_id if node_id == ASKED_NODE else node_id
    for row in _gossip_nodes(facts, now):
        if row.id == wanted:
            entries = facts.gossip.entries(wanted) or []
            return GossipDetail(
                row.id, row.addr, row.status, row.version, row.draining, row.silent_s, row.local, entries
            )
    return None
