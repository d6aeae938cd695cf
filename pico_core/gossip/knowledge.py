"""The effects of messages: which node sent them, which versions it has or lacks, and what its entries change.

Datagrams and streams both end here. Nothing a peer says raises, and nothing it says about a third node is accepted
where that would matter: a dead node stays dead until it answers itself.
"""

from collections.abc import Callable

from pico_core.gossip.address import literal_address, means_own_host, source_matches, tells_own_host
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import AddressRefused, NodeDraining, NodeUpdated, Output
from pico_core.gossip.failure import FailureDetector, unpack_report
from pico_core.gossip.keys import CLAIM_PREFIX, DRAINING_KEY, LEFT_KEY, PICO_KEY, SILENT_KEY
from pico_core.gossip.local import MAX_VERSION_JUMP, LocalKeys
from pico_core.gossip.member import Member, RemovedNode
from pico_core.gossip.members import Members
from pico_core.gossip.sending import DatagramSender
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.wire.records import MAX_VERSION, DigestEntry, Entry

RECHECK_PAUSE_S = 0.5
RECHECK_REMOVED_PAUSE_S = 2.0
"""How often at most a peer that lists a dead node makes us ping it."""
HEARD_S = 10.0
"""How long a node may be only heard of: twenty pings, of which one is answered even if the network loses most."""
MAX_STRANGERS_HEARD = 512
"""Above as many nodes that were only heard of, no datagram of a stranger adds one: the room is for nodes that peers
list, or that join over TCP."""
HEARD_PINGS = 32
"""How many nodes that were heard of are pinged in a round; while there are no more, each is pinged at once."""
CONFLICT_PAUSE_S = 1.0
"""How often at most we write anew because of another node with our ID: two of them would outbid each other."""
MAX_ADDRESSES_REFUSED = 256
"""How many nodes with an unusable address are remembered, so as to tell of each once; a forger can name any number."""
MAX_SUPERSEDED_VERSION = MAX_VERSION - 2 * MAX_VERSION_JUMP
"""A claim about our own version from here on is a lie: no process has written so often. What we write after a claim
below it is still taken by others.

An owner could not go beyond such a claim. So from here on a version of a node is taken from the node itself alone, and
goes when the node itself shows a lower one: what a forger said from the node's own address lasts until the node's next
digest, and does not go round among the others.
"""


class Behind:
    """A node of which ``source`` showed a newer version than ours, and when."""

    __slots__ = ("since_at", "source")

    def __init__(self, since_at: float, source: Member) -> None:
        self.since_at = since_at
        self.source = source


class Knowledge:
    """The rules by which messages change the tables.

    ``urgent`` are the nodes that report us as silent, ``behind`` those we lack entries of, the longest first; the
    engine's rounds act on both.
    """

    def __init__(
        self,
        members: Members,
        keys: LocalKeys,
        failure: FailureDetector,
        datagrams: DatagramSender,
        counters: Counters,
        emit: Callable[[Output], None],
    ) -> None:
        self.urgent: dict[str, None] = {}
        self.behind: dict[str, Behind] = {}
        self._members = members
        self._local = members.local
        self._keys = keys
        self._failure = failure
        self._datagrams = datagrams
        self._counters = counters
        self._emit = emit
        self._conflict_at = 0.0
        self._addresses_refused: dict[str, None] = {}

    # --- which node sends ---

    def identify(self, node_id: str, addr: str, host: str, port: int | None, now: float) -> Member | None:
        """Return the node a message is from, adding it if it is new.

        ``None`` if it was removed, or its address is not where the message is from. ``port`` is ``None`` where it says
        nothing (TCP).
        """
        members = self._members
        member = members.nodes.get(node_id)
        if member is not None and member.addr == addr and member.host == host:
            return member
        matches = self._comes_from(node_id, addr, host)
        if member is None:
            member = (
                self._first_sent(node_id, addr, now, is_connected=port is None)
                if matches and node_id not in members.removed
                else None
            )
        elif member.addr != addr and matches:
            members.moved(member, addr, now)
        if member is None:
            return None
        if not member.host and port is not None:
            members.located(member, host, port)
        return member if member.host in ("", host) else None

    def is_at(self, node_id: str, host: str) -> bool:
        """Return whether a node of the table is at ``host``, so that its state may come from there."""
        members = self._members
        member = members.nodes.get(node_id) or members.heard.get(node_id)
        return member is not None and member.host == host

    def _first_sent(self, node_id: str, addr: str, now: float, *, is_connected: bool) -> Member | None:
        """A node sends that is not in the table. Its address may be forged, so it must answer first."""
        members = self._members
        member = members.heard.get(node_id)
        if member is not None and member.addr != addr:
            members.forget_heard(member)
            member = None
        if member is None and not is_connected and len(members.heard) >= MAX_STRANGERS_HEARD:
            return self._counted(None)
        return member or self._counted(members.hear_of(node_id, addr, now))

    def rejoined(self, node_id: str, addr: str, host: str, now: float) -> Member | None:
        """Return a removed node that proved to live, as a new one; ``None`` if it was not removed, or is elsewhere."""
        if node_id not in self._members.removed or not self._comes_from(node_id, addr, host):
            return None
        return self._add(node_id, addr, now)

    def _comes_from(self, node_id: str, addr: str, host: str) -> bool:
        """Return whether ``addr``, which a node gives as its own, is where its message came from."""
        if tells_own_host(addr) and not means_own_host(host):
            self._refuse_address(node_id, addr)
            return False
        return source_matches(addr, host)

    def _refuse_address(self, node_id: str, addr: str) -> None:
        """A node on another host tells an address that means our own."""
        self._counters.nodes_refused += 1
        refused = self._addresses_refused
        if node_id not in refused and node_id.isprintable():
            if len(refused) >= MAX_ADDRESSES_REFUSED:
                del refused[next(iter(refused))]
            refused[node_id] = None
            self._emit(AddressRefused(node_id, addr))

    def answered(self, member: Member, now: float) -> None:
        """A node sent a message that can be an answer; it is one if we asked."""
        if member.awaiting_answer:
            member.awaiting_answer = False
            self.proved_alive(member, now)

    def proved_alive(self, member: Member, now: float, opened_at: float | None = None) -> None:
        """A node has proved to live, and to hear us. An older node at its address is dead.

        A message on a connection that was opened (``opened_at``) before the node was found dead may be old, and brings
        nothing back. Nor does a late answer of a process whose address an active node has by now.
        """
        member.answered_at = now
        if member.id in self._members.heard:
            self._admit(member, now)
        if not member.verified:
            self._members.proved(member, now)
            older, member.replaces = member.replaces, None
            if older is not None and older.status is NodeStatus.ACTIVE:
                self.unreachable(older, "another node answers at its address", now)
        self._failure.answered(member.id)
        if member.status is not NodeStatus.UNREACHABLE or self._members.is_replaced(member):
            return
        if opened_at is None or opened_at > member.status_at:
            self._members.reachable(member, now)
            self._take_report(member, unpack_report(member.state.value(SILENT_KEY) or ""), now)

    def unreachable(self, member: Member, reason: str, now: float) -> None:
        """A node is found dead."""
        self._members.unreachable(member, reason, now)
        member.awaiting_answer = False
        self._drop_evidence(member)

    def recheck(self, node_id: str, dead: Member | RemovedNode, now: float) -> None:
        """Ping a node that counts as dead here: if it lives, it answers."""
        pause_s = RECHECK_PAUSE_S if isinstance(dead, Member) else RECHECK_REMOVED_PAUSE_S
        address = literal_address(dead.addr)
        if (
            now >= dead.rechecked_at + pause_s
            and address is not None
            and self._datagrams.ping(node_id, dead.addr, 0, *address, now)
        ):
            dead.rechecked_at = now
            dead.awaiting_answer = True
            if isinstance(dead, Member):
                dead.round_open = True

    def recheck_heard(self, now: float) -> None:
        """Ping some of the nodes that were heard of, and give up those that have not answered for long."""
        heard = self._members.heard
        for _ in range(min(HEARD_PINGS, len(heard))):
            node_id = next(iter(heard))
            member = heard[node_id] = heard.pop(node_id)
            if now >= member.status_at + HEARD_S:
                self._give_up(member, now)
            else:
                self.recheck(node_id, member, now)

    def _add(self, node_id: str, addr: str, now: float) -> Member | None:
        return self._counted(self._members.add(node_id, addr, now))

    def _counted(self, member: Member | None) -> Member | None:
        if member is None:
            self._counters.nodes_refused += 1
        return member

    def _admit(self, member: Member, now: float) -> None:
        """A node that was heard of lives: tell of it, and of what its state says."""
        self._members.admit(member, now)
        live = [entry for entry in member.state.entries.values() if not entry.deleted]
        self._take_changes(member, live, now)

    def _drop_evidence(self, member: Member) -> None:
        """Drop what is tracked about a node that is not active any more."""
        self._failure.forget(member.id)
        self.urgent.pop(member.id, None)
        self.behind.pop(member.id, None)

    # --- what a digest shows ---

    def compare(
        self,
        entries: list[DigestEntry],
        sender_id: str,
        sender: Member | None,
        size_bytes: int,
        now: float,
        *,
        is_trusted: bool,
    ) -> tuple[list[Member], list[tuple[Member, int]]]:
        """Return the nodes of which the sender shows a newer version, and those of which it lacks entries.

        The latter with the version that the sender has. ``is_trusted`` says that the sender has answered us from this
        address. Only then do we act on what it says of others, and ``size_bytes``, which the sender spent on the
        entries, may go to the addresses of the nodes among them that have not answered.
        """
        nodes, strangers = self._members.nodes, self._datagrams.strangers
        share_bytes = size_bytes // max(self._count_unproved(entries), 1) if is_trusted else 0
        wanted: list[Member] = []
        lacked: list[tuple[Member, int]] = []
        for entry in entries:
            member = nodes.get(entry.id)
            is_believed = is_trusted or entry.id == sender_id
            if member is None:
                member = self._heard_of(entry, share_bytes, now) if is_believed else None
                if member is None:
                    continue
            elif is_trusted and not member.verified:
                strangers.received((member.host, member.port), share_bytes)
            if entry.id in nodes and member.status is NodeStatus.UNREACHABLE and not entry.left:
                if is_believed:
                    self.recheck(member.id, member, now)
                continue
            is_own = entry.id == sender_id
            if is_own and is_trusted and entry.version < member.state.version:
                self._withdraw_false(member, now)
            version = member.state.version
            if entry.version > version:
                if member is self._local:
                    if is_trusted:
                        self._supersede(entry.version, now)
                    continue
                if entry.version >= MAX_SUPERSEDED_VERSION and not is_own:
                    continue
                wanted.append(member)
                if is_trusted and sender is not None and member.id not in self.behind:
                    self.behind[member.id] = Behind(now, sender)
            elif entry.version < version and entry.id in nodes:
                lacked.append((member, entry.version))
        return wanted, lacked

    def _count_unproved(self, entries: list[DigestEntry]) -> int:
        """Return how many entries are about nodes that have not answered us."""
        get = self._members.nodes.get
        return sum((member := get(entry.id)) is None or not member.verified for entry in entries)

    def _heard_of(self, entry: DigestEntry, share_bytes: int, now: float) -> Member | None:
        """A peer lists a node that is not in the table: ask the node itself. Return it if it may live.

        The peer has spent ``share_bytes`` on it: so much may go to the node.
        """
        members = self._members
        member = members.heard.get(entry.id)
        if member is not None and entry.left:
            self._give_up(member, now)
        if member is not None or entry.left:
            if member is not None:
                self._datagrams.strangers.received((member.host, member.port), share_bytes)
            return None if entry.left else member
        if tells_own_host(entry.addr) and not tells_own_host(self._local.addr):
            self._refuse_address(entry.id, entry.addr)
            return None
        address = literal_address(entry.addr)
        if address is not None:
            self._datagrams.strangers.received(address, share_bytes)
        removed = members.mentioned(entry.id, now)
        if address == (self._local.host, self._local.port):
            # A former process at our address. It cannot live; our report of it says so to those that list it.
            if removed is None:
                members.remember_dead(entry.id, entry.addr, now)
            return None
        if removed is not None:
            self.recheck(entry.id, removed, now)
            return None
        if address is None:
            # It could not be probed, and so would never be found dead. If it lives, it will send to us itself.
            self._counters.nodes_refused += 1
            return None
        member = self._counted(members.hear_of(entry.id, entry.addr, now))
        if member is not None and len(members.heard) <= HEARD_PINGS:
            self.recheck(entry.id, member, now)
        return member

    def _give_up(self, member: Member, now: float) -> None:
        self.behind.pop(member.id, None)
        self._members.give_up(member, now)

    # --- what entries change ---

    def told_of(self, node_id: str, addr: str, size_bytes: int, now: float) -> None:
        """A peer that was met over TCP has spent so many bytes on telling of a node."""
        if node_id not in self._members.nodes:
            self._heard_of(DigestEntry(node_id, addr, 0, False), size_bytes, now)

    def take_entries(
        self, node_id: str, entries: list[Entry], after: int | None, now: float, *, is_owner: bool
    ) -> bool:
        """Take entries of one node that follow on version ``after``; return whether anything changed.

        ``is_owner`` says that they come from that node's own address.
        """
        self._counters.delta_entries_inbound += len(entries)
        members = self._members
        member = members.nodes.get(node_id) or members.heard.get(node_id)
        if member is None:
            self._counters.strangers_refused += 1
            return False
        state = member.state
        if not entries or entries[-1].version <= state.version:
            return False
        if member is self._local:
            self._supersede(entries[-1].version, now)
            return False
        if not is_owner and entries[-1].version >= MAX_SUPERSEDED_VERSION:
            self._counters.strangers_refused += 1
            return False
        if not state.follows(entries, after):
            self._counters.gaps_refused += 1
            return False
        changes = state.apply(entries)
        if entries[-1].version > state.version:
            self._counters.entries_refused += 1
        if changes:
            self.behind.pop(node_id, None)
            members.listing.changed(member, now)
            if node_id in members.nodes:
                self._take_changes(member, changes, now)
            elif state.value(LEFT_KEY) is not None:
                self._give_up(member, now)
        return bool(changes)

    def _take_changes(self, member: Member, changes: list[Entry], now: float) -> None:
        for entry in changes:
            if not entry.internal or entry.key.startswith(CLAIM_PREFIX):
                self._emit(NodeUpdated(member.id, entry.key, None if entry.deleted else entry.value))
            elif entry.key == SILENT_KEY:
                self._take_report(member, () if entry.deleted else unpack_report(entry.value), now)
            elif entry.key == DRAINING_KEY:
                member.draining = not entry.deleted
                self._emit(NodeDraining(member.id, member.draining))
            elif entry.key == PICO_KEY:
                self._members.set_pico(member, not entry.deleted)
        has_left = member.state.value(LEFT_KEY) is not None
        if has_left and member.status is not NodeStatus.LEFT:
            self._members.left(member, now)
            self._drop_evidence(member)
        elif member.status is NodeStatus.LEFT and not has_left:
            self._members.reachable(member, now)

    def _take_report(self, reporter: Member, silent: tuple[str, ...], now: float) -> None:
        """A node reports others as silent: ping them ourselves. If we are among them, gossip with it soon."""
        if reporter.status is not NodeStatus.ACTIVE:
            return
        for node_id in self._failure.reported(reporter.id, silent):
            member = self._members.nodes.get(node_id)
            if member is self._local:
                self.urgent[reporter.id] = None
            elif (
                member is not None
                and member.status is NodeStatus.ACTIVE
                and now >= member.answered_at + RECHECK_PAUSE_S
            ):
                self._failure.suspected(node_id, now)

    def _withdraw_false(self, member: Member, now: float) -> None:
        """A node itself shows a lower version than ours of it: drop what we hold, if the node could not go beyond."""
        if member.state.version >= MAX_SUPERSEDED_VERSION:
            self._counters.versions_withdrawn += 1
            dropped = member.state.begin_anew()
            self._members.listing.changed(member, now)
            self._take_changes(member, dropped, now)

    def _supersede(self, version: int, now: float) -> None:
        """A peer holds newer writes under our ID: those of a former process. Void them."""
        if now >= self._conflict_at and self._keys.version < version < MAX_SUPERSEDED_VERSION:
            self._conflict_at = now + CONFLICT_PAUSE_S
            self._counters.name_conflicts += 1
            self._keys.supersede(version, now)
