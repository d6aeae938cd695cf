"""The records of nodes: one that is known, and one that was removed from the table."""

from pico_core.gossip.address import literal_address
from pico_core.gossip.state import NodeState
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.wire import writing

_LONG_AGO = float("-inf")


class Member:
    """One known node.

    ``host`` and ``port`` are where datagrams reach it; ``host`` is empty while that is not known. ``awaiting_answer``
    says that a digest of ours is not answered yet: only then does an answer prove anything. ``round_open`` says that
    this digest began a round. ``verified`` nodes have answered from their address. ``replaces`` is an older node at
    the same address. ``request_head``, ``reply_head`` and ``empty_delta`` are the bytes with which its digests begin,
    and its whole delta when it has nothing to say.
    """

    __slots__ = (
        "addr",
        "answered_at",
        "awaiting_answer",
        "changed_at",
        "digest_entry",
        "draining",
        "empty_delta",
        "host",
        "id",
        "is_pico",
        "port",
        "rechecked_at",
        "replaces",
        "reply_head",
        "request_head",
        "round_open",
        "state",
        "status",
        "status_at",
        "verified",
    )

    def __init__(self, node_id: str, addr: str, state: NodeState, now: float) -> None:
        self.id = node_id
        self.state = state
        self.status = NodeStatus.ACTIVE
        self.status_at = now
        self.changed_at = now
        self.answered_at = _LONG_AGO
        self.rechecked_at = _LONG_AGO
        self.awaiting_answer = False
        self.round_open = False
        self.verified = False
        self.is_pico = False
        self.draining = False
        self.replaces: Member | None = None
        self.move(addr)

    def move(self, addr: str) -> None:
        """Give the node another address."""
        self.addr = addr
        self.host, self.port = literal_address(addr) or ("", 0)
        self.digest_entry: bytes | None = None
        self.request_head = writing.digest_head(self.id, addr, request=True)
        self.reply_head = writing.digest_head(self.id, addr, request=False)
        self.empty_delta = writing.delta_head(self.id, addr)

    def packed(self) -> bytes:
        """Return the entry of this node in a digest."""
        if self.digest_entry is None:
            left = self.status is NodeStatus.LEFT
            self.digest_entry = writing.digest_entry(self.id, self.addr, self.state.version, left=left)
        return self.digest_entry


class RemovedNode:
    """The memory of a node that was removed from the table: ``mentioned_at`` is when a peer last listed it."""

    __slots__ = ("addr", "awaiting_answer", "has_left", "mentioned_at", "rechecked_at")

    def __init__(self, addr: str, now: float, *, has_left: bool) -> None:
        self.addr = addr
        self.has_left = has_left
        self.mentioned_at = now
        self.rechecked_at = now
        self.awaiting_answer = False
