"""Gossip over TCP: our requests, their outcomes, and the answers to peers. See ``streams`` for one stream."""

from collections.abc import Callable, Generator

from pico_core.bounds import MAX_ID_CHARACTERS
from pico_core.entropy import Entropy
from pico_core.gossip.address import HostPort, plain_host
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import LeaveDone, Lookup, Output, SealRefused, SendStreamData, StreamRequest
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.refusals import SealError
from pico_core.gossip.sealing.streams import InboundSeal, OutboundSeal, check_unsealed
from pico_core.gossip.seeds import LOOKUP_TIMEOUT_S, Seeds
from pico_core.gossip.status import NodeStatus
from pico_core.gossip.streams import (
    ENTRY_US,
    MAX_STREAM_BYTES,
    PACKED_ENTRY_US,
    REQUEST_TIMEOUT_S,
    InboundStream,
    OutboundStream,
    Purpose,
    Steps,
)
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.outline import PART_ELEMENTS
from pico_core.gossip.wire.reading import ReadState, StreamReader
from pico_core.gossip.wire.records import (
    MAX_ADDR_CHARACTERS,
    MAX_VERSION,
    WireError,
)

BULK_NODES = 32
"""Being behind on more nodes is repaired sooner over TCP than by a packet at a time."""
REPAIR_AFTER_S = 1.5
"""How long we may be behind on a node without progress before TCP repairs it."""
MIN_SYNC_PAUSE_S = 1.0
MAX_SYNC_PAUSE_S = 30.0
"""Pauses between two comparisons over TCP: the longer one after each that found no change."""
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
        keyring: Keyring | None,
    ) -> None:
        self._keyring = keyring
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
        elif now < worst.since_at + REPAIR_AFTER_S:
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

    def _begin(self, purpose: Purpose, address: HostPort, now: float) -> None:
        local = self._local
        entries = local.state.after(0)
        own = writing.pack_state(local.id, local.addr, len(entries)) + b"".join(map(writing.pack_entry, entries))
        asked: dict[str, int] = {}
        if purpose is Purpose.LEAVE:
            data = writing.leave_request(local.id, local.addr, own)
        else:
            listed = self._members.listing.nodes.values()
            asked = {member.id: member.state.version for member in listed}
            data = writing.join_request(local.id, local.addr, own, [member.packed() for member in listed])
        seal = None if self._keyring is None else OutboundSeal(self._keyring, self._entropy, self._counters)
        stream = OutboundStream(purpose, address, asked, now, seal, data)
        if seal is not None:
            data = seal.hello
        stream.work.begin(self._take_answer(stream))
        self._open[self._next_number] = stream
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
        """Take bytes of an answer; return whether the stream is over. Next: ``work``, now or later."""
        stream = self._open.get(number)
        if stream is None:
            return True
        self._counters.stream_bytes_inbound += len(data)
        try:
            if not stream.work.reader.is_whole:
                data = self._opened(stream, number, data)
                if data:
                    stream.work.reader.receive(data)
                    stream.work.is_busy = True
        except SealError as error:
            self._emit(SealRefused(stream.address[0], str(error)))
            self.failed(number, now)
            return True
        except WireError:
            return self._malformed(number, now)
        return False

    def _opened(self, stream: OutboundStream, number: int, data: bytes) -> bytes:
        """Return an answer's opened bytes; with the peer's hello in them, send the request. Raises ``SealError``."""
        seal = stream.seal
        if seal is None:
            if not stream.work.reader.has_begun:
                check_unsealed(data)
            return data
        data = seal.receive(data)
        if stream.sealed_later and seal.is_agreed:
            request = seal.seal(stream.sealed_later)
            stream.sealed_later = b""
            self._counters.stream_bytes_outbound += len(request)
            self._emit(SendStreamData(number, request))
        return data

    def work(self, number: int, now: float) -> bool:
        """Work for a turn on what has come of an answer; return whether the stream is over."""
        stream = self._open.get(number)
        if stream is None:
            return True
        try:
            stream.work.turn(now)
        except WireError:
            return self._malformed(number, now)
        if not stream.work.is_done:
            return False
        del self._open[number]
        if stream.purpose is Purpose.LEAVE:
            self._leaves_in_flight -= 1
            self._leaves_told += 1
            self._finish_leaving()
        return True

    def is_busy(self, number: int) -> bool:
        """Whether ``work`` is to be called, without waiting for more bytes."""
        stream = self._open.get(number)
        return stream is not None and stream.work.is_busy

    def _malformed(self, number: int, now: float) -> bool:
        self._counters.malformed += 1
        self.failed(number, now)
        return True

    def failed(self, number: int, now: float) -> None:
        """A stream ended without a whole answer."""
        stream = self._open.pop(number, None)
        if stream is None:
            return
        stream.work.end()
        if stream.purpose is Purpose.JOIN:
            self._seeds.failed(stream.address, now)
        elif stream.purpose is Purpose.SYNC:
            self._synced(now, has_changes=False)
        else:
            self._leaves_in_flight -= 1
            self._leave_next(now)
            self._finish_leaving()

    def _take_answer(self, stream: OutboundStream) -> Steps:
        """Take a whole answer: learn from that to a join or repair."""
        now = yield 0.0
        if stream.purpose is Purpose.LEAVE:
            return
        node_id, addr = stream.work.reader.sender()
        is_self = node_id == self._local.id
        has_changes = False
        if not is_self:
            sender = self._met(node_id, addr, stream.address[0], now, stream.began_at)
            for state in stream.work.reader.states():
                after = stream.asked.get(state.id, 0)
                is_owner = sender is not None and state.id == node_id
                has_changes |= yield from self._take_state(state, after, now, is_owner=is_owner)
        now = yield 0.0
        if stream.purpose is Purpose.JOIN:
            self._seeds.joined(stream.address, now, is_self=is_self)
        else:
            self._synced(now, has_changes=has_changes)

    def _take_state(
        self, state: ReadState, after: int, now: float, *, is_owner: bool
    ) -> Generator[float | bytes, float, bool]:
        """Take the entries of one node, which follow on version ``after``; return whether anything changed."""
        has_changes = False
        self._knowledge.told_of(state.id, state.addr, state.size_bytes, now)
        for entries in state.entries():
            if entries:
                has_changes |= self._knowledge.take_entries(state.id, entries, after, now, is_owner=is_owner)
                after = max(after, entries[-1].version)
            now = yield ENTRY_US * (1 + len(entries))
        return has_changes

    def _met(self, node_id: str, addr: str, host: str, now: float, opened_at: float) -> Member | None:
        """Return the node at the other end of a connection, which lived then and received what we sent."""
        knowledge = self._knowledge
        member = knowledge.identify(node_id, addr, host, None, now) or knowledge.rejoined(node_id, addr, host, now)
        if member is not None:
            knowledge.proved_alive(member, now, opened_at)
        return member

    def _synced(self, now: float, *, has_changes: bool) -> None:
        """Repair again soon if it helped, later and later if not: a peer may show a version that it cannot give."""
        self._sync_pause_s = MIN_SYNC_PAUSE_S if has_changes else min(2 * self._sync_pause_s, MAX_SYNC_PAUSE_S)
        self._sync_at = now + self._sync_pause_s * (0.5 + self._entropy.random())

    # --- requests of peers ---

    def accept(self, host: str, now: float) -> InboundStream:
        """Return the stream for a connection that a peer at ``host`` opened just now."""
        self._counters.connections_inbound += 1
        seal = None if self._keyring is None else InboundSeal(self._keyring, self._entropy, self._counters)
        return InboundStream(self, plain_host(host), now, seal)

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """Count bytes of a peer's stream."""
        self._counters.stream_bytes_inbound += inbound_bytes
        self._counters.stream_bytes_outbound += outbound_bytes

    def answer_stream(self, reader: StreamReader, host: str, accepted_at: float) -> Steps:
        """Take a whole request from a peer and yield the answer.

        A connection proves that the peer lived when we accepted it, and not when its last bytes came: a cut network
        brings those of a dead node seconds later.
        """
        now = yield 0.0
        local = self._local
        node_id, addr = reader.sender()
        if node_id == local.id:
            self._counters.own_name += 1
            yield writing.join_reply_head(local.id, local.addr, 0)
            return
        sender = None if reader.is_leave else self._met(node_id, addr, host, now, accepted_at)
        is_owner = sender is not None or self._knowledge.is_at(node_id, host)
        for state in reader.states():
            if state.id == node_id and not is_owner:
                self._counters.strangers_refused += 1
            elif state.id == node_id:
                yield from self._take_state(state, 0, now, is_owner=True)
        if reader.is_leave:
            yield writing.leave_reply(local.id, local.addr)
            return
        known: dict[str, int] = {}
        for listed, size_bytes in reader.digest():
            known.update((entry.id, entry.version) for entry in listed)
            self._knowledge.compare(listed, node_id, sender, size_bytes, now, is_trusted=sender is not None)
            now = yield ENTRY_US * len(listed)
        known[node_id] = MAX_VERSION
        yield from self._join_reply(known)

    def _join_reply(self, known: dict[str, int]) -> Steps:
        """Yield everything that the digest of a join request lacks: no more than the entries of one node at a time.

        The number of nodes comes first, and their entries as far as they fit.
        """
        lacking = [each for each in self._members.listing.nodes.values() if self._lacks(known.get(each.id), each)]
        heads = [writing.pack_state(each.id, each.addr, 0) for each in lacking]
        room_bytes = MAX_STREAM_BYTES - _LARGEST_HEAD_BYTES - sum(map(len, heads))
        yield writing.join_reply_head(self._local.id, self._local.addr, len(lacking))
        for member in lacking:
            entries = member.state.after(known.get(member.id, 0))
            count = 0
            for entry in entries:
                room_bytes -= writing.most_entry_bytes(entry)
                if room_bytes < 0:
                    break
                count += 1
            yield writing.pack_state(member.id, member.addr, count)
            yield PACKED_ENTRY_US * (10 + count)
            for at in range(0, count, PART_ELEMENTS):
                yield b"".join(map(writing.pack_entry, entries[at : min(at + PART_ELEMENTS, count)]))
                yield PACKED_ENTRY_US * PART_ELEMENTS
            self._counters.delta_entries_outbound += count

    def _lacks(self, version: int | None, member: Member) -> bool:
        """Return whether a peer that holds this version of a node lacks entries of it, or does not know it."""
        if version is None:
            return member.status is not NodeStatus.LEFT or member is self._local
        return member.state.version > version
