"""``/status/overview`` and ``/status/endpoints``: what the dashboard shows of a node, and of all endpoints it knows.

Each is one small document, whatever the size of the cluster: rates are the page's business, which asks every two
seconds and compares.
"""

from heapq import nlargest
from itertools import islice

import msgspec

from pico_core import __version__
from pico_core.cluster.view import claimed
from pico_core.server.facts import Facts
from pico_core.server.metrics import LATENCY_BUCKETS_S, SWITCHED
from pico_core.server.stories import Story

ENDPOINTS_SHOWN = 50
NODES_SHOWN = 200
FAILURES_SHOWN = 20
"""The rows that one page shows of each: people read no more, and an overview is made every two seconds."""


class NodeSeen(msgspec.Struct, frozen=True):
    """Another node as this one sees it."""

    id: str
    status: str
    draining: bool
    tunnels: int
    endpoints: int


class Overview(msgspec.Struct, frozen=True):
    """A node. Counts are totals since its start; ``latency`` are counts by the upper bounds in ``latency_bounds_s``."""

    node: str
    version: str
    state: str
    tunnels: int
    endpoints: int
    in_flight: int
    requests: int
    forwarded: int
    errors: dict[str, int]
    latency_bounds_s: tuple[float, ...]
    latency: list[int]
    connections: dict[str, int]
    nodes: list[NodeSeen]
    failures: list[Story]


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint with the number of its tunnels by node."""

    endpoint: str
    protocol: str
    tunnels: dict[str, int]


class Endpoints(msgspec.Struct, frozen=True):
    """The endpoints whose names have ``match`` in them: how many there are, and the first of them."""

    match: str
    count: int
    rows: list[EndpointRow]


def overview(facts: Facts) -> Overview:
    """Return the overview of the node."""
    metrics = facts.metrics
    latency = [0] * (len(LATENCY_BUCKETS_S) + 1)
    seen: set[int] = set()
    for (status, _), each in metrics.requests.items():
        if status != SWITCHED and id(each.latency_s) not in seen:
            seen.add(id(each.latency_s))  # methods without a label of their own share one
            latency = [one + other for one, other in zip(latency, each.latency_s.counts, strict=True)]
    others = nlargest(NODES_SHOWN, facts.view, key=lambda node: node.upstreams)
    return Overview(
        node=facts.node_id,
        version=__version__,
        state=facts.state.value,
        tunnels=len(facts.tunnels),
        endpoints=facts.registry.endpoint_count,
        in_flight=metrics.requests_in_flight,
        requests=sum(each.count for each in metrics.requests.values()),
        forwarded=metrics.forwarded_requests,
        errors={reason: count for reason, count in metrics.errors.items() if count},
        latency_bounds_s=LATENCY_BUCKETS_S,
        latency=latency,
        connections={name: len(port.channels) for name, port in facts.admission.ports.items()},
        nodes=[
            NodeSeen(each.id, each.status.value, each.draining, each.upstreams, len(each.endpoints)) for each in others
        ],
        failures=list(islice(facts.stories.failures(), FAILURES_SHOWN)),
    )


def endpoints(facts: Facts, match: str) -> Endpoints:
    """Return the endpoints of the cluster, as far as this node knows, whose names have ``match`` in them."""
    wanted = match.lower()
    tunnels: dict[str, dict[str, int]] = {}
    for name, count in facts.registry.counts().items():
        if wanted in name:
            tunnels[name] = {facts.node_id: count}
    for node in facts.view:
        for name, count in node.endpoints.items():
            if wanted in name:
                tunnels.setdefault(name, {})[node.id] = count
    names = sorted(tunnels)[:ENDPOINTS_SHOWN]
    return Endpoints(match, len(tunnels), [EndpointRow(name, _protocol(facts, name), tunnels[name]) for name in names])


def _protocol(facts: Facts, endpoint: str) -> str:
    for tunnel in facts.registry.members(endpoint):
        if tunnel.registration.protocol:
            return tunnel.registration.protocol
    for node in facts.view.serving(endpoint):
        protocol, _ = claimed(node.claims.get(endpoint, ""))
        if protocol:
            return protocol
    return ""
