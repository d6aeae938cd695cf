"""The datagrams that we send: digests that begin a round, pings, and deltas."""

from collections.abc import Callable

from pico_core.boundary import SendDatagram
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import LISTENER, Output
from pico_core.gossip.failure import FailureDetector
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.rate_limit import DatagramLimiter
from pico_core.gossip.sealing.packets import OVERHEAD_BYTES, PacketSeal
from pico_core.gossip.strangers import Strangers
from pico_core.gossip.wire import writing


class DatagramSender:
    """Builds and emits datagrams of at most ``max_packet_bytes``. Call ``start`` before anything else.

    With a ``seal`` each is sealed, which takes some of those bytes.

    ``digest_room_bytes`` is the room for entries in a digest of ours.
    """

    def __init__(
        self,
        members: Members,
        failure: FailureDetector,
        counters: Counters,
        emit: Callable[[Output], None],
        max_packet_bytes: int,
        limiter: DatagramLimiter,
        seal: PacketSeal | None,
    ) -> None:
        self.max_packet_bytes = max_packet_bytes if seal is None else max_packet_bytes - OVERHEAD_BYTES
        self.digest_room_bytes = 0
        self._local = members.local
        self._listing = members.listing
        self._failure = failure
        self._counters = counters
        self._emit = emit
        self._limiter = limiter
        self._seal = seal
        self._proved = members.proved_addresses
        self.strangers = Strangers()

    def start(self) -> None:
        """Begin, now that our own address is known."""
        self.digest_room_bytes = self.max_packet_bytes - len(self._local.request_head)

    def room_bytes(self, host: str, port: int) -> int:
        """Return how many bytes may go to an address now, at most those of a packet."""
        if (host, port) in self._proved:
            return self.max_packet_bytes
        return min(self.strangers.room_bytes((host, port)), self.max_packet_bytes)

    def send(self, data: bytes, host: str, port: int) -> bool:
        """Send a datagram, and return true, if that may go to the address."""
        if (host, port) not in self._proved:
            if len(data) > self.strangers.room_bytes((host, port)):
                self._counters.withheld += 1
                return False
            self.strangers.sent((host, port), len(data))
        if self._seal is not None:
            data = self._seal.seal(data, (host, port))
        self._counters.packet_bytes_outbound += len(data)
        self._emit(SendDatagram(LISTENER, data, host, port))
        return True

    def begin_round(self, member: Member, now: float) -> bool:
        """Send our digest to a node, which must answer; return false if too little may go there.

        It counts as silent then, too: it has moved to an address from which it has to prove that it lives.
        """
        head = self._local.request_head
        room_bytes = self.room_bytes(member.host, member.port) - len(head)
        body, count = self.digest_body([], room_bytes) if room_bytes > 0 else (b"", 0)
        if not body:
            self._counters.withheld += 1
            self._failure.probed(member.id, now)
            return False
        self._counters.digest_entries_outbound += count
        self._failure.probed(member.id, now)
        member.awaiting_answer = member.round_open = True
        self._limiter.asked((member.host, member.port), now)
        return self.send(head + body, member.host, member.port)

    def ping(self, node_id: str, addr: str, version: int, host: str, port: int, now: float) -> bool:
        """Send a short digest that must be answered, and return true, if that may go to the address.

        It lists the other node only, by which it is known as a ping.
        """
        entry = writing.digest_entry(node_id, addr, version, left=False)
        is_sent = self.send(self._local.request_head + entry, host, port)
        if is_sent:
            self._limiter.asked((host, port), now)
        return is_sent

    def digest_body(self, first: list[Member], room_bytes: int) -> tuple[bytes, int]:
        """Return the packed entries of a digest, and their number: all if they fit, else ``first`` and others.

        ``first`` may hold nodes that were only heard of; they are listed to the peer that listed them, to ask for them.
        """
        body = self._listing.whole(self.digest_room_bytes)
        if body is not None and len(body) <= room_bytes and all(each.id in self._listing.nodes for each in first):
            return body, len(self._listing.nodes)
        return self._listing.partial(first, room_bytes)

    def delta(self, lacked: list[tuple[Member, int]], budget_bytes: int, to: Member | None) -> bytes:
        """Return a delta with the entries above each version in ``lacked``, as many as fit.

        Each node's entries are in the order of their versions, so that a delta may end after any of them.
        """
        pieces = [self._local.empty_delta]
        room_bytes = budget_bytes - len(pieces[0])
        for member, version in lacked:
            entries = member.state.after(version)
            after = version if to is not None and to.is_pico else None
            head = writing.delta_node(member.id, member.addr, len(entries), after)
            used_bytes = len(head)
            packed = []
            for entry in entries:
                piece = writing.pack_entry(entry)
                if used_bytes + len(piece) > room_bytes:
                    break
                used_bytes += len(piece)
                packed.append(piece)
            if packed:
                room_bytes -= used_bytes
                pieces.append(head)
                pieces += packed
                self._counters.delta_entries_outbound += len(packed)
                if len(packed) < len(entries):
                    break
        return b"".join(pieces)
