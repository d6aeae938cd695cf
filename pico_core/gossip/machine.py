"""The gossip engine: membership, and every node's keys, on every node.

One round, ten times a second, with one node after the other: our digest (what we know, up to which version) goes
there; a delta (what we showed to lack) and its digest come back; a delta goes there. Each message is a datagram, any
of them may be lost, and nothing waits for one. Every round is also a probe (``failure``), and TCP repairs what
datagrams cannot (``streams``).

The engine is a part of the server node, not a node of its own: methods in, outputs out of ``poll``, times in seconds
on the clock of ``now``. After any call, drain ``poll`` and read ``deadline``. Whatever comes from a peer never raises,
save ``WireError`` from an ``InboundStream``.
"""

from collections import deque
from collections.abc import Sequence

from pico_core.boundary import SendDatagram
from pico_core.errors import LocalProtocolError
from pico_core.gossip import wire
from pico_core.gossip.address import plain_host, split_address
from pico_core.gossip.counters import Counters, NodeSnapshot
from pico_core.gossip.entropy import Entropy
from pico_core.gossip.events import LISTENER, Exchange, LeaveDone, Lookup, NodeDraining, NodeUpdated, Output
from pico_core.gossip.failure import FailureDetector, pack_accusations, unpack_accusations
from pico_core.gossip.forwarding import ForwardHealth
from pico_core.gossip.members import Grave, Member, Members, Status, is_at, source_matches
from pico_core.gossip.seeds import LOOKUP_TIMEOUT_S, Seeds
from pico_core.gossip.state import LEFT_KEY, Budget, LocalState
from pico_core.gossip.streams import EXCHANGE_TIMEOUT_S, MAX_STREAM_BYTES, InboundStream, OutboundExchange, Purpose
from pico_core.gossip.wire import Delta, Digest, DigestEntry, Entry, FullState, Join, Leave, WireError

DEFAULT_PORT = 8003
ENDPOINT_PREFIX = "endpoint:"
PICO_KEY = "_internal:pico:version"
"""Present on nodes that know what only Pico knows: the other keys below, and ``after`` in deltas."""
DRAINING_KEY = "_internal:pico:draining"
SILENT_KEY = "_internal:pico:silent"
"""The IDs of the nodes its owner accuses, one a line."""

MIN_PACKET_BYTES = 1200
"""The longest endpoint ID in ASCII, with the longest node IDs around it, fits."""
MAX_LOCAL_BYTES = 32 << 20
STALL_ROUNDS = 2.0
"""A round that is later than this means that we did not run, not that the others were silent."""
HINT_PAUSE_S = 0.5
GRAVE_HINT_PAUSE_S = 2.0
"""How often what others say about a dead node makes us ping it."""
DEAD_PING_ROUNDS = 10
BULK_NODES = 32
"""Being behind on so many nodes is quicker repaired over TCP than by a packet at a time."""
PATIENCE_S = 1.5
"""How long we may be behind on a node without progress before TCP repairs it."""
MIN_SYNC_PAUSE_S = 1.0
MAX_SYNC_PAUSE_S = 30.0
CONFLICT_PAUSE_S = 1.0
ECHO_S = 15.0
LEAVES = 3
"""As many nodes hear of a leave over TCP."""
LEAVE_DATAGRAMS = 10
MAX_OUTLIVED_VERSION = 1 << 53


class _Behind:
    """A node somebody showed to be newer than ours is: since when, and who has it."""

    __slots__ = ("since_at", "who")

    def __init__(self, since_at: float, who: Member) -> None:
        self.since_at = since_at
        self.who = who


class Gossip:
    """One node's view of the cluster.

    Set the first keys with ``set_local`` (``proxy_addr``, ``admin_addr``), then call ``start``. ``seeds`` are the
    addresses and names to join. ``max_packet_bytes`` must be at least ``MIN_PACKET_BYTES``.
    """

    def __init__(
        self,
        node_id: str,
        advertise_addr: str,
        *,
        entropy: Entropy,
        seeds: Sequence[str] = (),
        default_port: int = DEFAULT_PORT,
        interval_s: float = 0.1,
        max_packet_bytes: int = 1400,
    ) -> None:
        address = split_address(advertise_addr)
        if address is None or not node_id.isprintable() or not 0 < len(node_id) <= wire.MAX_ID_CHARACTERS:
            raise LocalProtocolError(f"gossip cannot use the node ID {node_id!r} at the address {advertise_addr!r}")
        if max_packet_bytes < MIN_PACKET_BYTES:
            raise LocalProtocolError(f"gossip packets must be allowed {MIN_PACKET_BYTES} bytes")
        self.id = node_id
        self.counters = Counters()
        self._outputs: deque[Output] = deque()
        self._state = LocalState(Budget(MAX_LOCAL_BYTES))
        self._local = Member(node_id, advertise_addr, self._state, 0.0)
        self._members = Members(self._local, entropy, self._outputs.append)
        self._failure = FailureDetector(interval_s)
        self._forwarding = ForwardHealth()
        self.seeds = Seeds(seeds, default_port, address, entropy)
        self._entropy = entropy
        self._interval_s = interval_s
        self._max_packet_bytes = max_packet_bytes
        self._digest_room = max_packet_bytes - len(self._local.quiet_request)
        self._round_at: float | None = None
        self._rounds = 0
        self._urgent: dict[str, None] = {}
        self._behind: dict[str, _Behind] = {}
        self._sync_at = 0.0
        self._sync_pause_s = MIN_SYNC_PAUSE_S
        self._conflict_at = 0.0
        self._exchanges: dict[int, OutboundExchange] = {}
        self._next_exchange = 1
        self._leave_candidates: list[Member] | None = None
        self._leaves_told = 0

    # --- our own state ---

    def set_local(self, key: str, value: str, now: float, *, internal: bool = False) -> None:
        """Write one of our keys. Raises ``LocalProtocolError`` above the bounds of key, value and state."""
        if self._state.set(key, value, internal=internal):
            self._members.changed(self._local, now)

    def delete_local(self, key: str, now: float) -> None:
        """Delete one of our keys."""
        if self._state.delete(key):
            self._members.changed(self._local, now)

    def set_endpoint(self, endpoint: str, listeners: int, now: float) -> None:
        """Tell the cluster how many listeners an endpoint has here; 0 takes it back."""
        key = ENDPOINT_PREFIX + endpoint
        if listeners:
            self.set_local(key, str(listeners), now)
        else:
            self.delete_local(key, now)

    def set_draining(self, now: float) -> None:
        """Tell the cluster to prefer other nodes from now on."""
        self.set_local(DRAINING_KEY, "1", now, internal=True)

    # --- life ---

    def start(self, now: float) -> None:
        """Begin to gossip and to join."""
        self.set_local(PICO_KEY, "1", now, internal=True)
        self._round_at = now + self._interval_s * self._entropy.random()
        self._join(now)

    def leave(self, now: float) -> None:
        """Say goodbye to the cluster. Next: wait for ``LeaveDone``, and go on as before until then."""
        if self._leave_candidates is not None:
            return
        self._state.set(LEFT_KEY, "", internal=True)
        self._local.status = Status.LEFT
        self._members.changed(self._local, now)
        candidates = self._members.active()
        farewell = self._delta([(self._local, self._state.version - 1)], self._max_packet_bytes, to=None)
        for member in candidates[:LEAVE_DATAGRAMS]:
            self._send(farewell, member.host, member.port)
            self._send_digest(member, now)
        self._leave_candidates = candidates
        for _ in range(LEAVES):
            self._leave_next(now)
        self._finish_leaving()

    def deadline(self) -> float | None:
        """Return when ``tick`` is due; ``None`` before ``start``."""
        return self._round_at

    def poll(self) -> Output | None:
        """Return the next output, or ``None``."""
        return self._outputs.popleft() if self._outputs else None

    # --- questions ---

    def can_forward(self, node_id: str, now: float) -> bool:
        """Return whether a node is a good choice to forward to now; others are worth a try when no good one is left."""
        member = self._members.nodes.get(node_id)
        return (
            member is not None
            and member.status is Status.ACTIVE
            and not self._forwarding.is_avoided(node_id, now)
            and self._failure.silent_s(node_id, now) < self._failure.accuse_after_s
        )

    def report_forward_failure(self, node_id: str, now: float) -> None:
        """Forwarding to a node failed in a way that blames the node: avoid it for a moment, and ping it at once."""
        member = self._members.nodes.get(node_id)
        if member is not None and member.status is Status.ACTIVE and member is not self._local:
            self._forwarding.failed(node_id, now)
            self._failure.suspected(node_id, now)

    def report_forward_success(self, node_id: str) -> None:
        """A node served a forwarded request."""
        self._forwarding.succeeded(node_id)

    def snapshot(self, now: float) -> list[NodeSnapshot]:
        """Return a row for each known node, ourselves first."""
        return [
            NodeSnapshot(
                member.id,
                member.addr,
                member.status.value,
                member.state.version,
                len(member.state.entries),
                member.draining,
                round(self._failure.silent_s(member.id, now), 3),
                member is self._local,
            )
            for member in self._members.nodes.values()
        ]

    def entries(self, node_id: str) -> list[Entry] | None:
        """Return a node's entries in the order of their versions, or ``None`` if it is not known."""
        member = self._members.nodes.get(node_id)
        return None if member is None else list(member.state.entries.values())

    def status(self, node_id: str) -> Status | None:
        """Return what counts about a node, or ``None`` if it is not known."""
        member = self._members.nodes.get(node_id)
        return None if member is None else member.status

    # --- time ---

    def tick(self, now: float) -> None:
        """Time passed: hold the next round if it is due."""
        if self._round_at is None or now < self._round_at:
            return
        late_s = now - self._round_at
        if late_s > STALL_ROUNDS * self._interval_s:
            self._failure.stalled(late_s)
            self._round_at = now
        self._round_at += self._interval_s
        self._rounds += 1
        for node_id in self._members.expire(now):
            self._forwarding.forget(node_id)
            self._behind.pop(node_id, None)
        self._join(now)
        self._judge(now)
        self._accuse(now)
        if self._rounds % DEAD_PING_ROUNDS == 0:
            self._ping_dead(now)
        self._repair(now)
        self._round(now)

    def _round(self, now: float) -> None:
        """Gossip with the next node; those that owe an answer are pinged anyway."""
        members = self._members
        while self._urgent:
            node_id = next(iter(self._urgent))
            del self._urgent[node_id]
            member = members.nodes.get(node_id)
            if member is not None and member.status is Status.ACTIVE and member.host:
                self.counters.refutations += 1
                self._send_digest(member, now)
                return
        for _ in range(1 + members.peers):
            member = members.next_target()
            if member is None:
                return
            if not self._failure.silent_s(member.id, now):
                self._send_digest(member, now)
                return

    def _judge(self, now: float) -> None:
        findings = self._failure.check(now, self._members.peers, self._members.voters)
        nodes = self._members.nodes
        for node_id in findings.pings:
            member = nodes[node_id]
            if member.host:
                self._send_ping(member.id, member.addr, member.state.version, member.host, member.port)
        for node_id in findings.verdicts:
            self._unreachable(nodes[node_id], "does not answer", now)

    def _unreachable(self, member: Member, reason: str, now: float) -> None:
        self._members.unreachable(member, reason, now)
        self._gone(member)

    def _gone(self, member: Member) -> None:
        """Drop what we tracked about a node that is active no more."""
        self._failure.forget(member.id)
        self._urgent.pop(member.id, None)
        self._behind.pop(member.id, None)

    def _accuse(self, now: float) -> None:
        """Publish whom we find silent: the longest silent first, then the dead, then graves that others accuse."""
        accused = self._failure.silent_for_long(now)
        accused += [member.id for member in self._members.unreachable_since()]
        accused += self._echoes(now)
        value = pack_accusations(accused)
        if value or self._state.value(SILENT_KEY):
            self.set_local(SILENT_KEY, value, now, internal=True)

    def _echoes(self, now: float) -> list[str]:
        """Return those in graves here that others accuse: they may need a second opinion, and we once had one."""
        echoes = []
        for node_id in self._failure.accused():
            grave = self._members.graves.get(node_id)
            if grave is not None:
                if grave.echo_until_at is None:
                    grave.echo_until_at = now + ECHO_S
                if now < grave.echo_until_at:
                    echoes.append(node_id)
        return echoes

    def _ping_dead(self, now: float) -> None:
        """Ping one of the unreachable nodes: a network that was cut may be whole again."""
        dead = self._members.unreachable_since()
        if dead:
            member = dead[self._rounds // DEAD_PING_ROUNDS % len(dead)]
            self._hint(member.id, member, now)

    # --- joining and repair ---

    def _join(self, now: float) -> None:
        if self._leave_candidates is not None:
            return
        for name in self.seeds.lookups(now):
            self._outputs.append(Lookup(name, LOOKUP_TIMEOUT_S))
        for address in self.seeds.joins(now, self._members.by_address_active()):
            self._open(Purpose.JOIN, address)

    def resolved(self, name: str, addresses: Sequence[str], error: str, now: float) -> None:
        """Take the answer to a ``Lookup``."""
        self.seeds.resolved(name, addresses, error, now)
        self._join(now)

    def _repair(self, now: float) -> None:
        """Fetch over TCP what datagrams do not bring."""
        if now < self._sync_at or not self._behind:
            return
        longest = next(iter(self._behind.values()))
        who = longest.who
        if len(self._behind) > BULK_NODES:
            who = self._behind[next(reversed(self._behind))].who
        elif now < longest.since_at + PATIENCE_S:
            return
        self._behind.clear()
        if who.status is Status.ACTIVE and who.host:
            self._sync_at = now + EXCHANGE_TIMEOUT_S
            self.counters.syncs += 1
            self._open(Purpose.SYNC, (who.host, who.port))

    def _open(self, purpose: Purpose, address: tuple[str, int]) -> None:
        own = wire.pack_state(self.id, self._local.addr, [wire.pack_entry(each) for each in self._state.after(0)])
        asked: dict[str, int] = {}
        if purpose is Purpose.LEAVE:
            data = wire.leave_request(self.id, self._local.addr, own)
        else:
            listed = self._members.listed()
            asked = {member.id: member.state.version for member in listed}
            data = wire.join_request(self.id, self._local.addr, own, [member.packed() for member in listed])
        number = self._next_exchange
        self._next_exchange += 1
        self._exchanges[number] = OutboundExchange(purpose, address, asked)
        self.counters.connections_outbound += 1
        self.counters.stream_bytes_outbound += len(data)
        self._outputs.append(Exchange(number, *address, data, EXCHANGE_TIMEOUT_S))

    def exchange_received(self, number: int, data: bytes, now: float) -> bool:
        """Take bytes of the answer to an ``Exchange``; return true when it is over: close the connection."""
        exchange = self._exchanges.get(number)
        if exchange is None:
            return True
        self.counters.stream_bytes_inbound += len(data)
        try:
            if not exchange.reader.receive(data, exchange.values):
                return False
            if exchange.purpose is Purpose.LEAVE:
                exchange.reader.sender()
                self._left_told(now)
            else:
                self._join_answered(exchange, now)
        except WireError:
            self.counters.malformed += 1
            self.exchange_failed(number, now)
            return True
        del self._exchanges[number]
        return True

    def exchange_failed(self, number: int, now: float) -> None:
        """An ``Exchange`` could not be opened, ended before its answer was whole, or took too long."""
        exchange = self._exchanges.pop(number, None)
        if exchange is None:
            return
        if exchange.purpose is Purpose.JOIN:
            self.seeds.failed(exchange.address, now)
        elif exchange.purpose is Purpose.SYNC:
            self._synced(now, brought=False)
        else:
            self._leave_next(now)
            self._finish_leaving()

    def _join_answered(self, exchange: OutboundExchange, now: float) -> None:
        reply = exchange.reader.join_reply()
        is_self = reply.node_id == self.id
        if not is_self:
            sender = self._sender(reply.node_id, reply.addr, exchange.address[0], now)
            if sender is not None:
                self._answered(sender, now)
        before = self.counters.delta_entries_inbound
        self._take_states(reply.states, exchange.asked, now)
        if exchange.purpose is Purpose.JOIN:
            self.seeds.joined(exchange.address, now, is_self=is_self)
        else:
            self._synced(now, brought=self.counters.delta_entries_inbound > before)

    def _synced(self, now: float, *, brought: bool) -> None:
        """Repair again soon if it helped, later and later if not: somebody may show what it cannot give."""
        self._sync_pause_s = MIN_SYNC_PAUSE_S if brought else min(2 * self._sync_pause_s, MAX_SYNC_PAUSE_S)
        self._sync_at = now + self._sync_pause_s * (0.5 + self._entropy.random())

    def _leave_next(self, now: float) -> None:
        if self._leave_candidates:
            member = self._leave_candidates.pop()
            self._open(Purpose.LEAVE, (member.host, member.port))

    def _left_told(self, now: float) -> None:
        self._leaves_told += 1
        others = [each for each in self._exchanges.values() if each.purpose is Purpose.LEAVE]
        if len(others) == 1:
            self._outputs.append(LeaveDone(self._leaves_told))

    def _finish_leaving(self) -> None:
        if all(each.purpose is not Purpose.LEAVE for each in self._exchanges.values()):
            self._outputs.append(LeaveDone(self._leaves_told))

    # --- streams that peers open ---

    def accept_stream(self, host: str) -> InboundStream:
        """Return the engine for a connection that a peer at ``host`` opened to our gossip port."""
        self.counters.connections_inbound += 1
        return InboundStream(self, plain_host(host))

    def count_stream(self, inbound_bytes: int, outbound_bytes: int) -> None:
        """Count bytes of a stream."""
        self.counters.stream_bytes_inbound += inbound_bytes
        self.counters.stream_bytes_outbound += outbound_bytes

    def answer_stream(self, request: Join | Leave, host: str, now: float) -> bytes:
        """Take a whole request from a peer and return the answer."""
        if request.node_id == self.id:
            self.counters.own_name += 1
            return wire.join_reply(self.id, self._local.addr, [])
        sender = self._sender(request.node_id, request.addr, host, now)
        if sender is not None and isinstance(request, Join):
            self._answered(sender, now)
        states = [each for each in request.states if each.id == request.node_id]
        self._take_states(states, {}, now)
        if isinstance(request, Leave):
            return wire.leave_reply(self.id, self._local.addr)
        wanted, _ = self._compare(request.digest, sender, now)
        return self._join_reply(request)

    def _join_reply(self, request: Join) -> bytes:
        """Return everything the digest of a join request lacks."""
        known = {entry.id: entry.version for entry in request.digest}
        known[request.node_id] = wire.MAX_VERSION
        states = []
        room = MAX_STREAM_BYTES
        for member in self._members.listed():
            version = known.get(member.id)
            if version is None and member.status is Status.LEFT:
                continue
            entries = member.state.after(version or 0)
            if entries or version is None:
                state = wire.pack_state(member.id, member.addr, [wire.pack_entry(entry) for entry in entries])
                room -= len(state)
                if room < wire.MAX_ID_CHARACTERS * 16:
                    break
                states.append(state)
                self.counters.delta_entries_outbound += len(entries)
        return wire.join_reply(self.id, self._local.addr, states)

    # --- datagrams ---

    def receive_datagram(self, data: bytes, host: str, port: int, now: float) -> None:
        """Take one datagram."""
        counters = self.counters
        counters.packet_bytes_inbound += len(data)
        member = self._members.by_address.get((host, port))
        if member is not None and self._is_quiet(member, data, now):
            return
        try:
            message = wire.decode_datagram(data)
        except WireError:
            counters.malformed += 1
            return
        if message.node_id == self.id:
            counters.own_name += 1
            return
        host = plain_host(host)
        sender = self._sender(message.node_id, message.addr, host, now)
        if isinstance(message, Digest):
            self._take_digest(message, sender, len(data), host, port, now)
        else:
            self._take_delta(message, sender, now)

    def _is_quiet(self, member: Member, data: bytes, now: float) -> bool:
        """Take a datagram that says nothing new, without reading it; return whether it was one.

        Nearly all datagrams of a small cluster are such: an empty delta, or a digest with exactly the bytes that ours
        would have. Comparing takes a tenth of the time of reading.
        """
        if data == member.quiet_delta:
            self._answered(member, now)
            return True
        body = self._members.whole_digest(self._digest_room)
        if body is None or not member.verified or len(data) != len(member.quiet_request) + len(body):
            return False
        if not data.endswith(body):
            return False
        if data.startswith(member.quiet_request):
            local = self._local
            self._send(local.quiet_delta, member.host, member.port)
            self._send(local.quiet_reply + body, member.host, member.port)
        elif data.startswith(member.quiet_reply):
            self._answered(member, now)
            self._send(self._local.quiet_delta, member.host, member.port)
        else:
            return False
        entries = len(self._members.nodes)
        self.counters.digest_entries_inbound += entries
        return True

    def _sender(self, node_id: str, addr: str, host: str, now: float) -> Member | None:
        """Return the node a message is from, adding it if it is new; ``None`` if its address is not where it is from.

        A new name at the address of an active node means that the older process is gone.
        """
        members = self._members
        member = members.nodes.get(node_id)
        if member is None:
            if node_id in members.graves or not source_matches(addr, host):
                return None
            address = split_address(addr)
            older = members.by_address.get(address) if address is not None else None
            if older is not None and older.status is Status.ACTIVE:
                self._unreachable(older, "another node answers at its address", now)
            return self._add(node_id, addr, now)
        if member.addr != addr and source_matches(addr, host):
            members.moved(member, addr, now)
        return member if is_at(member, host) else None

    def _add(self, node_id: str, addr: str, now: float) -> Member | None:
        member = self._members.add(node_id, addr, now)
        if member is None:
            self.counters.nodes_refused += 1
        return member

    def _answered(self, member: Member, now: float) -> None:
        """A node answered us: it lives, and it hears us."""
        member.answered_at = now
        member.verified = True
        self._failure.answered(member.id)
        if member.status is Status.UNREACHABLE:
            self._members.reachable(member, now)

    def _take_digest(
        self, digest: Digest, sender: Member | None, size_bytes: int, host: str, port: int, now: float
    ) -> None:
        self.counters.digest_entries_inbound += len(digest.entries)
        if sender is None:
            sender = self._rise(digest.node_id, digest.addr, host, digest, now)
        if sender is not None and not digest.request:
            self._answered(sender, now)
        wanted, owed = self._compare(digest.entries, sender, now)
        is_trusted = sender is not None and sender.verified and (sender.host, sender.port) == (host, port)
        budget_bytes = self._max_packet_bytes if is_trusted else min(size_bytes, self._max_packet_bytes)
        delta = self._delta(owed, budget_bytes, sender)
        if len(delta) > budget_bytes:
            return
        self._send(delta, host, port)
        if digest.request:
            room_bytes = budget_bytes if is_trusted else budget_bytes - len(delta)
            is_ping = all(entry.id != digest.node_id for entry in digest.entries)
            self._send_reply(wanted, room_bytes, host, port, is_ping=is_ping)

    def _send_reply(self, wanted: list[Member], room_bytes: int, host: str, port: int, *, is_ping: bool) -> None:
        """Send the digest that answers a digest; to a ping, a short one."""
        local = self._local
        room_bytes -= len(local.quiet_reply)
        if is_ping:
            body, count = local.packed(), 1
        else:
            body, count = self._digest_body(wanted, room_bytes)
        if 0 < len(body) <= room_bytes:
            self.counters.digest_entries_outbound += count
            self._send(local.quiet_reply + body, host, port)

    def _digest_body(self, first: list[Member], room_bytes: int) -> tuple[bytes, int]:
        body = self._members.whole_digest(self._digest_room)
        if body is not None and len(body) <= room_bytes:
            return body, len(self._members.nodes)
        return self._members.partial_digest(first, room_bytes)

    def _compare(
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
            elif member.status is Status.UNREACHABLE and not entry.left:
                self._hint(member.id, member, now)
                continue
            version = member.state.version
            if entry.version > version:
                if member is self._local:
                    self._outlive(entry.version, now)
                else:
                    wanted.append(member)
                    if sender is not None and member.id not in self._behind:
                        self._behind[member.id] = _Behind(now, sender)
            elif entry.version < version:
                owed.append((member, entry.version))
        return wanted, owed

    def _heard_of(self, entry: DigestEntry, now: float) -> Member | None:
        """Somebody lists a node that we do not know."""
        if entry.left:
            return None
        grave = self._members.mentioned(entry.id, now)
        if grave is not None:
            self._hint(entry.id, grave, now)
            return None
        return self._add(entry.id, entry.addr, now)

    def _hint(self, node_id: str, dead: Member | Grave, now: float) -> None:
        """Ping a node that counts as dead here: if it lives, it answers."""
        pause_s = HINT_PAUSE_S if isinstance(dead, Member) else GRAVE_HINT_PAUSE_S
        address = split_address(dead.addr)
        if now >= dead.hinted_at + pause_s and address is not None:
            dead.hinted_at = now
            self._send_ping(node_id, dead.addr, 0, *address)

    def _rise(self, node_id: str, addr: str, host: str, digest: Digest | None, now: float) -> Member | None:
        """A node that was buried here answers us, itself: it is a member again, unless it says that it left."""
        grave = self._members.graves.get(node_id)
        if grave is None or not source_matches(addr, host) or (digest is not None and digest.request):
            return None
        says_active = digest is not None and any(each.id == node_id and not each.left for each in digest.entries)
        if grave.has_left and not says_active:
            return None
        return self._add(node_id, addr, now)

    def _take_delta(self, delta: Delta, sender: Member | None, now: float) -> None:
        if sender is not None:
            self._answered(sender, now)
        for node in delta.nodes:
            self.counters.delta_entries_inbound += len(node.entries)
            self._take_entries(node.id, node.entries, node.after, now)

    def _take_states(self, states: list[FullState], asked: dict[str, int], now: float) -> None:
        """Take what came over TCP, which follows exactly on the versions we told there."""
        for state in states:
            entries = state.entries or []
            self.counters.delta_entries_inbound += len(entries)
            if state.id not in self._members.nodes:
                self._heard_of(DigestEntry(state.id, state.addr, 0, False), now)
            self._take_entries(state.id, entries, asked.get(state.id, 0), now)

    def _take_entries(self, node_id: str, entries: list[Entry], after: int | None, now: float) -> None:
        member = self._members.nodes.get(node_id)
        if member is None:
            self.counters.strangers_refused += 1
        elif member is self._local:
            if entries and entries[-1].version > self._state.version:
                self._outlive(entries[-1].version, now)
        elif not member.state.follows(entries, after):
            self.counters.gaps_refused += 1
        else:
            changes = member.state.apply(entries)
            if changes:
                self._behind.pop(node_id, None)
                self._members.changed(member, now)
                self._take_changes(member, changes, now)
            if entries and entries[-1].version > member.state.version:
                self.counters.entries_refused += 1

    def _take_changes(self, member: Member, changes: list[Entry], now: float) -> None:
        for entry in changes:
            if not entry.internal:
                value = None if entry.deleted else entry.value
                self._outputs.append(NodeUpdated(member.id, entry.key, value))
            elif entry.key == SILENT_KEY:
                self._accused(member, () if entry.deleted else unpack_accusations(entry.value), now)
            elif entry.key == DRAINING_KEY:
                member.draining = not entry.deleted
                self._outputs.append(NodeDraining(member.id, member.draining))
            elif entry.key == PICO_KEY:
                self._members.is_pico(member, not entry.deleted)
        has_left = member.state.value(LEFT_KEY) is not None
        if has_left and member.status is not Status.LEFT:
            self._members.left(member, now)
            self._gone(member)
        elif member.status is Status.LEFT and not has_left:
            self._members.reachable(member, now)

    def _accused(self, accuser: Member, accused: tuple[str, ...], now: float) -> None:
        """Somebody finds others silent: see for ourselves. If it is us, speak up."""
        if accuser.status is not Status.ACTIVE:
            return
        for node_id in self._failure.accusations(accuser.id, accused):
            if node_id == self.id:
                self._urgent[accuser.id] = None
                continue
            member = self._members.nodes.get(node_id)
            if member is not None and member.status is Status.ACTIVE and now >= member.answered_at + HINT_PAUSE_S:
                self._failure.suspected(node_id, now)

    def _outlive(self, version: int, now: float) -> None:
        """Somebody holds newer writes under our name: those of a former process. Void them."""
        if now >= self._conflict_at and self._state.version < version < MAX_OUTLIVED_VERSION:
            self._conflict_at = now + CONFLICT_PAUSE_S
            self.counters.name_conflicts += 1
            self._state.outlive(version)
            self._members.changed(self._local, now)

    # --- sending ---

    def _send(self, data: bytes, host: str, port: int) -> None:
        self.counters.packet_bytes_outbound += len(data)
        self._outputs.append(SendDatagram(LISTENER, data, host, port))

    def _send_digest(self, member: Member, now: float) -> None:
        """Begin a round with a node."""
        body, count = self._digest_body([], self._digest_room)
        self.counters.digest_entries_outbound += count
        self._failure.probed(member.id, now)
        self._send(self._local.quiet_request + body, member.host, member.port)

    def _send_ping(self, node_id: str, addr: str, version: int, host: str, port: int) -> None:
        """Send a short digest that must be answered. It lists the other node only, by which it is known as a ping."""
        entry = wire.digest_entry(node_id, addr, version, left=False)
        self._send(self._local.quiet_request + entry, host, port)

    def _delta(self, owed: list[tuple[Member, int]], budget_bytes: int, to: Member | None) -> bytes:
        """Return a delta with as much of what is owed as fits, each node's entries in the order of their versions."""
        pieces = [self._local.quiet_delta]
        room_bytes = budget_bytes - len(pieces[0])
        for member, version in owed:
            entries = member.state.after(version)
            after = version if to is not None and to.is_pico else None
            head = wire.delta_node(member.id, member.addr, len(entries), after)
            used_bytes = len(head)
            packed = []
            for entry in entries:
                piece = wire.pack_entry(entry)
                if used_bytes + len(piece) > room_bytes:
                    break
                used_bytes += len(piece)
                packed.append(piece)
            if packed:
                room_bytes -= used_bytes
                pieces.append(head)
                pieces += packed
                self.counters.delta_entries_outbound += len(packed)
                if len(packed) < len(entries):
                    break
        return b"".join(pieces)
