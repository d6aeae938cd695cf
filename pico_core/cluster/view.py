"""What a node knows of the others, and which of them takes a request.

Two questions are kept apart. *Is it a member?* is gossip's to answer, slowly and in agreement with others. *Can I
forward to it now?* is answered here, from this node's own experience: a node that just failed is avoided for a moment,
whatever gossip says, and one that answers is used again at once.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Protocol

from pico_core.config.values import Address

AVOID_FIRST_S = 0.5
AVOID_MOST_S = 8.0
"""How long a node is avoided after one failure, doubled with each further one in a row."""


class Entropy(Protocol):
    """The part of ``random.Random`` used here."""

    def random(self) -> float:
        """Return a number from 0 up to but not including 1."""


class Status(Enum):
    """A node's standing in the cluster, by the names operators see."""

    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    LEFT = "left"


class RemoteNode:
    """Another node. ``endpoints`` says how many upstreams it has for each endpoint."""

    __slots__ = (
        "_avoid_until",
        "_failures",
        "admin_addr",
        "draining",
        "endpoints",
        "id",
        "proxy_addr",
        "requests",
        "status",
    )

    def __init__(self, node_id: str) -> None:
        self.id = node_id
        self.status = Status.ACTIVE
        self.draining = False
        self.proxy_addr: Address | None = None
        self.admin_addr: Address | None = None
        self.endpoints: dict[str, int] = {}
        self.requests = 0
        self._failures = 0
        self._avoid_until = 0.0

    def failed(self, now: float) -> None:
        """Record that forwarding to it just failed."""
        wait_s = min(AVOID_FIRST_S * 2**self._failures, AVOID_MOST_S)
        self._failures = min(self._failures + 1, 10)
        self._avoid_until = now + wait_s

    def answered(self) -> None:
        """Record that forwarding to it just worked."""
        self._failures = 0
        self._avoid_until = 0.0

    def avoided(self, now: float) -> bool:
        """Say whether it should not be chosen while there is another one."""
        return self._avoid_until > now or self.draining


class ClusterView:
    """All other nodes by ID, and by endpoint those that serve it."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._nodes: dict[str, RemoteNode] = {}
        self._serving: dict[str, dict[str, RemoteNode]] = {}

    def __iter__(self) -> Iterator[RemoteNode]:
        """All nodes, in the order they became known."""
        return iter(self._nodes.values())

    def get(self, node_id: str) -> RemoteNode | None:
        """Return a node."""
        return self._nodes.get(node_id)

    def add(self, node_id: str) -> RemoteNode:
        """Return the node, new if it was unknown."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = RemoteNode(node_id)
        return node

    def forget(self, node_id: str) -> None:
        """Remove a node and all it served."""
        node = self._nodes.pop(node_id, None)
        if node is not None:
            for endpoint in list(node.endpoints):
                self.set_endpoint(node, endpoint, 0)

    def set_endpoint(self, node: RemoteNode, endpoint: str, upstreams: int) -> None:
        """Record how many upstreams ``node`` has for ``endpoint``; 0 removes it."""
        if upstreams > 0:
            node.endpoints[endpoint] = upstreams
            self._serving.setdefault(endpoint, {})[node.id] = node
        elif node.endpoints.pop(endpoint, None) is not None:
            serving = self._serving[endpoint]
            del serving[node.id]
            if not serving:
                del self._serving[endpoint]

    def choose(self, endpoint: str, avoid: Sequence[object], now: float) -> RemoteNode | None:
        """Return a node that serves ``endpoint``, by chance weighted with its number of upstreams.

        Nodes in ``avoid`` were tried already and are never returned. Those that just failed or drain are returned only
        if there is no other, and unreachable ones after those: a request that may fail beats one that certainly does.
        """
        serving = self._serving.get(endpoint)
        if serving is None:
            return None
        candidates = [
            node
            for node in serving.values()
            if node.status is not Status.LEFT and node.proxy_addr is not None and node not in avoid
        ]
        reachable = [node for node in candidates if node.status is Status.ACTIVE]
        preferred = [node for node in reachable if not node.avoided(now)]
        return self._weighted(endpoint, preferred or reachable or candidates)

    def _weighted(self, endpoint: str, candidates: list[RemoteNode]) -> RemoteNode | None:
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        left = self._entropy.random() * sum(node.endpoints[endpoint] for node in candidates)
        for node in candidates:
            left -= node.endpoints[endpoint]
            if left < 0:
                return node
        return candidates[-1]
