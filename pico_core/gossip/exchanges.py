"""Gossip over TCP, our side: joining, repairing, leaving; and the answers to peers who do so.

See ``streams`` for one exchange. Here is which to open when, and what to do with what comes of it.
"""

from collections.abc import Callable

from pico_core.entropy import Entropy
from pico_core.gossip import wire
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import LeaveDone, Output, StreamRequest
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.members import Member, Members, MemberStatus
from pico_core.gossip.seeds import Seeds
from pico_core.gossip.streams import EXCHANGE_TIMEOUT_S, MAX_STREAM_BYTES, OutboundExchange, Purpose
from pico_core.gossip.wire import Join, JoinReply, Leave, WireError

BULK_NODES = 32
"""Being behind on so many nodes is quicker repaired over TCP than by a packet at a time."""
PATIENCE_S = 1.5
"""How long we may be behind on a node without progress before TCP repairs it."""
MIN_SYNC_PAUSE_S = 1.0
MAX_SYNC_PAUSE_S = 30.0
LEAVES = 3
"""As many nodes hear of a leave over TCP."""
_LARGEST_HEAD_BYTES = 4 * (wire.MAX_ID_CHARACTERS + wire.MAX_ADDR_CHARACTERS) + 64


class Exchanges:
    """All exchanges of one node."""

    def __init__(
        self,
        members: Members,
        knowledge: Knowledge,
        seeds: Seeds,
        entropy: Entropy,
        counters: Counters,
        emit: Callable[[Output], None],
    ) -> None:
        self._members = members
        self._local = members.local
        self._knowledge = knowledge
        self._seeds = seeds
        self._entropy = entropy
        self._counters = counters
        self._emit = emit
        self._open: dict[int, OutboundExchange] = {}
        self._next_number = 1
        self._sync_at = 0.0
        self._sync_pause_s = MIN_SYNC_PAUSE_S
        self._leave_candidates: list[Member] = []
        self._leaves_in_flight = 0
        self._leaves_told = 0

    # --- opening ---

    def join(self, now: float) -> None:
        """Join the addresses whose turn it is."""
        for address in self._seeds.joins(now, self._members.is_address_known):
            self._begin(Purpose.JOIN, address, now)

    def repair(self, now: float) -> None:
        """Fetch over TCP what datagrams do not bring."""
        behind = self._knowledge.behind
        if now < self._sync_at or not behind:
            return
        worst = next(iter(behind.values()))
        if len(behind) > BULK_NODES:
            worst = behind[next(reversed(behind))]
        elif now < worst.since_at + PATIENCE_S:
            return
        behind.clear()
        if worst.who.status is MemberStatus.ACTIVE and worst.who.host:
            self._sync_at = now + EXCHANGE_TIMEOUT_S
            self._counters.syncs += 1
            self._begin(Purpose.SYNC, (worst.who.host, worst.who.port), now)

    def leave(self, candidates: list[Member], now: float) -> None:
        """Say goodbye to some of ``candidates``; others follow for those that do not answer."""
        self._leave_candidates = candidates
        for _ in range(LEAVES):
            self._leave_next(now)
        self._finish_leaving()

    def _begin(self, purpose: Purpose, address: tuple[str, int], now: float) -> None:
        local = self._local
        own = wire.pack_state(local.id, local.addr, [wire.pack_entry(each) for each in local.state.after(0)])
        asked: dict[str, int] = {}
        if purpose is Purpose.LEAVE:
            data = wire.leave_request(local.id, local.addr, own)
        else:
            listed = self._members.listed()
            asked = {member.id: member.state.version for member in listed}
            data = wire.join_request(local.id, local.addr, own, [member.packed() for member in listed])
        self._open[self._next_number] = OutboundExchange(purpose, address, asked, now)
        self._counters.connections_outbound += 1
        self._counters.stream_bytes_outbound += len(data)
        self._emit(StreamRequest(self._next_number, *address, data, EXCHANGE_TIMEOUT_S))
        self._next_number += 1

    # --- outcomes ---

    def received(self, number: int, data: bytes, now: float) -> bool:
        """Take bytes of an answer; return whether the exchange is over."""
        exchange = self._open.get(number)
        if exchange is None:
            return True
        self._counters.stream_bytes_inbound += len(data)
        try:
            if not exchange.reader.receive(data, exchange.values):
                return False
            reply = exchange.reader.join_reply() if exchange.purpose is not Purpose.LEAVE else None
        except WireError:
            self._counters.malformed += 1
            self.failed(number, now)
            return True
        del self._open[number]
        if reply is not None:
            self._answered(exchange, reply, now)
        else:
            self._leaves_in_flight -= 1
            self._leaves_told += 1
            self._finish_leaving()
        return True

    def failed(self, number: int, now: float) -> None:
        """An exchange came to nothing."""
        exchange = self._open.pop(number, None)
        if exchange is None:
            return
        if exchange.purpose is Purpose.JOIN:
            self._seeds.failed(exchange.address, now)
        elif exchange.purpose is Purpose.SYNC:
            self._synced(now, is_news=False)
        else:
            self._leaves_in_flight -= 1
            self._leave_next(now)
            self._finish_leaving()

    def _answered(self, exchange: OutboundExchange, reply: JoinReply, now: float) -> None:
        is_self = reply.node_id == self._local.id
        is_news = False
        if not is_self:
            self._met(reply.node_id, reply.addr, exchange.address[0], now, exchange.began_at)
            is_news = self._knowledge.take_states(reply.states, exchange.asked, now)
        if exchange.purpose is Purpose.JOIN:
            self._seeds.joined(exchange.address, now, is_self=is_self)
        else:
            self._synced(now, is_news=is_news)

    def _met(self, node_id: str, addr: str, host: str, now: float, asked_at: float | None) -> Member | None:
        """Return the node at the other end of a connection, which lives and hears us."""
        knowledge = self._knowledge
        member = knowledge.sender(node_id, addr, host, None, now) or knowledge.risen(node_id, addr, host, now)
        if member is not None:
            knowledge.lives(member, now, asked_at)
        return member

    def _synced(self, now: float, *, is_news: bool) -> None:
        """Repair again soon if it helped, later and later if not: somebody may show what it cannot give."""
        self._sync_pause_s = MIN_SYNC_PAUSE_S if is_news else min(2 * self._sync_pause_s, MAX_SYNC_PAUSE_S)
        self._sync_at = now + self._sync_pause_s * (0.5 + self._entropy.random())

    def _leave_next(self, now: float) -> None:
        if self._leave_candidates:
            member = self._leave_candidates.pop()
            self._leaves_in_flight += 1
            self._begin(Purpose.LEAVE, (member.host, member.port), now)

    def _finish_leaving(self) -> None:
        if not self._leaves_in_flight:
            self._emit(LeaveDone(self._leaves_told))

    # --- answering ---

    def answer(self, request: Join | Leave, host: str, now: float) -> bytes:
        """Take a whole request from a peer and return the answer."""
        local = self._local
        if request.node_id == local.id:
            self._counters.own_name += 1
            return wire.join_reply(local.id, local.addr, [])
        states = [each for each in request.states if each.id == request.node_id]
        if isinstance(request, Leave):
            self._knowledge.take_states(states, {}, now)
            return wire.leave_reply(local.id, local.addr)
        sender = self._met(request.node_id, request.addr, host, now, None)
        self._knowledge.take_states(states, {}, now)
        self._knowledge.compare(request.digest, sender, now)
        return self._join_reply(request)

    def _join_reply(self, request: Join) -> bytes:
        """Return everything that the digest of a join request lacks."""
        known = {entry.id: entry.version for entry in request.digest}
        known[request.node_id] = wire.MAX_VERSION
        states = []
        room_bytes = MAX_STREAM_BYTES - _LARGEST_HEAD_BYTES
        for member in self._members.listed():
            version = known.get(member.id)
            if version is None and member.status is MemberStatus.LEFT and member is not self._local:
                continue
            entries = member.state.after(version or 0)
            if entries or version is None:
                state = wire.pack_state(member.id, member.addr, [wire.pack_entry(entry) for entry in entries])
                room_bytes -= len(state)
                if room_bytes < 0:
                    break
                states.append(state)
                self._counters.delta_entries_outbound += len(entries)
        return wire.join_reply(self._local.id, self._local.addr, states)
