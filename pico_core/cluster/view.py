"""The other nodes by endpoint, as a node knows them, and which of them takes a request."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pico_core.cluster.health import Health
from pico_core.config.values import Address
from pico_core.entropy import Entropy
from pico_core.gossip.status import NodeStatus

HTTP = "http"
TCP = "tcp"
"""The protocols of an endpoint's service, in claims."""

# As globals because a choice of every forwarded request needs them (``proxy.states`` says what members cost).
_ACTIVE = NodeStatus.ACTIVE
_LEFT = NodeStatus.LEFT


def claimed(claim: str) -> tuple[str, tuple[str, ...]]:
    """Return the protocol of a node's claim, empty where it is not known, and the identities of the agents."""
    protocol, *identities = claim.split(" ")
    return protocol if protocol in (HTTP, TCP) else "", tuple(identities)


class RemoteNode:
    """Another node. ``endpoints`` says how many upstreams it has for each endpoint, ``claims`` what it tells of them.

    ``protocols`` has the protocol in each claim, where that tells one.
    ``health`` has, by endpoint, the experience with its upstreams while that is bad; ``answered_at`` when they last
    answered. ``refused`` are the ports (proxy, admin) of which an address was refused, as the operator was told.
    """

    __slots__ = (
        "admin_addr",
        "answered_at",
        "claims",
        "draining",
        "endpoints",
        "gossip_host",
        "health",
        "id",
        "protocols",
        "proxy_addr",
        "refused",
        "requests",
        "status",
    )

    def __init__(self, node_id: str, gossip_host: str) -> None:
        self.id = node_id
        self.gossip_host = gossip_host
        self.status = NodeStatus.ACTIVE
        self.draining = False
        self.proxy_addr: Address | None = None
        self.admin_addr: Address | None = None
        self.endpoints: dict[str, int] = {}
        self.claims: dict[str, str] = {}
        self.protocols: dict[str, str] = {}
        self.health: dict[str, Health] = {}
        self.answered_at: dict[str, float] = {}
        self.refused: dict[str, None] = {}
        self.requests = 0

    @property
    def upstreams(self) -> int:
        """How many upstreams it has in all."""
        return sum(self.endpoints.values())


class ClusterView:
    """All other nodes by ID, and by endpoint those that serve it.

    ``can_forward(node_id, now)`` says whether a node is a good choice right now, by this node's own experience. Whether
    it is a member is another question.
    """

    def __init__(self, entropy: Entropy, can_forward: Callable[[str, float], bool]) -> None:
        self._entropy = entropy
        self._can_forward = can_forward
        self._nodes: dict[str, RemoteNode] = {}
        self._serving: dict[str, dict[str, RemoteNode]] = {}
        self._hosts: dict[str, None] | None = None  # made when it is asked for, dropped when an address changes

    def __iter__(self) -> Iterator[RemoteNode]:
        """All nodes, in the order they became known."""
        return iter(self._nodes.values())

    def __bool__(self) -> bool:
        """Whether any other node is known."""
        return bool(self._nodes)

    def get(self, node_id: str) -> RemoteNode | None:
        """Return the node with this ID, ``None`` where it is not known."""
        return self._nodes.get(node_id)

    def add(self, node_id: str, gossip_host: str) -> RemoteNode:
        """Return the node, new if it was unknown."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = RemoteNode(node_id, gossip_host)
            self._hosts = None
        return node

    def set_proxy_addr(self, node: RemoteNode, address: Address | None) -> None:
        """Record where ``node`` takes forwarded requests."""
        node.proxy_addr = address
        self._hosts = None

    def forget(self, node_id: str) -> None:
        """Remove a node and all it served."""
        node = self._nodes.pop(node_id, None)
        self._hosts = None
        if node is not None:
            for endpoint in list(node.endpoints):
                self.set_endpoint(node, endpoint, 0)

    def set_endpoint(self, node: RemoteNode, endpoint: str, upstreams: int) -> None:
        """Record how many upstreams ``node`` has for ``endpoint``; 0 removes it."""
        if upstreams > 0:
            node.endpoints[endpoint] = upstreams
            node.health.pop(endpoint, None)
            self._serving.setdefault(endpoint, {})[node.id] = node
        elif node.endpoints.pop(endpoint, None) is not None:
            node.health.pop(endpoint, None)
            node.answered_at.pop(endpoint, None)
            serving = self._serving[endpoint]
            del serving[node.id]
            if not serving:
                del self._serving[endpoint]

    def set_claim(self, node: RemoteNode, endpoint: str, claim: str) -> None:
        """Record the facts that ``node`` tells of an endpoint; nothing removes it."""
        node.claims.pop(endpoint, None)
        node.protocols.pop(endpoint, None)
        if claim:
            node.claims[endpoint] = claim
            protocol, _ = claimed(claim)
            if protocol:
                node.protocols[endpoint] = protocol

    def serving(self, endpoint: str) -> Iterable[RemoteNode]:
        """Return the nodes that serve ``endpoint``."""
        return self._serving.get(endpoint, {}).values()

    def is_member(self, host: str) -> bool:
        """Return whether ``host`` is the address of a node, which is trusted to report its clients' addresses."""
        if self._hosts is None:
            self._hosts = dict.fromkeys(node.gossip_host for node in self._nodes.values())
            self._hosts |= dict.fromkeys(node.proxy_addr.host for node in self._nodes.values() if node.proxy_addr)
        return host in self._hosts

    def choose(
        self, endpoint: str, avoid: Sequence[object], now: float, *, raw: bool, healthy: bool = False
    ) -> RemoteNode | None:
        """Return a node that serves ``endpoint``, by chance weighted with its number of upstreams.

        With ``raw`` it is to take a TCP connection, else HTTP; nodes that are known to do only the other are left out.

        Nodes in ``avoid`` were tried already and are never returned. Those that just failed are returned only if there
        is no better one, and those that drain or are unreachable only if there is no other. Then the request may fail,
        where it certainly would otherwise: at the address of an unreachable node another one may answer by now. With
        ``healthy`` nodes that drain, are unreachable, or whose upstreams for the endpoint fail at present are not
        returned at all.
        """
        serving = self._serving.get(endpoint)
        if serving is None:
            return None
        other = HTTP if raw else TCP
        candidates = []
        for node in serving.values():
            if node.status is _LEFT or node.proxy_addr is None or node in avoid:
                continue
            if node.protocols.get(endpoint) != other and (not healthy or _is_healthy(node, endpoint, now)):
                candidates.append(node)
        if len(candidates) <= 1:  # the usual case, in which it does not matter how good a choice it is
            return candidates[0] if candidates else None
        staying = [node for node in candidates if not node.draining and node.status is _ACTIVE]
        good = [node for node in staying if self._can_forward(node.id, now)]
        return self._weighted(endpoint, good or staying or candidates)

    def _weighted(self, endpoint: str, candidates: list[RemoteNode]) -> RemoteNode | None:
        left = self._entropy.random() * sum(node.endpoints[endpoint] for node in candidates)
        for node in candidates:
            left -= node.endpoints[endpoint]
            if left < 0:
                return node
        return candidates[-1]


def _is_healthy(node: RemoteNode, endpoint: str, now: float) -> bool:
    if node.draining or node.status is not _ACTIVE:
        return False
    health = node.health.get(endpoint)
    return health is None or health.is_good(now)
