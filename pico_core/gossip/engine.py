"""The gossip engine: membership, and every node's keys, on every node.

One round, ten times a second, with one node after the other: our digest (what we know, up to which version) goes
there; a delta (what we showed to lack) and its digest come back; a delta goes there. If that digest shows something
newer that ours did not list, a short digest asks for it, and one more delta comes back. Each message is a datagram,
any of them may be lost, and nothing waits for one. Every round is also a probe (``failure``), and TCP repairs what
datagrams cannot (``streams``).

The engine is a part of the server node: methods in, outputs out of ``poll``, times in seconds on the clock of ``now``.
After any call, drain ``poll`` and read ``deadline``. Nothing that comes from a peer raises, except ``WireError`` from
an ``InboundStream``.
"""

from collections import deque
from collections.abc import Sequence

from pico_core.bounds import MAX_ID_CHARACTERS
from pico_core.entropy import Entropy
from pico_core.errors import LocalProtocolError
from pico_core.gossip.address import plain_host, split_address
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import Output
from pico_core.gossip.failure import FailureDetector
from pico_core.gossip.forwarding import ForwardHealth
from pico_core.gossip.keys import CLAIM_PREFIX, DRAINING_KEY, ENDPOINT_PREFIX, LEFT_KEY, MARK_KEY, PICO_KEY
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.local import LocalKeys
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.rate_limit import DatagramLimiter
from pico_core.gossip.receiving import DatagramReceiver
from pico_core.gossip.rounds import Rounds
from pico_core.gossip.sealing.keys import Keyring
from pico_core.gossip.sealing.packets import PacketSeal
from pico_core.gossip.sealing.proofs import Proofs
from pico_core.gossip.seeds import Seeds
from pico_core.gossip.sending import DatagramSender
from pico_core.gossip.state import Budget, LocalState
from pico_core.gossip.status import NodeSnapshot, NodeStatus
from pico_core.gossip.stream_requests import StreamRequests
from pico_core.gossip.streams import InboundStream
from pico_core.gossip.wire.records import Entry

MIN_PACKET_BYTES = 1200
"""The longest endpoint ID in ASCII, with the longest node IDs around it, fits, also when it is sealed."""
MAX_LOCAL_BYTES = 32 << 20
"""For the state of this node: every other node keeps it too, within the ``MAX_STATE_BYTES`` for all others."""
LEAVE_DATAGRAMS = 10
"""As many nodes are told by datagrams that we leave, besides those that are told over TCP."""


class Gossip:
    """One node's view of the cluster.

    ``seeds`` are the addresses and names to join; those without a port have ``default_port``, or else the port of our
    own address. ``max_packet_bytes`` must be at least ``MIN_PACKET_BYTES``. ``is_name_fixed`` says that the node ID is
    configured, so that a former process may have had it. With ``keys``, everything is sealed with the first one, and
    ``entropy`` must be fit for keys (``random.SystemRandom``). Raises ``LocalProtocolError`` for a node ID, packet size
    or key that cannot be used.

    Next: set the first keys (``proxy_addr``, ``admin_addr``), then call ``start`` once our own address is known. Every
    method may be called before. Keys, endpoints and draining are kept until then, and published with the start. The
    tables are those of a node that knows no other: only we are in them, without an address. Reports about other nodes
    and datagrams are ignored, and streams are refused. ``leave`` is done at once, and nothing is joined afterwards.
    ``look_up`` finds the addresses to join, for a node that needs them to know its own.
    """

    def __init__(
        self,
        node_id: str,
        *,
        entropy: Entropy,
        seeds: Sequence[str] = (),
        default_port: int | None = None,
        interval_s: float = 0.1,
        max_packet_bytes: int = 1400,
        is_name_fixed: bool = False,
        keys: Sequence[bytes] = (),
    ) -> None:
        _check(node_id, max_packet_bytes)
        self.id = node_id
        self.counters = counters = Counters()
        self.seeds = Seeds(seeds, entropy)
        self._entropy = entropy
        self._default_port = default_port
        self._outputs: deque[Output] = deque()
        emit = self._outputs.append
        self._state = LocalState(Budget(MAX_LOCAL_BYTES))
        self._local = Member(node_id, "", self._state, 0.0)
        self._members = members = Members(self._local, entropy, emit)
        self._keyring = keyring = Keyring(keys) if keys else None
        self._seal = seal = PacketSeal(keyring, entropy, counters, emit) if keyring is not None else None
        self._proofs = Proofs(keyring, entropy) if keyring is not None else None
        self._local_keys = local_keys = LocalKeys(members, self._state, entropy, is_name_fixed=is_name_fixed)
        self._failure = failure = FailureDetector(interval_s)
        self._forwarding = ForwardHealth()
        limiter = DatagramLimiter(interval_s, max_packet_bytes)
        self._datagrams = datagrams = DatagramSender(members, failure, counters, emit, max_packet_bytes, limiter, seal)
        knowledge = Knowledge(members, local_keys, failure, datagrams, counters, emit)
        self._receiver = DatagramReceiver(members, knowledge, datagrams, counters, limiter, seal, emit)
        self._requests = requests = StreamRequests(members, knowledge, self.seeds, entropy, counters, emit, keyring)
        self._rounds = Rounds(
            members, local_keys, failure, self._forwarding, datagrams, knowledge, requests, counters, interval_s
        )

    # --- our own keys ---

    def set_local(self, key: str, value: str, now: float) -> None:
        """Write one of our keys. Raises ``LocalProtocolError`` above the bounds of key, value and state."""
        self._local_keys.set(key, value, now)

    def set_endpoint(self, endpoint: str, listeners: int, now: float, claim: str = "") -> None:
        """Tell the cluster how many listeners an endpoint has here; 0 deletes it. Raises as ``set_local`` does.

        ``claim`` is what Pico nodes are told besides, before they can choose this one.
        """
        if listeners and claim:
            self._local_keys.set(CLAIM_PREFIX + endpoint, claim, now, internal=True)
        if listeners:
            self._local_keys.set(ENDPOINT_PREFIX + endpoint, str(listeners), now)
        else:
            self._local_keys.delete(ENDPOINT_PREFIX + endpoint, now)
            self._local_keys.delete(CLAIM_PREFIX + endpoint, now)

    def set_draining(self, now: float) -> None:
        """Tell the cluster to prefer other nodes from now on."""
        self._local_keys.set(DRAINING_KEY, "1", now, internal=True)

    # --- the keys of the cluster ---

    @property
    def is_sealed(self) -> bool:
        """Whether this node has a key of the cluster."""
        return self._keyring is not None

    def take_keys(self, keys: Sequence[bytes]) -> None:
        """Seal with the first of ``keys`` from now on, and open with each of them. Safe to repeat.

        Raises ``LocalProtocolError`` if this changes whether there are keys at all, for which a node must start anew.
        """
        if bool(keys) != self.is_sealed:
            raise LocalProtocolError("whether there is a gossip key can only change with a restart")
        if self._keyring is not None and self._seal is not None:
            self._keyring.take(keys)
            self._seal.keys_changed()

    def prove(self, node_id: str) -> bytes:
        """Return a proof that we hold the key, for a connection to another port of a node; empty if it takes none."""
        member = self._members.nodes.get(node_id)
        mark = member.state.value(MARK_KEY) if member is not None else None
        return b"" if self._proofs is None or mark is None else self._proofs.make(mark)

    def takes_proof(self, proof: bytes, now: float) -> bool:
        """Return whether a proof shows that a node of the cluster opened the connection on which it came. Once only."""
        if self._proofs is None:
            return False
        is_proved = self._proofs.takes(proof)
        self._tell_mark(now)
        return is_proved

    def _tell_mark(self, now: float) -> None:
        if self._proofs is not None:
            self._local_keys.set(MARK_KEY, self._proofs.mark, now, internal=True)

    # --- life ---

    def look_up(self, own_port: int, now: float) -> None:
        """Look up the names to join that are due, before ``start``; again every half a second. See ``Seeds.targets``.

        Seeds without a port have ``default_port``, or else ``own_port``.
        """
        if self._local.status is not NodeStatus.LEFT:
            self.seeds.begin(self._default_port or own_port)
            self._requests.look_up(now)

    def start(self, advertise_addr: str, now: float) -> None:
        """Begin to gossip and to join; once. Peers reach us at ``advertise_addr``.

        Raises ``LocalProtocolError`` for an address that cannot be used.
        """
        address = split_address(advertise_addr)
        if address is None:
            raise LocalProtocolError(f"gossip cannot advertise the address {advertise_addr!r}")
        self._local.move(advertise_addr)
        self._datagrams.start()
        self.seeds.start(address, self._default_port or address[1])
        self._local_keys.set(PICO_KEY, "1", now, internal=True)
        self._tell_mark(now)
        self._local_keys.start(now)
        self._rounds.start(self._entropy, now)
        self._requests.join(now)

    def leave(self, now: float) -> None:
        """Tell the cluster that we leave. Next: go on as before until ``LeaveDone``."""
        if self._local.status is NodeStatus.LEFT:
            return
        self._local_keys.set(LEFT_KEY, "", now, internal=True)
        self._local.status = NodeStatus.LEFT
        candidates = self._members.active()
        datagrams = self._datagrams
        for member in candidates[:LEAVE_DATAGRAMS]:
            if member.is_pico:
                last_write = [(self._local, self._state.version - 1)]
                delta = datagrams.delta(last_write, datagrams.max_packet_bytes, to=member)
                datagrams.send(delta, member.host, member.port)
            datagrams.begin_round(member, now)
        self._requests.leave(candidates, now)

    def deadline(self) -> float | None:
        """Return when ``tick`` is due; ``None`` before ``start``."""
        return self._rounds.due_at

    def tick(self, now: float) -> None:
        """Time passed: hold the next round if it is due."""
        self._rounds.tick(now)

    def poll(self) -> Output | None:
        """Return the next output, or ``None``."""
        return self._outputs.popleft() if self._outputs else None

    # --- questions and reports ---

    def can_forward(self, node_id: str, now: float) -> bool:
        """Return whether a node is a good choice to forward to now; others are worth a try when no good one is left."""
        member = self._members.nodes.get(node_id)
        return (
            member is not None
            and member.status is NodeStatus.ACTIVE
            and not self._forwarding.is_avoided(node_id, now)
            and self._failure.silent_s(node_id, now) < self._failure.report_after_s
        )

    def report_forward_failure(self, node_id: str, now: float) -> None:
        """Forwarding to a node failed, and the node was the cause: avoid it for a moment, and ping it at once."""
        member = self._members.nodes.get(node_id)
        if member is not None and member.status is NodeStatus.ACTIVE and member is not self._local:
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

    # --- lookups, streams and datagrams ---

    def resolved(self, name: str, addresses: Sequence[str], error: str, now: float) -> None:
        """Take the answer to a ``Lookup``."""
        self.seeds.resolved(name, addresses, error, now)
        if self._rounds.due_at is not None:
            self._requests.join(now)

    def stream_received(self, number: int, data: bytes, now: float) -> bool:
        """Take bytes of the answer to a ``StreamRequest``; return true when it is over: close the connection.

        Next, if it is not over: ``stream_work`` while ``is_stream_busy``, now or later.
        """
        return self._requests.received(number, data, now)

    def stream_work(self, number: int, now: float) -> bool:
        """Work for a turn on what has come of the answer; return as ``stream_received`` does."""
        return self._requests.work(number, now)

    def is_stream_busy(self, number: int) -> bool:
        """Whether ``stream_work`` is to be called, without waiting for more bytes or the end of the stream."""
        return self._requests.is_busy(number)

    def stream_failed(self, number: int, now: float) -> None:
        """A ``StreamRequest`` could not be opened, ended before its answer was whole, or took too long."""
        self._requests.failed(number, now)

    def has_answered(self, host: str) -> bool:
        """Return whether a node at ``host`` has answered us: what it does has a share of its own."""
        return plain_host(host) in self._members.proved_hosts

    def accept_stream(self, host: str, now: float) -> InboundStream | None:
        """Return the reader of a connection that a peer at ``host`` opened to our gossip port.

        ``None`` before ``start``: close the connection.
        """
        return None if self._rounds.due_at is None else self._requests.accept(host, now)

    def receive_datagram(self, data: bytes, host: str, port: int, now: float) -> None:
        """Take one datagram that came from ``host`` and ``port``."""
        if self._rounds.due_at is not None:
            self._receiver.receive(data, host, port, now)


def _check(node_id: str, max_packet_bytes: int) -> None:
    if not node_id.isprintable() or not 0 < len(node_id) <= MAX_ID_CHARACTERS:
        raise LocalProtocolError(f"gossip cannot use the node ID {node_id!r}")
    if max_packet_bytes < MIN_PACKET_BYTES:
        raise LocalProtocolError(f"gossip packets need at least {MIN_PACKET_BYTES} bytes, not {max_packet_bytes}")
