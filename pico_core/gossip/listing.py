"""The nodes that our digests list, and in which order.

Digests list active nodes that have answered us, and nodes that left. Unreachable nodes are not listed, which keeps
nodes that never knew them from learning of them; nor are nodes whose address may be forged.
"""

from collections.abc import Iterable

from pico_core.entropy import Entropy
from pico_core.gossip.member import Member

RECENT_S = 5.0
"""How long a change is listed first: twice the time it takes to reach 1000 nodes."""
RECENT_SHARE = 0.7
"""The share of a digest for recent changes; the rest is for all nodes in turn, so that each is listed now and then."""
_SMALLEST_DIGEST_ENTRY_BYTES = 30


class Listing:
    """The listed nodes by ID, ourselves included, and the digests made of them."""

    def __init__(self, local: Member, entropy: Entropy) -> None:
        self.nodes: dict[str, Member] = {local.id: local}
        self._local = local
        self._entropy = entropy
        self._recent: dict[str, Member] = {}
        self._fill: list[Member] = []
        self._whole: bytes | None = None
        self._whole_room_bytes = -1

    # --- changes ---

    def add(self, member: Member) -> None:
        """List a node in the digests from now on."""
        self.nodes[member.id] = member
        self._whole_room_bytes = -1

    def remove(self, member: Member) -> None:
        """Stop listing a node, if it was listed."""
        self.nodes.pop(member.id, None)
        self._recent.pop(member.id, None)
        self._whole_room_bytes = -1

    def changed(self, member: Member, now: float) -> None:
        """A node's version, status or address is new: list it first for a while."""
        member.digest_entry = None
        member.changed_at = now
        self._recent.pop(member.id, None)
        if member.id in self.nodes:
            self._recent[member.id] = member
        self._whole_room_bytes = -1

    def expire(self, now: float) -> None:
        """Stop listing old changes first."""
        while self._recent:
            member = next(iter(self._recent.values()))
            if now < member.changed_at + RECENT_S:
                break
            del self._recent[member.id]

    # --- digests ---

    def whole(self, room_bytes: int) -> bytes | None:
        """Return the packed entries of all listed nodes, ordered by ID, if they fit.

        Two nodes that know the same thus send the same bytes, and see by comparing that there is nothing to do.
        """
        if self._whole_room_bytes != room_bytes:
            self._whole_room_bytes = room_bytes
            self._whole = None
            if len(self.nodes) * _SMALLEST_DIGEST_ENTRY_BYTES <= room_bytes:
                whole = b"".join([self.nodes[node_id].packed() for node_id in sorted(self.nodes)])
                self._whole = whole if len(whole) <= room_bytes else None
        return self._whole

    def partial(self, first: list[Member], room_bytes: int) -> tuple[bytes, int]:
        """Return as many packed entries as fit, and their number.

        ``first`` come first: the nodes that the peer showed to be newer, since it answers with exactly what we lack.
        Ourselves, recent changes, and a part of all the others follow.
        """
        chosen: dict[str, bytes] = {}
        room_bytes = self._choose([*first, self._local], chosen, room_bytes)
        recent_bytes = int(room_bytes * RECENT_SHARE)
        room_bytes -= recent_bytes - self._choose(reversed(self._recent.values()), chosen, recent_bytes)
        fill, listed = self._fill, self.nodes
        for _ in range(len(listed)):
            if not fill:
                fill = self._fill = shuffled(list(listed.values()), self._entropy)
            member = fill.pop()
            if member.id in chosen or member.id not in listed:
                continue
            packed = member.digest_entry or member.packed()
            if len(packed) > room_bytes:
                fill.append(member)
                break
            room_bytes -= len(packed)
            chosen[member.id] = packed
        return b"".join(chosen.values()), len(chosen)

    @staticmethod
    def _choose(members: Iterable[Member], chosen: dict[str, bytes], room_bytes: int) -> int:
        """Add the entries of ``members`` until one does not fit; return the room that is left."""
        for member in members:
            if member.id not in chosen:
                packed = member.digest_entry or member.packed()
                if len(packed) > room_bytes:
                    break
                room_bytes -= len(packed)
                chosen[member.id] = packed
        return room_bytes


def shuffled(members: list[Member], entropy: Entropy) -> list[Member]:
    """Return ``members`` in random order."""
    random = entropy.random
    return sorted(members, key=lambda _: random())
