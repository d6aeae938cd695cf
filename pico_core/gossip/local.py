"""Our own keys: written here and by no other node, spread by gossip."""

from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.state import LocalState


class LocalKeys:
    """Writes to our own state, and lists each change first in our digests."""

    def __init__(self, members: Members, state: LocalState) -> None:
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
        """Delete a key."""
        if self._state.delete(key):
            self._listing.changed(self._local, now)

    def supersede(self, version: int, now: float) -> None:
        """Void everything up to ``version``, which a former process under our ID has written, and write ours anew."""
        self._state.supersede(version)
        self._listing.changed(self._local, now)
