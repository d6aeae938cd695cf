"""Gossip over TCP: our requests, their outcomes, and the answers to peers. See ``streams`` for one stream."""

from collections.abc import Callable

from pico_core.entropy import Entropy
from pico_core.gossip.address import plain_host
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import LeaveDone, Lookup, Output, StreamRequest
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.seeds import LOOKUP_TIMEOUT_S, Seeds
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.streams import MAX_STREAM_BYTES, REQUEST_TIMEOUT_S, InboundStream, OutboundStream, Purpose
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import (
    MAX_ADDR_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_VERSION,
    Join,
    JoinReply,
    Leave,
    WireError,
)

BULK_NODES = 32
"""Being behind on more nodes is repaired sooner over TCP than by a packet at a time."""
PATIENCE_S = 1.5
"""How long we may be behind on a node without progress before TCP repairs it."""
MIN_SYNC_PAUSE_S = 1.0
MAX_SYNC_PAUSE_S = 30.0
LEAVES = 3
"""As many nodes are told over TCP that we leave."""
_LARGEST_HEAD_BYTES = 4 * (MAX_ID_CHARACTERS + MAX_ADDR_CHARACTERS) + 64


class StreamRequests:
    """All streams of one node: its own requests, and those of its peers."""

    def __init__(
        self,
        members: Members,
        knowledge: Knowledge,
        seeds: Seeds,
        entropy: Entropy,
        counters: Counters,
        emit: Callable[[Output], None],
    ) -> None:
        self._local = members.local
        self._members = members
        self._knowledge = knowledge
        self._seeds = seeds
        self._entropy = entropy
        self._counters = counters
        self._emit = emit
        self._open: dict[int, OutboundStream] = {}
        self._next_number = 1
        self._sync_at = 0.0
        self._sync_pause_s = MIN_SYNC_PAUSE_S
        self._leave_candidates: list[Member] = []
        self._leaves_in_flight = 0
        self._leaves_told = 0

    # --- our requests ---

    def join(self, now: float) -> None:
        """Look up the names, and join the addresses, that are due; none once we leave."""
        if self._local.status is NodeStatus.LEFT:
            return
        self.look_up(now)
        for address in self._seeds.joins(now, self._members.is_address_known):
            self._begin(Purpose.JOIN, address, now)

    def look_up(self, now: float) -> None:
        """Look up the names that are due."""
        for name in self._seeds.lookups(now):
            self._emit(Lookup(name, LOOKUP_TIMEOUT_S))

    def repair(self, now: float) -> None:
        """Fetch over TCP the entries that datagrams do not bring."""
        behind = self._knowledge.behind
        if now < self._sync_at or not behind:
            return
        worst = next(iter(behind.values()))
        if len(behind) > BULK_NODES:
            worst = behind[next(reversed(behind))]
        elif now < worst.since_at + PATIENCE_S:
            return
        behind.clear()
        source = worst.source
        if source.status is NodeStatus.ACTIVE and source.host:
            self._sync_at = now + REQUEST_TIMEOUT_S
            self._counters.syncs += 1
            self._begin(Purpose.SYNC, (source.host, source.port), now)

    def leave(self, candidates: list[Member], now: float) -> None:
        """Tell some of ``candidates`` that we leave; others follow for those that do not answer."""
        self._leave_candidates = candidates
        for _ in range(LEAVES):
            self._leave_next(now)
        self._finish_leaving()

    def _begin(self, purpose: Purpose, address: tuple[str, int], now: float) -> None:
        local = self._local
        own = writing.pack_state(local.id, local.addr, [writing.pack_entry(each) for each in local.state.after(0)])
        asked: dict[str, int] = {}
        if purpose is Purpose.LEAVE:
            data = writing.leave_request(local.id, local.addr, own)
        else:
            listed = self._members.listing.nodes.values()
            asked = {member.id: member.state.version for member in listed}
            data = writing.join_request(local.id, local.addr, own, [member.packed() for member in listed])
        self._open[self._next_number] = OutboundStream(purpose, address, asked, now)
        self._counters.connections_outbound += 1
        self._counters.stream_bytes_outbound += len(data)
        self._emit(StreamRequest(self._next_number, *address, data, REQUEST_TIMEOUT_S))
        self._next_number += 1

    def _leave_next(self, now: float) -> None:
        if self._leave_candidates:
            member = self._leave_candidates.pop()
            self._leaves_in_flight += 1
            self._begin(Purpose.LEAVE, (member.host, member.port), now)

    def _finish_leaving(self) -> None:
        if not self._leaves_in_flight:
            self._emit(LeaveDone(self._leaves_told))

    # --- their outcomes ---

    def received(self, number: int, data: bytes, now: float) -> bool:
        """Take bytes of an answer; return whether the stream is over."""
        stream = self._open.get(number)
        if stream is None:
            return True
        self._counters.stream_bytes_inbound += len(data)
        try:
            if not stream.reader.receive(data, stream.values):
                return False
            reply = stream.reader.join_reply() if stream.purpose is not Purpose.LEAVE else None
        except WireError:
            self._counters.malformed += 1
            self.failed(number, now)
            return True
        del self._open[number]
        if reply is not None:
            self._answered(stream, reply, now)
        else:
            self._leaves_in_flight -= 1
            self._leaves_told += 1
            self._finish_leaving()
        return True

    def failed(self, number: int, now: float) -> None:
        """A stream ended without a whole answer."""
        stream = self._open.pop(number, None)
        if stream is None:
            return
        if stream.purpose is Purpose.JOIN:
            self._seeds.failed(stream.address, now)
        elif stream.purpose is Purpose.SYNC:
            self._synced(now, has_changes=False)
        else:
            self._leaves_in_flight -= 1
            self._leave_next(now)
            self._finish_leaving()

    def _answered(self, stream: OutboundStream, reply: JoinReply, now: float) -> None:
        is_self = reply.node_id == self._local.id
        has_changes = False
        if not is_self:
            self._met(reply.node_id, reply.addr, stream.address[0], now, stream.began_at)
            has_changes = self._knowledge.take_states(reply.states, stream.asked, now)
        if stream.purpose is Purpose.JOIN:
            self._seeds.joined(stream.address, now, is_self=is_self)
        else:
            self._synced(now, has_changes=has_changes)

    def _met(self, node_id: str, addr: str, host: str, now: float, asked_at: float | None) -> Member | None:
        """Return the node at the other end of a connection, which lives and receives what we send."""
        knowledge = self._knowledge
        member = knowledge.identify(node_id, addr, host, None, now) or knowledge.rejoined(node_id, addr, host, now)
        if member is not None:
            knowledge.proved_alive(member, now, asked_at)
        return member

    def _synced(self, now: float, *, has_changes: bool) -> None:
        """Repair again soon if it helped, later and later if not: a peer may show a version that it cannot give."""
        self._sync_pause_s = MIN_SYNC_PAUSE_S if has_changes else min(2 * self._sync_pause_s, MAX_SYNC_PAUSE_S)
        self._sync_at = now + self._sync_pause_s * (0.5 + self._entropy.random())

    # --- requests of peers ---

    def accept(self, host: str) -> InboundStream:
        """Return the stream for a connection that a peer at ``host`` opened."""
        self._counters.connections_inbound += 1
        return InboundStream(self, plain_host(host))

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """Count bytes of a peer's stream."""
        self._counters.stream_bytes_inbound += inbound_bytes
        self._counters.stream_bytes_outbound += outbound_bytes

    def answer_stream(self, request: Join | Leave, host: str, now: float) -> bytes:
        """Take a whole request from a peer and return the answer."""
        local = self._local
        if request.node_id == local.id:
            self._counters.own_name += 1
            return writing.join_reply(local.id, local.addr, [])
        states = [each for each in request.states if each.id == request.node_id]
        if isinstance(request, Leave):
            self._knowledge.take_states(states, {}, now)
            return writing.leave_reply(local.id, local.addr)
        sender = self._met(request.node_id, request.addr, host, now, None)
        self._knowledge.take_states(states, {}, now)
        self._knowledge.compare(request.digest, sender, now, at_once=sender is not None)
        return self._join_reply(request)

    def _join_reply(self, request: Join) -> bytes:
        """Return everything that the digest of a join request lacks."""
        known = {entry.id: entry.version for entry in request.digest}
        known[request.node_id] = MAX_VERSION
        states = []
        room_bytes = MAX_STREAM_BYTES - _LARGEST_HEAD_BYTES
        for member in self._members.listing.nodes.values():
            version = known.get(member.id)
            if version is None and member.status is NodeStatus.LEFT and member is not self._local:
                continue
            entries = member.state.after(version or 0)
            if entries or version is None:
                state = writing.pack_state(member.id, member.addr, [writing.pack_entry(entry) for entry in entries])
                room_bytes -= len(state)
                if room_bytes < 0:
                    break
                states.append(state)
                self._counters.delta_entries_outbound += len(entries)
        return writing.join_reply(self._local.id, self._local.addr, states)
