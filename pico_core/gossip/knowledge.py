"""What messages teach: who speaks, what it shows to have or to lack, and what its entries change.

Datagrams and streams both end here. Nothing a peer says raises, and nothing it says about a third node is taken on
trust where that would matter: who is dead stays dead until it answers itself.
"""

from collections.abc import Callable

from pico_core.gossip.address import literal_address
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import NodeDraining, NodeUpdated, Output
from pico_core.gossip.failure import FailureDetector, unpack_accusations
from pico_core.gossip.members import Grave, Member, Members, MemberStatus, source_matches
from pico_core.gossip.state import LEFT_KEY, LocalState
from pico_core.gossip.wire import DigestEntry, Entry, FullState

PICO_KEY = "_internal:pico:version"
"""Present on nodes that know what only Pico knows: the other keys below, and ``after`` in deltas."""
DRAINING_KEY = "_internal:pico:draining"
SILENT_KEY = "_internal:pico:silent"
"""The IDs of the nodes its owner accuses, one a line."""

HINT_PAUSE_S = 0.5
GRAVE_HINT_PAUSE_S = 2.0
"""How often what others say about a dead node makes us ping it."""
CONFLICT_PAUSE_S = 1.0
MAX_OUTLIVED_VERSION = 1 << 53
"""Above it a claim about our own version is a lie: no process has written so often."""

Ping = Callable[[str, str, int, str, int], None]
"""Sends a ping: node ID, address as advertised, version to tell, host, port."""


class Behind:
    """A node that somebody showed to be newer than ours is: since when, and who has it."""

    __slots__ = ("since_at", "who")

    def __init__(self, since_at: float, who: Member) -> None:
        self.since_at = since_at
        self.who = who


class Knowledge:
    """The tables, and the rules by which messages change them.

    ``urgent`` are nodes that call us silent, ``behind`` those we lack something of, oldest first; the engine's rounds
    see to both.
    """

    def __init__(
        self,
        members: Members,
        state: LocalState,
        failure: FailureDetector,
        counters: Counters,
        emit: Callable[[Output], None],
        ping: Ping,
    ) -> None:
        self.urgent: dict[str, None] = {}
        self.behind: dict[str, Behind] = {}
        self._members = members
        self._local = members.local
        self._state = state
        self._failure = failure
        self._counters = counters
        self._emit = emit
        self._ping = ping
        self._conflict_at = 0.0

    # --- who speaks ---

    def sender(self, node_id: str, addr: str, host: str, port: int | None, now: float) -> Member | None:
        """Return the node a message is from, adding it if it is new.

        ``None`` if it is buried, or its address is not where the message is from. ``port`` is ``None`` where it says
        nothing (TCP).
        """
        members = self._members
        member = members.nodes.get(node_id)
        if member is not None and member.addr == addr and member.host == host:
            return member
        matches = source_matches(addr, host)
        if member is None:
            member = self._add(node_id, addr, now) if matches and node_id not in members.graves else None
        elif member.addr != addr and matches:
            members.moved(member, addr, now)
        if member is None:
            return None
        if not member.host and port is not None:
            members.located(member, host, port)
        return member if member.host in ("", host) else None

    def risen(self, node_id: str, addr: str, host: str, now: float) -> Member | None:
        """Return a buried node that has just proved to live, as a new member; ``None`` if it is none or elsewhere."""
        if node_id not in self._members.graves or not source_matches(addr, host):
            return None
        return self._add(node_id, addr, now)

    def answered(self, member: Member, now: float) -> None:
        """A node sent what can be an answer; it is one if we asked something."""
        if member.owes:
            member.owes = False
            self.lives(member, now)

    def lives(self, member: Member, now: float, asked_at: float | None = None) -> None:
        """A node has proved to live, and to hear us. Who had its address before is gone.

        An answer that may be old, to a question of before it was found dead (``asked_at``), brings nobody back, nor
        does a late one from a process whose address an active node has by now.
        """
        member.answered_at = now
        if not member.verified:
            member.verified = True
            older, member.replaces = member.replaces, None
            if older is not None and older.status is MemberStatus.ACTIVE:
                self.unreachable(older, "another node answers at its address", now)
        self._failure.answered(member.id)
        if member.status is not MemberStatus.UNREACHABLE or self._members.is_replaced(member):
            return
        if asked_at is None or asked_at > member.status_at:
            self._members.reachable(member, now)
            self._accused(member, unpack_accusations(member.state.value(SILENT_KEY) or ""), now)

    def unreachable(self, member: Member, reason: str, now: float) -> None:
        """A node counts as dead from now on."""
        self._members.unreachable(member, reason, now)
        member.owes = False
        self._gone(member)

    def hint(self, node_id: str, dead: Member | Grave, now: float) -> None:
        """Ping a node that counts as dead here: if it lives, it answers."""
        pause_s = HINT_PAUSE_S if isinstance(dead, Member) else GRAVE_HINT_PAUSE_S
        address = literal_address(dead.addr)
        if now >= dead.hinted_at + pause_s and address is not None:
            dead.hinted_at = now
            dead.owes = True
            self._ping(node_id, dead.addr, 0, *address)

    def _add(self, node_id: str, addr: str, now: float) -> Member | None:
        member = self._members.add(node_id, addr, now)
        if member is None:
            self._counters.nodes_refused += 1
        return member

    def _gone(self, member: Member) -> None:
        """Drop what is tracked about a node that is active no more."""
        self._failure.forget(member.id)
        self.urgent.pop(member.id, None)
        self.behind.pop(member.id, None)

    # --- what a digest shows ---

    def compare(
        self, entries: list[DigestEntry], sender: Member | None, now: float
    ) -> tuple[list[Member], list[tuple[Member, int]]]:
        """Return the nodes that the sender shows to be newer, and those it lacks something of, with its version."""
        nodes = self._members.nodes
        wanted: list[Member] = []
        owed: list[tuple[Member, int]] = []
        for entry in entries:
            member = nodes.get(entry.id)
            if member is None:
                member = self._heard_of(entry, now)
                if member is None:
                    continue
            elif member.status is MemberStatus.UNREACHABLE and not entry.left:
                self.hint(member.id, member, now)
                continue
            version = member.state.version
            if entry.version > version:
                if member is self._local:
                    self._outlive(entry.version, now)
                    continue
                wanted.append(member)
                if sender is not None and member.id not in self.behind:
                    self.behind[member.id] = Behind(now, sender)
            elif entry.version < version:
                owed.append((member, entry.version))
        return wanted, owed

    def _heard_of(self, entry: DigestEntry, now: float) -> Member | None:
        """Somebody lists a node that we do not know."""
        if entry.left:
            return None
        grave = self._members.mentioned(entry.id, now)
        if grave is not None:
            self.hint(entry.id, grave, now)
            return None
        if literal_address(entry.addr) is None:
            # It could not be probed, and so would never be found dead. If it lives, it will speak to us itself.
            self._counters.nodes_refused += 1
            return None
        return self._add(entry.id, entry.addr, now)

    # --- what entries change ---

    def take_states(self, states: list[FullState], asked: dict[str, int], now: float) -> bool:
        """Take what came over TCP and follows exactly on the versions in ``asked``; return whether it was anything."""
        is_news = False
        for state in states:
            if state.id not in self._members.nodes:
                self._heard_of(DigestEntry(state.id, state.addr, 0, False), now)
            is_news |= self.take_entries(state.id, state.entries or [], asked.get(state.id, 0), now)
        return is_news

    def take_entries(self, node_id: str, entries: list[Entry], after: int | None, now: float) -> bool:
        """Take entries of one node that follow on version ``after``; return whether anything changed."""
        self._counters.delta_entries_inbound += len(entries)
        member = self._members.nodes.get(node_id)
        if member is None:
            self._counters.strangers_refused += 1
            return False
        state = member.state
        if not entries or entries[-1].version <= state.version:
            return False
        if member is self._local:
            self._outlive(entries[-1].version, now)
            return False
        if not state.follows(entries, after):
            self._counters.gaps_refused += 1
            return False
        changes = state.apply(entries)
        if entries[-1].version > state.version:
            self._counters.entries_refused += 1
        if changes:
            self.behind.pop(node_id, None)
            self._members.changed(member, now)
            self._take_changes(member, changes, now)
        return bool(changes)

    def _take_changes(self, member: Member, changes: list[Entry], now: float) -> None:
        for entry in changes:
            if not entry.internal:
                self._emit(NodeUpdated(member.id, entry.key, None if entry.deleted else entry.value))
            elif entry.key == SILENT_KEY:
                self._accused(member, () if entry.deleted else unpack_accusations(entry.value), now)
            elif entry.key == DRAINING_KEY:
                member.draining = not entry.deleted
                self._emit(NodeDraining(member.id, member.draining))
            elif entry.key == PICO_KEY:
                self._members.is_pico(member, not entry.deleted)
        has_left = member.state.value(LEFT_KEY) is not None
        if has_left and member.status is not MemberStatus.LEFT:
            self._members.left(member, now)
            self._gone(member)
        elif member.status is MemberStatus.LEFT and not has_left:
            self._members.reachable(member, now)

    def _accused(self, accuser: Member, accused: tuple[str, ...], now: float) -> None:
        """Somebody finds others silent: see for ourselves. If it is us, speak up."""
        if accuser.status is not MemberStatus.ACTIVE:
            return
        for node_id in self._failure.accusations(accuser.id, accused):
            member = self._members.nodes.get(node_id)
            if member is self._local:
                self.urgent[accuser.id] = None
            elif (
                member is not None and member.status is MemberStatus.ACTIVE and now >= member.answered_at + HINT_PAUSE_S
            ):
                self._failure.suspected(node_id, now)

    def _outlive(self, version: int, now: float) -> None:
        """Somebody holds newer writes under our name: those of a former process. Void them."""
        if now >= self._conflict_at and self._state.version < version < MAX_OUTLIVED_VERSION:
            self._conflict_at = now + CONFLICT_PAUSE_S
            self._counters.name_conflicts += 1
            self._state.outlive(version)
            self._members.changed(self._local, now)
