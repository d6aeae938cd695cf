"""Our own keys: written here and by no other node, spread by gossip.

Versions that a former process under our ID has used must not come again with another content: a peer that holds one
would never get ours. If the ID is configured, our versions begin at random, and so do those after each former one that
a peer shows us, since another peer may hold later ones.
"""

from pico_core.entropy import Entropy
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.state import LocalState

MAX_FIRST_VERSION = 1 << 40
"""A node whose ID is fixed begins below it at random, so that it need not know where its former process ended."""
MAX_VERSION_JUMP = 1 << 32
"""More than a process writes, and so little that two million restarts stay below what peers may claim."""


class LocalKeys:
    """Writes to our own state, and lists each change first in our digests."""

    def __init__(self, members: Members, state: LocalState, entropy: Entropy, *, is_name_fixed: bool) -> None:
        self._entropy = entropy
        self._is_name_fixed = is_name_fixed
        self._listing = members.listing
        self._local: Member = members.local
        self._state = state

    @property
    def version(self) -> int:
        """The version of our last write."""
        return self._state.version

    def value(self, key: str) -> str | None:
        """Return the value of a key that is not deleted."""
        return self._state.value(key)

    def set(self, key: str, value: str, now: float, *, internal: bool = False) -> None:
        """Write a key. Raises ``LocalProtocolError`` above the bounds of key, value and state."""
        if self._state.set(key, value, internal=internal):
            self._listing.changed(self._local, now)

    def delete(self, key: str, now: float) -> None:
        """Delete a key, if there is one, and leave a tombstone that tells the others."""
        if self._state.delete(key):
            self._listing.changed(self._local, now)

    def start(self, now: float) -> None:
        """Begin at a random version, with all before void, if a former process may have had our ID."""
        if self._is_name_fixed:
            self._write_anew(int(self._entropy.random() * MAX_FIRST_VERSION), now)

    def supersede(self, version: int, now: float) -> None:
        """Void what a former process under our ID has written, which was ``version`` or later; write ours anew."""
        jump = int(self._entropy.random() * MAX_VERSION_JUMP) if self._is_name_fixed else 0
        self._write_anew(version + jump, now)

    def _write_anew(self, void_until: int, now: float) -> None:
        self._state.supersede(void_until)
        self._listing.changed(self._local, now)
