"""The table of nodes: who is known, what counts as alive, what a digest lists, and who is remembered as dead.

======================  ===================================================  ==============
from                    when                                                 to
======================  ===================================================  ==============
(unknown)               somebody lists it, or it speaks                      ACTIVE
ACTIVE                  verdict of the failure detector, or its address      UNREACHABLE
                        answers under another name
UNREACHABLE             it answers, itself                                   ACTIVE
ACTIVE, UNREACHABLE     its own state says left                              LEFT
LEFT                    its own state voids that: a new process, same name   ACTIVE
UNREACHABLE, LEFT       60 s later                                           (in its grave)
(in its grave)          it answers, itself                                   ACTIVE
======================  ===================================================  ==============

Why so: others may not have noticed yet that a node is dead and go on listing it. So what others say brings nobody
back; it is only a reason to ping. Unreachable nodes are not listed in our digests, which keeps those who never knew
them from learning of them. Graves are remembered for an hour after they were last mentioned.
"""

from collections.abc import Callable, Iterable
from enum import Enum

from pico_core.entropy import Entropy
from pico_core.gossip import wire
from pico_core.gossip.address import is_literal, literal_address, plain_host, split_address
from pico_core.gossip.events import Event, NodeForgotten, NodeJoined, NodeLeft, NodeReachable, NodeUnreachable
from pico_core.gossip.state import Budget, NodeState

MAX_NODES = 4096
MAX_GRAVES = 4096
MAX_STATE_BYTES = 128 << 20
"""For the states of all other nodes together: an eighth of the memory the Kubernetes manifests allow."""
FORGET_AFTER_S = 60.0
REMEMBER_GRAVES_S = 3600.0
RECENT_S = 5.0
"""How long a change counts as news: twice the time it takes to reach 1000 nodes."""
RECENT_SHARE = 0.7
"""The share of a digest that news may take; the rest goes round over all nodes, so that none is starved."""
_SMALLEST_DIGEST_ENTRY_BYTES = 30


class MemberStatus(Enum):
    """What counts about a node; see the table above."""

    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    LEFT = "left"


class Member:
    """One known node.

    ``owes`` says that a digest of ours awaits an answer: only then an answer proves anything. ``round_open`` says that
    it was the beginning of a round. ``verified`` nodes have answered from their address. ``replaces`` is an older node
    at the same address.
    """

    __slots__ = (
        "addr",
        "answered_at",
        "changed_at",
        "digest_entry",
        "draining",
        "hinted_at",
        "host",
        "id",
        "is_pico",
        "owes",
        "port",
        "quiet_delta",
        "quiet_reply",
        "quiet_request",
        "replaces",
        "round_open",
        "state",
        "status",
        "status_at",
        "verified",
    )

    def __init__(self, node_id: str, addr: str, state: NodeState, now: float) -> None:
        self.id = node_id
        self.state = state
        self.status = MemberStatus.ACTIVE
        self.status_at = now
        self.changed_at = now
        self.answered_at = -FORGET_AFTER_S
        self.hinted_at = -FORGET_AFTER_S
        self.owes = False
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
        self.quiet_request = wire.digest_head(self.id, addr, request=True)
        self.quiet_reply = wire.digest_head(self.id, addr, request=False)
        self.quiet_delta = wire.delta_head(self.id, addr)

    def packed(self) -> bytes:
        """Return the entry of this node in a digest."""
        if self.digest_entry is None:
            left = self.status is MemberStatus.LEFT
            self.digest_entry = wire.digest_entry(self.id, self.addr, self.state.version, left=left)
        return self.digest_entry


class Grave:
    """The memory of a dead node."""

    __slots__ = ("addr", "has_left", "hinted_at", "mentioned_at", "owes")

    def __init__(self, addr: str, now: float, *, has_left: bool) -> None:
        self.addr = addr
        self.has_left = has_left
        self.mentioned_at = now
        self.hinted_at = now
        self.owes = False


class Members:
    """All known nodes, ourselves included, and the digests made of them.

    ``emit`` gets the events of the table's changes.
    """

    def __init__(self, local: Member, entropy: Entropy, emit: Callable[[Event], None]) -> None:
        self.local = local
        self.nodes: dict[str, Member] = {local.id: local}
        self.by_address: dict[tuple[str, int], Member] = {}
        self.graves: dict[str, Grave] = {}
        self.voters: dict[str, None] = {}
        self.peers = 0
        self._entropy = entropy
        self._emit = emit
        self._budget = Budget(MAX_STATE_BYTES)
        self._listed: dict[str, Member] = {local.id: local}
        self._recent: dict[str, Member] = {}
        self._expiring: dict[str, Member] = {}
        self._targets: list[Member] = []
        self._fill: list[Member] = []
        self._body: bytes | None = None
        self._body_room = -1

    # --- changes ---

    def add(self, node_id: str, addr: str, now: float) -> Member | None:
        """Add an active node; ``None`` if the table is full or the name unusable."""
        if len(self.nodes) >= MAX_NODES or not node_id.isprintable():
            return None
        self.graves.pop(node_id, None)
        member = Member(node_id, addr, NodeState(self._budget), now)
        self.nodes[node_id] = member
        member.replaces = self.by_address.get((member.host, member.port))
        self._place(member)
        self._activate(member)
        self._emit(NodeJoined(node_id, addr))
        return member

    def moved(self, member: Member, addr: str, now: float) -> None:
        """A node speaks from another address: the same name, restarted elsewhere."""
        self._displace(member)
        member.move(addr)
        member.verified = False
        self._place(member)
        self.changed(member, now)

    def located(self, member: Member, host: str, port: int) -> None:
        """A node whose address is a name speaks from here: that is where we reach it."""
        self._displace(member)
        member.host, member.port = host, port
        self._place(member)

    def changed(self, member: Member, now: float) -> None:
        """A node's version or status is new: list it first for a while."""
        member.digest_entry = None
        member.changed_at = now
        self._recent.pop(member.id, None)
        if member.id in self._listed:
            self._recent[member.id] = member
        self._body_room = -1

    def unreachable(self, member: Member, reason: str, now: float) -> None:
        """An active node counts as dead."""
        self._set_status(member, MemberStatus.UNREACHABLE, now)
        del self._listed[member.id]
        self._deactivate(member)
        self.changed(member, now)
        self._emit(NodeUnreachable(member.id, reason))

    def reachable(self, member: Member, now: float) -> None:
        """An unreachable node answered, or one that left lives again."""
        self._set_status(member, MemberStatus.ACTIVE, now)
        del self._expiring[member.id]
        self._activate(member)
        self.changed(member, now)
        self._emit(NodeReachable(member.id))

    def left(self, member: Member, now: float) -> None:
        """A node's own state says that it left."""
        was_active = member.status is MemberStatus.ACTIVE
        self._set_status(member, MemberStatus.LEFT, now)
        if was_active:
            self._deactivate(member)
        self._listed[member.id] = member
        self.changed(member, now)
        self._emit(NodeLeft(member.id))

    def is_pico(self, member: Member, value: bool) -> None:
        """A node's own state says whether it understands our additions."""
        member.is_pico = value
        if value and member.status is MemberStatus.ACTIVE:
            self.voters[member.id] = None
        else:
            self.voters.pop(member.id, None)

    def expire(self, now: float) -> list[str]:
        """Bury what is dead for long enough, and drop old graves. Returns the IDs that were buried."""
        buried = []
        while self._expiring:
            member = next(iter(self._expiring.values()))
            if now < member.status_at + FORGET_AFTER_S:
                break
            self._bury(member, now)
            buried.append(member.id)
        while self.graves:
            node_id, grave = next(iter(self.graves.items()))
            if now < grave.mentioned_at + REMEMBER_GRAVES_S and len(self.graves) <= MAX_GRAVES:
                break
            del self.graves[node_id]
        while self._recent:
            member = next(iter(self._recent.values()))
            if now < member.changed_at + RECENT_S:
                break
            del self._recent[member.id]
        return buried

    def mentioned(self, node_id: str, now: float) -> Grave | None:
        """Return the grave of a node that somebody lists, remembering that."""
        grave = self.graves.pop(node_id, None)
        if grave is not None:
            grave.mentioned_at = now
            self.graves[node_id] = grave
        return grave

    def _set_status(self, member: Member, status: MemberStatus, now: float) -> None:
        member.status = status
        member.status_at = now
        self._expiring.pop(member.id, None)
        self._expiring[member.id] = member

    def _activate(self, member: Member) -> None:
        self._listed[member.id] = member
        self._body_room = -1
        self.peers += 1
        if member.is_pico:
            self.voters[member.id] = None
        place = int(self._entropy.random() * (len(self._targets) + 1))
        self._targets.insert(place, member)

    def _deactivate(self, member: Member) -> None:
        self.peers -= 1
        self.voters.pop(member.id, None)

    def _place(self, member: Member) -> None:
        if member.host:
            self.by_address[member.host, member.port] = member

    def _displace(self, member: Member) -> None:
        if self.by_address.get((member.host, member.port)) is member:
            del self.by_address[member.host, member.port]

    def _bury(self, member: Member, now: float) -> None:
        node_id = member.id
        del self.nodes[node_id]
        del self._expiring[node_id]
        self._listed.pop(node_id, None)
        self._recent.pop(node_id, None)
        self._displace(member)
        member.state.release()
        self._body_room = -1
        self.graves[node_id] = Grave(member.addr, now, has_left=member.status is MemberStatus.LEFT)
        self._emit(NodeForgotten(node_id))

    # --- choices ---

    def next_target(self) -> Member | None:
        """Return the next active node to gossip with: each once, in random order, then again in another order."""
        for _ in range(2):
            while self._targets:
                member = self._targets.pop()
                if member.status is MemberStatus.ACTIVE and member.host and self.nodes.get(member.id) is member:
                    return member
            self._targets = self._shuffled([each for each in self._listed.values() if each is not self.local])
        return None

    def active(self) -> list[Member]:
        """Return the active nodes besides us that can be reached, in random order."""
        members = (each for each in self._listed.values() if each.status is MemberStatus.ACTIVE and each.host)
        return self._shuffled([each for each in members if each is not self.local])

    def listed(self) -> list[Member]:
        """Return the nodes that digests list, ourselves included."""
        return list(self._listed.values())

    @property
    def listed_count(self) -> int:
        """How many nodes digests list, ourselves included."""
        return len(self._listed)

    def is_address_known(self, address: tuple[str, int]) -> bool:
        """Return whether a node that is not unreachable has this address."""
        member = self.by_address.get(address)
        return member is not None and member.status is not MemberStatus.UNREACHABLE

    def is_replaced(self, member: Member) -> bool:
        """Return whether another node, which is active, has this node's address."""
        owner = self.by_address.get((member.host, member.port), member)
        return owner is not member and owner.status is MemberStatus.ACTIVE

    def haunting(self, now: float) -> list[str]:
        """Return the buried nodes that somebody has listed as alive just now."""
        found = []
        for node_id, grave in reversed(self.graves.items()):
            if grave.mentioned_at + RECENT_S < now:
                break
            found.append(node_id)
        return found

    def unreachable_since(self) -> list[Member]:
        """Return the unreachable nodes, the latest first."""
        return [each for each in reversed(self._expiring.values()) if each.status is MemberStatus.UNREACHABLE]

    def _shuffled(self, members: list[Member]) -> list[Member]:
        random = self._entropy.random
        return sorted(members, key=lambda _: random())

    # --- digests ---

    def whole_digest(self, room_bytes: int) -> bytes | None:
        """Return the packed entries of all listed nodes, ordered by ID, if they fit.

        Two nodes that know the same thus send the same bytes, and see at a glance that there is nothing to do.
        """
        if self._body_room != room_bytes:
            self._body_room = room_bytes
            self._body = None
            if len(self._listed) * _SMALLEST_DIGEST_ENTRY_BYTES <= room_bytes:
                body = b"".join([self._listed[node_id].packed() for node_id in sorted(self._listed)])
                self._body = body if len(body) <= room_bytes else None
        return self._body

    def partial_digest(self, first: list[Member], room_bytes: int) -> tuple[bytes, int]:
        """Return as many entries as fit, and their number: ``first``, ourselves, the news, and a part of all the rest.

        ``first`` are the nodes the peer showed to be newer: it answers with exactly what we lack.
        """
        chosen: dict[str, bytes] = {}
        room_bytes = self._choose([*first, self.local], chosen, room_bytes)
        news_bytes = int(room_bytes * RECENT_SHARE)
        room_bytes -= news_bytes - self._choose(reversed(self._recent.values()), chosen, news_bytes)
        fill, listed = self._fill, self._listed
        for _ in range(len(listed)):
            if not fill:
                fill = self._fill = self._shuffled(self.listed())
            member = fill.pop()
            if member.id in chosen or member.id not in listed:
                continue
            packed = member.digest_entry or member.packed()
            if len(packed) > room_bytes:
                fill.append(member)
                break
            room_bytes -= len(packed)
            chosen[member.id] = packed
        return b"".join(chosen.values()), len(chosen)

    @staticmethod
    def _choose(members: Iterable[Member], chosen: dict[str, bytes], room_bytes: int) -> int:
        """Add the entries of ``members`` until one does not fit; return the room that is left."""
        for member in members:
            if member.id not in chosen:
                packed = member.digest_entry or member.packed()
                if len(packed) > room_bytes:
                    break
                room_bytes -= len(packed)
                chosen[member.id] = packed
        return room_bytes


def source_matches(addr: str, host: str) -> bool:
    """Return whether ``addr``, which the sender gives as its own, is where its message came from."""
    address = split_address(addr)
    return address is not None and (address[0] == plain_host(host) or not is_literal(address[0]))
