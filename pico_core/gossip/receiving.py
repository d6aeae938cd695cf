"""The datagrams that we receive, and the answers to them."""

from collections.abc import Callable

from pico_core.gossip.address import plain_host
from pico_core.gossip.counters import Counters
from pico_core.gossip.events import Output, SealRefused
from pico_core.gossip.knowledge import Knowledge
from pico_core.gossip.member import Member, RemovedNode
from pico_core.gossip.members import Members
from pico_core.gossip.rate_limit import DatagramLimiter
from pico_core.gossip.sealing.packets import PACKET, PacketSeal
from pico_core.gossip.sealing.refusals import NO_KEY_HERE
from pico_core.gossip.sending import DatagramSender
from pico_core.gossip.wire.reading import decode_datagram
from pico_core.gossip.wire.records import Delta, Digest, WireError


class DatagramReceiver:
    """Takes datagrams of peers, learns from them, and answers."""

    def __init__(
        self,
        members: Members,
        knowledge: Knowledge,
        datagrams: DatagramSender,
        counters: Counters,
        limiter: DatagramLimiter,
        seal: PacketSeal | None,
        emit: Callable[[Output], None],
    ) -> None:
        self._members = members
        self._local = members.local
        self._listing = members.listing
        self._knowledge = knowledge
        self._datagrams = datagrams
        self._counters = counters
        self._limiter = limiter
        self._seal = seal
        self._emit = emit

    def receive(self, data: bytes, host: str, port: int, now: float) -> None:
        """Take one datagram that came from ``host`` and ``port``."""
        counters, seal = self._counters, self._seal
        counters.packet_bytes_inbound += len(data)
        member = self._members.by_address.get((host, port))
        if seal is None and member is not None and self._take_unchanged(member, data, now):
            return
        is_proved = (host, port) in self._members.proved_addresses
        if not self._limiter.admits(len(data), (host, port), now, is_member=is_proved):
            counters.datagrams_refused += 1
            return
        if seal is not None:
            opened = seal.open(data, (host, port))
            if opened is None or (member is not None and self._take_unchanged(member, opened, now)):
                return
            data = opened
        try:
            message = decode_datagram(data)
        except WireError:
            counters.malformed += 1
            if data.startswith(PACKET) and seal is None:
                self._emit(SealRefused(host, NO_KEY_HERE))
            return
        if message.node_id == self._local.id:
            counters.own_name += 1
            return
        if member is None:
            host = plain_host(host)
        if not is_proved:
            self._datagrams.strangers.received((host, port), len(data))
        self._take(message, len(data), host, port, now)

    def _take(self, message: Digest | Delta, size_bytes: int, host: str, port: int, now: float) -> None:
        knowledge = self._knowledge
        sender = knowledge.identify(message.node_id, message.addr, host, port, now)
        removed = self._members.removed.get(message.node_id)
        if removed is not None and self._proves_life(message, removed):
            sender = knowledge.rejoined(message.node_id, message.addr, host, now)
            removed = None
        if isinstance(message, Digest):
            has_asked = self._take_digest(message, sender, size_bytes, host, port, now)
            if has_asked and sender is not None:
                sender.awaiting_answer = True
            elif has_asked and removed is not None:
                removed.awaiting_answer = True
            return
        if sender is not None:
            knowledge.answered(sender, now)
        if not _is_trusted(sender, host, port):
            self._counters.strangers_refused += len(message.nodes)
            return
        for node in message.nodes:
            is_owner = node.id == message.node_id
            knowledge.take_entries(node.id, node.entries, node.after, now, is_owner=is_owner)

    def _proves_life(self, message: Digest | Delta, removed: RemovedNode) -> bool:
        """Return whether a message of a removed node brings it back: an answer, and not a late one of one that left.

        A request proves nothing, since it does not show that the node receives what we send; our reply to it will be
        answered.
        """
        if not removed.awaiting_answer:
            return False
        if isinstance(message, Delta):
            return not removed.has_left
        says_active = any(each.id == message.node_id and not each.left for each in message.entries)
        return not message.request and (says_active or not removed.has_left)

    def _take_unchanged(self, member: Member, data: bytes, now: float) -> bool:
        """Take a datagram that says nothing new, without reading it; return whether it was one.

        Nearly all datagrams of a small cluster are such: an empty delta, or a digest with exactly the bytes that ours
        would have. Comparing takes a tenth of the time of reading.
        """
        if data == member.empty_delta:
            self._knowledge.answered(member, now)
            return True
        body = self._listing.whole(self._datagrams.digest_room_bytes)
        if body is None or not member.verified or len(data) != len(member.request_head) + len(body):
            return False
        if not data.endswith(body):
            return False
        send, local = self._datagrams.send, self._local
        if data.startswith(member.request_head):
            member.awaiting_answer = True
            send(local.empty_delta, member.host, member.port)
            send(local.reply_head + body, member.host, member.port)
            self._counters.digest_entries_outbound += len(self._listing.nodes)
        elif data.startswith(member.reply_head):
            self._knowledge.answered(member, now)
            send(local.empty_delta, member.host, member.port)
        else:
            return False
        self._counters.digest_entries_inbound += len(self._listing.nodes)
        return True

    def _take_digest(
        self, digest: Digest, sender: Member | None, size_bytes: int, host: str, port: int, now: float
    ) -> bool:
        """Answer a digest: with the entries it lacks, and a request also with our digest. Return whether that was sent.

        A peer that has not answered us from this address yet gets no more bytes than it sent, since the address may be
        forged.
        """
        datagrams = self._datagrams
        self._counters.digest_entries_inbound += len(digest.entries)
        if sender is not None and not digest.request:
            self._knowledge.answered(sender, now)
        is_trusted = _is_trusted(sender, host, port)
        wanted, lacked = self._knowledge.compare(
            digest.entries, digest.node_id, sender, size_bytes, now, is_trusted=is_trusted
        )
        budget_bytes = datagrams.room_bytes(host, port)
        if (host, port) not in self._members.proved_addresses:
            budget_bytes = min(budget_bytes, size_bytes)
        delta = datagrams.delta(lacked, budget_bytes, sender)
        if len(delta) > budget_bytes or not datagrams.send(delta, host, port):
            return False
        if wanted and not digest.request and is_trusted and sender is not None and sender.round_open:
            sender.round_open = False
            self._ask(wanted, sender)
        if not digest.request:
            return False
        room_bytes = budget_bytes if is_trusted else budget_bytes - len(delta)
        is_ping = all(entry.id != digest.node_id for entry in digest.entries)
        return self._send_reply(wanted, room_bytes, host, port, is_ping=is_ping)

    def _ask(self, wanted: list[Member], sender: Member) -> None:
        """Ask for the nodes that a digest showed beyond those that ours had listed: once in a round that we began."""
        pieces = [self._local.reply_head]
        room_bytes = self._datagrams.digest_room_bytes
        for member in wanted:
            packed = member.packed()
            room_bytes -= len(packed)
            if room_bytes < 0:
                break
            pieces.append(packed)
        self._counters.digest_entries_outbound += len(pieces) - 1
        self._datagrams.send(b"".join(pieces), sender.host, sender.port)

    def _send_reply(self, wanted: list[Member], room_bytes: int, host: str, port: int, *, is_ping: bool) -> bool:
        """Send the digest that answers a digest; to a ping, a short one. Return whether it found room."""
        local = self._local
        room_bytes -= len(local.reply_head)
        if is_ping:
            body, count = local.packed(), 1
        else:
            body, count = self._datagrams.digest_body(wanted, room_bytes)
        if not 0 < len(body) <= room_bytes:
            return False
        self._counters.digest_entries_outbound += count
        return self._datagrams.send(local.reply_head + body, host, port)


def _is_trusted(sender: Member | None, host: str, port: int) -> bool:
    """Return whether a node has answered us from the address that its message is from."""
    return sender is not None and sender.verified and (sender.host, sender.port) == (host, port)
