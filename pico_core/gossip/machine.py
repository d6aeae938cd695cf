"""The gossip engine: membership, and every node's keys, on every node.

One round, ten times a second, with one node after the other: our digest (what we know, up to which version) goes
there; a delta (what we showed to lack) and its digest come back; a delta goes there. If that digest shows something
newer that ours did not list, a short digest asks for it, and one more delta comes back. Each message is a datagram,
any of them may be lost, and nothing waits for one. Every round is also a probe (``failure``), and TCP repairs what
datagrams cannot (``streams``).

The engine is a part of the server node, not a node of its own: methods in, outputs out of ``poll``, times in seconds
on the clock of ``now``. After any call, drain ``poll`` and read ``deadline``. Whatever comes from a peer never raises,
save ``WireError`` from an ``InboundStream``.
"""

from collections import deque
from collections.abc import Sequence

from pico_core.boundary import SendDatagram
from pico_core.entropy import Entropy
from pico_core.errors import LocalProtocolError
from pico_core.gossip import wire
from pico_core.gossip.address import plain_host, split_address
from pico_core.gossip.counters import Counters, NodeSnapshot
from pico_core.gossip.events import LISTENER, Lookup, Output
from pico_core.gossip.exchanges import Exchanges
from pico_core.gossip.failure import FailureDetector, pack_accusations
from pico_core.gossip.forwarding import ForwardHealth
from pico_core.gossip.knowledge import DRAINING_KEY, PICO_KEY, SILENT_KEY, Knowledge
from pico_core.gossip.members import Grave, Member, Members, MemberStatus
from pico_core.gossip.seeds import LOOKUP_TIMEOUT_S, Seeds
from pico_core.gossip.state import LEFT_KEY, Budget, LocalState
from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire import Delta, Digest, Entry, Join, Leave, WireError

DEFAULT_PORT = 8003
ENDPOINT_PREFIX = "endpoint:"

MIN_PACKET_BYTES = 1200
"""The longest endpoint ID in ASCII, with the longest node IDs around it, fits."""
MAX_LOCAL_BYTES = 32 << 20
MAX_FIRST_VERSION = 1 << 40
STALL_ROUNDS = 2.0
"""A round that is later than this means that we did not run, not that the others were silent."""
JOIN_ROUNDS = 5
"""How often to look for addresses to join: it takes a microsecond for each resolved one."""
DEAD_PING_ROUNDS = 10
LEAVE_DATAGRAMS = 10
"""As many nodes hear of a leave by datagrams, besides those that hear of it over TCP."""


class Gossip:
    """One node's view of the cluster.

    Set the first keys with ``set_local`` (``proxy_addr``, ``admin_addr``), then call ``start``. ``seeds`` are the
    addresses and names to join. ``max_packet_bytes`` must be at least ``MIN_PACKET_BYTES``. ``is_name_fixed`` says
    that the node ID is configured, so that a former process may have had it. Raises ``LocalProtocolError`` for a node
    ID, address or packet size that cannot be used.
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
        is_name_fixed: bool = False,
    ) -> None:
        address = split_address(advertise_addr)
        if address is None or not node_id.isprintable() or not 0 < len(node_id) <= wire.MAX_ID_CHARACTERS:
            raise LocalProtocolError(f"gossip cannot use the node ID {node_id!r} at the address {advertise_addr!r}")
        if max_packet_bytes < MIN_PACKET_BYTES:
            raise LocalProtocolError(f"gossip packets must be allowed {MIN_PACKET_BYTES} bytes")
        self.id = node_id
        self.counters = Counters()
        self.seeds = Seeds(seeds, default_port, address, entropy)
        self._outputs: deque[Output] = deque()
        emit = self._outputs.append
        self._state = LocalState(Budget(MAX_LOCAL_BYTES))
        self._local = Member(node_id, advertise_addr, self._state, 0.0)
        self._members = Members(self._local, entropy, emit)
        self._failure = FailureDetector(interval_s)
        self._forwarding = ForwardHealth()
        self._knowledge = Knowledge(self._members, self._state, self._failure, self.counters, emit, self._send_ping)
        self._exchanges = Exchanges(self._members, self._knowledge, self.seeds, entropy, self.counters, emit)
        self._entropy = entropy
        self._interval_s = interval_s
        self._max_packet_bytes = max_packet_bytes
        self._is_name_fixed = is_name_fixed
        self._digest_room_bytes = max_packet_bytes - len(self._local.quiet_request)
        self._round_at: float | None = None
        self._rounds = 0

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
        if self._is_name_fixed:
            # Versions that a former process has used must not come again with another content. Ours begin at random,
            # with all before them void; if those of the former process are higher, its peers say so (``_outlive``).
            self._state.outlive(int(self._entropy.random() * MAX_FIRST_VERSION))
        self._round_at = now + self._interval_s * self._entropy.random()
        self._join(now)

    def leave(self, now: float) -> None:
        """Say goodbye to the cluster. Next: go on as before until ``LeaveDone``."""
        if self._local.status is MemberStatus.LEFT:
            return
        self._state.set(LEFT_KEY, "", internal=True)
        self._local.status = MemberStatus.LEFT
        self._members.changed(self._local, now)
        candidates = self._members.active()
        for member in candidates[:LEAVE_DATAGRAMS]:
            if member.is_pico:
                farewell = self._delta([(self._local, self._state.version - 1)], self._max_packet_bytes, to=member)
                self._send(farewell, member.host, member.port)
            self._send_digest(member, now)
        self._exchanges.leave(candidates, now)

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
            and member.status is MemberStatus.ACTIVE
            and not self._forwarding.is_avoided(node_id, now)
            and self._failure.silent_s(node_id, now) < self._failure.accuse_after_s
        )

    def report_forward_failure(self, node_id: str, now: float) -> None:
        """Forwarding to a node failed in a way that blames the node: avoid it for a moment, and ping it at once."""
        member = self._members.nodes.get(node_id)
        if member is not None and member.status is MemberStatus.ACTIVE and member is not self._local:
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

    def status(self, node_id: str) -> MemberStatus | None:
        """Return what counts about a node, or ``None`` if it is not known."""
        member = self._members.nodes.get(node_id)
        return None if member is None else member.status

    # --- time ---

    def tick(self, now: float) -> None:
        """Time passed: hold the next round if it is due."""
        if self._round_at is None or now < self._round_at:
            return
        late_s = now - self._round_at
        is_stalled = late_s > STALL_ROUNDS * self._interval_s
        if is_stalled:
            self._failure.stalled(late_s)
            self._round_at = now
        self._round_at += self._interval_s
        self._rounds += 1
        for node_id in self._members.expire(now):
            self._forwarding.forget(node_id)
        if self._rounds % JOIN_ROUNDS == 0:
            self._join(now)
        if not is_stalled:  # else answers wait in the socket
            self._judge(now)
            self._accuse(now)
        if self._rounds % DEAD_PING_ROUNDS == 0:
            self._ping_dead(now)
        self._exchanges.repair(now)
        self._round(now)

    def _round(self, now: float) -> None:
        """Gossip with the next node, first with those that call us silent. Who owes an answer is pinged anyway."""
        members, urgent = self._members, self._knowledge.urgent
        while urgent:
            node_id = next(iter(urgent))
            del urgent[node_id]
            member = members.nodes[node_id]
            if member.host:
                self.counters.refutations += 1
                self._send_digest(member, now)
                return
        for _ in range(1 + members.peers):
            target = members.next_target()
            if target is None:
                return
            if not self._failure.silent_s(target.id, now):
                self._send_digest(target, now)
                return

    def _judge(self, now: float) -> None:
        """Ping who owes an answer, and bury the hope for who owes it for long."""
        findings = self._failure.check(now, self._members.peers, self._members.voters)
        nodes = self._members.nodes
        for node_id in findings.pings:
            member = nodes[node_id]
            if member.host:
                member.owes = True
                self._send_ping(member.id, member.addr, member.state.version, member.host, member.port)
        for node_id in findings.verdicts:
            self._knowledge.unreachable(nodes[node_id], "does not answer", now)

    def _accuse(self, now: float) -> None:
        """Publish whom we find silent, the longest silent first; then the dead, of whom others may not be sure yet.

        Among the dead are the buried whom somebody still lists: it may need a second opinion, and we once had one.
        """
        accused = self._failure.silent_for_long(now)
        accused += [member.id for member in self._members.unreachable_since()]
        accused += self._members.haunting(now)
        if accused or self._state.value(SILENT_KEY):
            self.set_local(SILENT_KEY, pack_accusations(accused), now, internal=True)

    def _ping_dead(self, now: float) -> None:
        """Ping one of the unreachable nodes: a network that was cut may be whole again."""
        dead = self._members.unreachable_since()
        if dead:
            member = dead[self._rounds // DEAD_PING_ROUNDS % len(dead)]
            self._knowledge.hint(member.id, member, now)

    # --- joining, and other streams ---

    def _join(self, now: float) -> None:
        if self._local.status is MemberStatus.LEFT:
            return
        for name in self.seeds.lookups(now):
            self._outputs.append(Lookup(name, LOOKUP_TIMEOUT_S))
        self._exchanges.join(now)

    def resolved(self, name: str, addresses: Sequence[str], error: str, now: float) -> None:
        """Take the answer to a ``Lookup``."""
        self.seeds.resolved(name, addresses, error, now)
        self._join(now)

    def exchange_received(self, number: int, data: bytes, now: float) -> bool:
        """Take bytes of the answer to an ``Exchange``; return true when it is over: close the connection."""
        return self._exchanges.received(number, data, now)

    def exchange_failed(self, number: int, now: float) -> None:
        """An ``Exchange`` could not be opened, ended before its answer was whole, or took too long."""
        self._exchanges.failed(number, now)

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
        return self._exchanges.answer(request, host, now)

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
        if member is None:
            host = plain_host(host)
        knowledge = self._knowledge
        sender = knowledge.sender(message.node_id, message.addr, host, port, now)
        grave = self._members.graves.get(message.node_id)
        if grave is not None and self._proves_life(message, grave):
            sender = knowledge.risen(message.node_id, message.addr, host, now)
            grave = None
        if isinstance(message, Digest):
            has_replied = self._take_digest(message, sender, len(data), host, port, now)
            if has_replied and sender is not None:
                sender.owes = True
            elif has_replied and grave is not None:
                grave.owes = True
            return
        if sender is not None:
            knowledge.answered(sender, now)
        for node in message.nodes:
            knowledge.take_entries(node.id, node.entries, node.after, now)

    def _proves_life(self, message: Digest | Delta, grave: Grave) -> bool:
        """Return whether a message from a buried node brings it back: an answer, and no afterthought of one that left.

        A request is no proof, since it does not show that the node hears us; our reply to it will be answered.
        """
        if not grave.owes:
            return False
        if isinstance(message, Delta):
            return not grave.has_left
        says_active = any(each.id == message.node_id and not each.left for each in message.entries)
        return not message.request and (says_active or not grave.has_left)

    def _is_quiet(self, member: Member, data: bytes, now: float) -> bool:
        """Take a datagram that says nothing new, without reading it; return whether it was one.

        Nearly all datagrams of a small cluster are such: an empty delta, or a digest with exactly the bytes that ours
        would have. Comparing takes a tenth of the time of reading.
        """
        if data == member.quiet_delta:
            self._knowledge.answered(member, now)
            return True
        body = self._members.whole_digest(self._digest_room_bytes)
        if body is None or not member.verified or len(data) != len(member.quiet_request) + len(body):
            return False
        if not data.endswith(body):
            return False
        if data.startswith(member.quiet_request):
            local = self._local
            member.owes = True
            self._send(local.quiet_delta, member.host, member.port)
            self._send(local.quiet_reply + body, member.host, member.port)
            self.counters.digest_entries_outbound += self._members.listed_count
        elif data.startswith(member.quiet_reply):
            self._knowledge.answered(member, now)
            self._send(self._local.quiet_delta, member.host, member.port)
        else:
            return False
        self.counters.digest_entries_inbound += self._members.listed_count
        return True

    def _take_digest(
        self, digest: Digest, sender: Member | None, size_bytes: int, host: str, port: int, now: float
    ) -> bool:
        """Answer a digest: what it lacks, and to a request our digest. Return whether a digest was sent.

        Who has not answered us from this address yet gets no more bytes than it sent, since the address may be forged.
        """
        self.counters.digest_entries_inbound += len(digest.entries)
        if sender is not None and not digest.request:
            self._knowledge.answered(sender, now)
        wanted, owed = self._knowledge.compare(digest.entries, sender, now)
        is_trusted = sender is not None and sender.verified and (sender.host, sender.port) == (host, port)
        budget_bytes = self._max_packet_bytes if is_trusted else min(size_bytes, self._max_packet_bytes)
        delta = self._delta(owed, budget_bytes, sender)
        if len(delta) > budget_bytes:
            return False
        self._send(delta, host, port)
        if wanted and not digest.request and is_trusted and sender is not None and sender.round_open:
            sender.round_open = False
            self._ask(wanted, sender)
        if not digest.request:
            return False
        room_bytes = budget_bytes if is_trusted else budget_bytes - len(delta)
        is_ping = all(entry.id != digest.node_id for entry in digest.entries)
        return self._send_reply(wanted, room_bytes, host, port, is_ping=is_ping)

    def _ask(self, wanted: list[Member], sender: Member) -> None:
        """Ask for what a digest showed beyond what ours had listed: once in each round that we began."""
        pieces = [self._local.quiet_reply]
        room_bytes = self._digest_room_bytes
        for member in wanted:
            packed = member.packed()
            room_bytes -= len(packed)
            if room_bytes < 0:
                break
            pieces.append(packed)
        self.counters.digest_entries_outbound += len(pieces) - 1
        self._send(b"".join(pieces), sender.host, sender.port)

    def _send_reply(self, wanted: list[Member], room_bytes: int, host: str, port: int, *, is_ping: bool) -> bool:
        """Send the digest that answers a digest; to a ping, a short one. Return whether it found room."""
        local = self._local
        room_bytes -= len(local.quiet_reply)
        if is_ping:
            body, count = local.packed(), 1
        else:
            body, count = self._digest_body(wanted, room_bytes)
        if not 0 < len(body) <= room_bytes:
            return False
        self.counters.digest_entries_outbound += count
        self._send(local.quiet_reply + body, host, port)
        return True

    def _digest_body(self, first: list[Member], room_bytes: int) -> tuple[bytes, int]:
        body = self._members.whole_digest(self._digest_room_bytes)
        if body is not None and len(body) <= room_bytes:
            return body, self._members.listed_count
        return self._members.partial_digest(first, room_bytes)

    # --- sending ---

    def _send(self, data: bytes, host: str, port: int) -> None:
        self.counters.packet_bytes_outbound += len(data)
        self._outputs.append(SendDatagram(LISTENER, data, host, port))

    def _send_digest(self, member: Member, now: float) -> None:
        """Begin a round with a node."""
        body, count = self._digest_body([], self._digest_room_bytes)
        self.counters.digest_entries_outbound += count
        self._failure.probed(member.id, now)
        member.owes = member.round_open = True
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
