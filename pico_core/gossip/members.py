"""The table of nodes: the status of each, its address, and which nodes were removed.

======================  ===================================================  ==============
from                    when                                                 to
======================  ===================================================  ==============
(unknown)               a peer lists it, or it sends to us                   (heard of)
(unknown), (heard of)   it answers, itself                                   ACTIVE
(heard of)              10 s later                                           (removed)
ACTIVE                  the failure detector finds it unreachable, or        UNREACHABLE
                        another node answers at its address
UNREACHABLE             it answers, itself                                   ACTIVE
ACTIVE, UNREACHABLE     its own state says left                              LEFT
LEFT                    its own state voids that: a new process, same ID     ACTIVE
UNREACHABLE, LEFT       60 s later                                           (removed)
(removed)               it answers, itself                                   ACTIVE
======================  ===================================================  ==============

The reason: peers that have not found a dead node unreachable yet continue to list it. So a peer that lists a node
never makes it active; it is only a reason to ping the node. Nodes that were only heard of are outside the table: other
nodes are not told of them. Removed nodes are remembered for an hour after a peer last listed them.
"""

from collections.abc import Callable
from typing import TypeVar

from pico_core.entropy import Entropy
from pico_core.gossip.address import HostPort
from pico_core.gossip.events import Event, NodeForgotten, NodeJoined, NodeLeft, NodeReachable, NodeUnreachable
from pico_core.gossip.keys import LEFT_KEY
from pico_core.gossip.listing import RECENT_S, Listing, shuffled
from pico_core.gossip.member import Member, RemovedNode
from pico_core.gossip.state import Budget, NodeState
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.wire.records import MAX_NODES

Proved = TypeVar("Proved", str, HostPort)

MAX_REMOVED_NODES = 4096
"""As many as a cluster has nodes: all may have gone."""
MAX_STATE_BYTES = 128 << 20
"""For the states of all other nodes together: an eighth of the memory the Kubernetes manifests allow."""
REMOVE_AFTER_S = 60.0
"""How long an unreachable node, or one that left, is kept in the table: a restart with the same name takes less."""
REMEMBER_REMOVED_S = 3600.0
"""How long a removed node is remembered after its last mention, so that a peer that lists it does not revive it."""


class Members:
    """All known nodes, ourselves included. ``emit`` gets the events of the table's changes.

    ``peers`` is the number of active nodes besides us, ``reporters`` are those among them that report silent nodes.
    ``heard`` are the nodes that peers list and that have not answered us, in the order in which they are pinged next.
    Their status is ``UNREACHABLE``, and their state may already be here. Nodes have answered us from
    ``proved_addresses`` and ``proved_hosts``, the latest last, also some that are not in the table any more.
    """

    def __init__(self, local: Member, entropy: Entropy, emit: Callable[[Event], None]) -> None:
        self.local = local
        local.verified = True
        self.nodes: dict[str, Member] = {local.id: local}
        self.by_address: dict[HostPort, Member] = {}
        self.heard: dict[str, Member] = {}
        self.removed: dict[str, RemovedNode] = {}
        self.reporters: dict[str, None] = {}
        self.proved_hosts: dict[str, None] = {}
        self.proved_addresses: dict[HostPort, None] = {}
        self.peers = 0
        self.listing = Listing(local, entropy)
        self._entropy = entropy
        self._emit = emit
        self._budget = Budget(MAX_STATE_BYTES)
        self._expiring: dict[str, Member] = {}
        self._targets: list[Member] = []

    # --- changes ---

    def add(self, node_id: str, addr: str, now: float) -> Member | None:
        """Add an active node; ``None`` if the table is full or the ID cannot be used."""
        if not self._has_room(node_id):
            return None
        self.removed.pop(node_id, None)
        member = Member(node_id, addr, NodeState(self._budget), now)
        self._enter(member)
        return member

    def hear_of(self, node_id: str, addr: str, now: float) -> Member | None:
        """Note a node that a peer lists; ``None`` if there is no room or the ID cannot be used."""
        if not self._has_room(node_id):
            return None
        member = Member(node_id, addr, NodeState(self._budget), now)
        member.status = NodeStatus.UNREACHABLE
        self.heard[node_id] = member
        return member

    def admit(self, member: Member, now: float) -> None:
        """A node that was heard of proved to live: it is active."""
        del self.heard[member.id]
        member.status = NodeStatus.ACTIVE
        member.status_at = now
        self._enter(member)

    def give_up(self, member: Member, now: float) -> None:
        """A node that was heard of left, or does not answer."""
        self.remember_dead(member.id, member.addr, now, has_left=member.state.value(LEFT_KEY) is not None)
        self.forget_heard(member)

    def forget_heard(self, member: Member) -> None:
        """A node that was heard of is not where peers say it is: forget what they said."""
        del self.heard[member.id]
        member.state.release()

    def remember_dead(self, node_id: str, addr: str, now: float, *, has_left: bool = False) -> None:
        """Remember a node that is not in the table as a dead one; forget the one that was listed longest ago."""
        if len(self.removed) >= MAX_REMOVED_NODES:
            del self.removed[next(iter(self.removed))]
        self.removed[node_id] = RemovedNode(addr, now, has_left=has_left)

    def moved(self, member: Member, addr: str, now: float) -> None:
        """A node sends from another address: the same ID, restarted elsewhere."""
        self._displace(member)
        member.move(addr)
        self._doubt(member)
        self._place(member)
        self.listing.changed(member, now)

    def located(self, member: Member, host: str, port: int) -> None:
        """A node whose address is a name sends from ``host`` and ``port``: datagrams reach it there."""
        self._displace(member)
        member.host, member.port = host, port
        self._doubt(member)
        if member.id in self.nodes:
            self._place(member)

    def proved(self, member: Member, now: float) -> None:
        """A node has answered from its address: from now on our digests list it."""
        member.verified = True
        if member.host:
            _remember(self.proved_hosts, member.host)
            _remember(self.proved_addresses, (member.host, member.port))
        if member.status is NodeStatus.ACTIVE:
            self.listing.add(member)
            self.listing.changed(member, now)

    def unreachable(self, member: Member, reason: str, now: float) -> None:
        """An active node is found dead."""
        self._set_status(member, NodeStatus.UNREACHABLE, now)
        self.listing.remove(member)
        self._deactivate(member)
        self.listing.changed(member, now)
        self._emit(NodeUnreachable(member.id, reason))

    def reachable(self, member: Member, now: float) -> None:
        """An unreachable node answered, or a new process follows one that left."""
        self._set_status(member, NodeStatus.ACTIVE, now)
        del self._expiring[member.id]
        self._activate(member)
        self.listing.changed(member, now)
        self._emit(NodeReachable(member.id))

    def left(self, member: Member, now: float) -> None:
        """A node's own state says that it left."""
        was_active = member.status is NodeStatus.ACTIVE
        self._set_status(member, NodeStatus.LEFT, now)
        if was_active:
            self._deactivate(member)
        self.listing.add(member)
        self.listing.changed(member, now)
        self._emit(NodeLeft(member.id))

    def set_pico(self, member: Member, value: bool) -> None:
        """A node's own state says whether it understands the additions of Pico."""
        member.is_pico = value
        if value and member.status is NodeStatus.ACTIVE:
            self.reporters[member.id] = None
        else:
            self.reporters.pop(member.id, None)

    def expire(self, now: float) -> list[str]:
        """Remove nodes that are unreachable or left for long enough, and return their IDs; drop what is outdated."""
        expired = []
        while self._expiring:
            member = next(iter(self._expiring.values()))
            if now < member.status_at + REMOVE_AFTER_S:
                break
            self._remove(member, now)
            expired.append(member.id)
        while self.removed:
            node_id, removed = next(iter(self.removed.items()))
            if now < removed.mentioned_at + REMEMBER_REMOVED_S:
                break
            del self.removed[node_id]
        self.listing.expire(now)
        return expired

    def mentioned(self, node_id: str, now: float) -> RemovedNode | None:
        """Return the record of a removed node that a peer lists, and remember it for longer; ``None`` without one."""
        removed = self.removed.pop(node_id, None)
        if removed is not None:
            removed.mentioned_at = now
            self.removed[node_id] = removed
        return removed

    def _has_room(self, node_id: str) -> bool:
        return len(self.nodes) + len(self.heard) < MAX_NODES and node_id.isprintable()

    def _enter(self, member: Member) -> None:
        self.nodes[member.id] = member
        member.replaces = self.by_address.get((member.host, member.port))
        self._place(member)
        self._activate(member)
        self._emit(NodeJoined(member.id, member.addr))

    def _set_status(self, member: Member, status: NodeStatus, now: float) -> None:
        member.status = status
        member.status_at = now
        self._expiring.pop(member.id, None)
        self._expiring[member.id] = member

    def _activate(self, member: Member) -> None:
        if member.verified:
            self.listing.add(member)
        else:
            self.listing.remove(member)  # one that left is listed, whether or not it has answered
        self.peers += 1
        if member.is_pico:
            self.reporters[member.id] = None
        place = int(self._entropy.random() * (len(self._targets) + 1))
        self._targets.insert(place, member)

    def _deactivate(self, member: Member) -> None:
        self.peers -= 1
        self.reporters.pop(member.id, None)

    def _doubt(self, member: Member) -> None:
        """A node has another address, from which it has not answered yet."""
        member.verified = member.awaiting_answer = False
        if member.status is NodeStatus.ACTIVE:
            self.listing.remove(member)

    def _place(self, member: Member) -> None:
        if member.host:
            self.by_address[member.host, member.port] = member

    def _displace(self, member: Member) -> None:
        if self.by_address.get((member.host, member.port)) is member:
            del self.by_address[member.host, member.port]

    def _remove(self, member: Member, now: float) -> None:
        node_id = member.id
        del self.nodes[node_id]
        del self._expiring[node_id]
        self.listing.remove(member)
        self._displace(member)
        member.state.release()
        self.remember_dead(node_id, member.addr, now, has_left=member.status is NodeStatus.LEFT)
        self._emit(NodeForgotten(node_id))

    # --- choices ---

    def next_target(self) -> Member | None:
        """Return the next active node to gossip with: each once, in random order, then again in another order."""
        for _ in range(2):
            while self._targets:
                member = self._targets.pop()
                if member.status is NodeStatus.ACTIVE and member.host and self.nodes.get(member.id) is member:
                    return member
            others = [each for each in self.nodes.values() if each is not self.local]
            self._targets = shuffled(others, self._entropy)
        return None

    def active(self) -> list[Member]:
        """Return the active nodes besides us that can be reached, in random order."""
        listed = (each for each in self.listing.nodes.values() if each.status is NodeStatus.ACTIVE and each.host)
        return shuffled([each for each in listed if each is not self.local], self._entropy)

    def is_address_known(self, address: HostPort) -> bool:
        """Return whether a node that is not unreachable has this address."""
        member = self.by_address.get(address)
        return member is not None and member.status is not NodeStatus.UNREACHABLE

    def is_replaced(self, member: Member) -> bool:
        """Return whether another node, which is active, has this node's address."""
        owner = self.by_address.get((member.host, member.port), member)
        return owner is not member and owner.status is NodeStatus.ACTIVE

    def unreachable_nodes(self) -> list[Member]:
        """Return the unreachable nodes, the latest first."""
        return [each for each in reversed(self._expiring.values()) if each.status is NodeStatus.UNREACHABLE]

    def heard_before(self, instant: float) -> list[str]:
        """Return the nodes that were heard of before ``instant`` and have not answered since."""
        return [each.id for each in self.heard.values() if each.status_at <= instant]

    def removed_but_listed(self, now: float) -> list[str]:
        """Return the removed nodes that a peer has listed as alive within the last seconds, the latest first."""
        found = []
        for node_id, removed in reversed(self.removed.items()):
            if removed.mentioned_at + RECENT_S < now:
                break
            found.append(node_id)
        return found


def _remember(proved: dict[Proved, None], one: Proved) -> None:
    proved.pop(one, None)
    if len(proved) >= MAX_NODES:
        del proved[next(iter(proved))]
    proved[one] = None
