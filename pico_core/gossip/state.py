"""One node's state: keys with versions, in the order of their versions.

Every write of the owner raises the node's version by one and stamps the entry with it, so "everything after version
v" is all a peer at v lacks. A dictionary keeps that order by itself when each written key goes to its end. Deleted
keys stay as tombstones. When there are too many, the owner writes its live entries anew and then a *compact* entry
whose value is the highest version that this made void: a reader drops everything up to there.

A peer at version v holds every entry of the owner up to v that has not been overwritten since. That stays true only
if no entry is skipped, and the wire does not say where a delta begins. So entries that follow on a known version are
taken only if we have that version, and entries of unknown origin only where they cannot leave a gap (``follows``).
"""

from collections.abc import Iterable

from pico_core.errors import LocalProtocolError
from pico_core.gossip.keys import COMPACT_KEY
from pico_core.gossip.wire.records import MAX_ENTRIES, MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS, Entry

MAX_ENDPOINTS = 20_000
"""Per node: twice the endpoints one node is meant to hold. The owner takes no further one."""
MIN_TOMBSTONES = 100
"""As in the reference; the owner compacts no sooner."""
LIVE_PER_TOMBSTONE = 4
"""The owner compacts when a fifth of its entries are tombstones: it then writes four entries for each one it drops."""
ENTRY_OVERHEAD_BYTES = 300
"""The memory that an entry takes besides its text: measured 270 with its dictionary slot."""


class Budget:
    """Counts the bytes that the states of all nodes take, against one limit."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0


def entry_bytes(entry: Entry) -> int:
    """Return about how much memory an entry takes."""
    return ENTRY_OVERHEAD_BYTES + len(entry.key) + len(entry.value)


class NodeState:
    """The entries of one node that we hold, and the version up to which we hold them."""

    __slots__ = ("_budget", "entries", "version")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.version = 0
        self.entries: dict[str, Entry] = {}

    def after(self, version: int) -> list[Entry]:
        """Return the entries a peer at ``version`` lacks, in the order of their versions."""
        newer = []
        for entry in reversed(self.entries.values()):
            if entry.version <= version:
                break
            newer.append(entry)
        newer.reverse()
        return newer

    def value(self, key: str) -> str | None:
        """Return the value of a key that is not deleted."""
        entry = self.entries.get(key)
        return None if entry is None or entry.deleted else entry.value

    def follows(self, entries: list[Entry], after: int | None) -> bool:
        """Return whether ``entries`` surely leave no gap behind our version.

        Without ``after``, they are accepted once we have an entry: no digest of ours ever gave a version above our
        own, since versions never go back. Before, a delta meant for a former process at our address could come, so
        the first entry must be the owner's first.
        """
        if after is not None:
            return after <= self.version
        return self.version > 0 or not entries or entries[0].version == 1

    def apply(self, entries: Iterable[Entry]) -> list[Entry]:
        """Take newer entries and return what changed; a dropped live entry comes back as deleted.

        Stops at the first entry that is above a bound, so that no gap can form. Check ``follows`` before.
        """
        changes = []
        for entry in entries:
            if entry.version <= self.version:
                continue
            if not self._store(entry):
                break
            self.version = entry.version
            changes.append(entry)
            if entry.key == COMPACT_KEY and entry.internal:
                changes += self._drop_until(entry.value)
        return changes

    def begin_anew(self) -> list[Entry]:
        """Drop all entries, and hold none up to version 0; return the live ones among them, as deleted."""
        dropped = [_deleted(each) for each in self.entries.values() if not each.deleted]
        self.release()
        self.version = 0
        return dropped

    def release(self) -> None:
        """Give the bytes back to the budget; the state is not used any more."""
        self._budget.used_bytes -= sum(map(entry_bytes, self.entries.values()))
        self.entries = {}

    def _store(self, entry: Entry) -> bool:
        entries, budget = self.entries, self._budget
        old = entries.get(entry.key)
        grows_bytes = entry_bytes(entry) - (entry_bytes(old) if old is not None else 0)
        if budget.used_bytes + grows_bytes > budget.limit_bytes or (old is None and len(entries) >= MAX_ENTRIES):
            return False
        budget.used_bytes += grows_bytes
        if old is not None:
            del entries[entry.key]
        entries[entry.key] = entry
        return True

    def _drop_until(self, value: str) -> list[Entry]:
        """Drop the entries that a compaction made void; return the live ones among them, as deleted."""
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            return []
        limit = int(value)
        void = []
        for entry in self.entries.values():
            if entry.version > limit:
                break
            void.append(entry)
        for entry in void:
            del self.entries[entry.key]
            self._budget.used_bytes -= entry_bytes(entry)
        return [_deleted(each) for each in void if not each.deleted]


def _deleted(entry: Entry) -> Entry:
    return Entry(entry.key, "", entry.version, entry.internal, True)


class LocalState(NodeState):
    """Our own state, which no other node writes."""

    __slots__ = ("_tombstones",)

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self._tombstones = 0

    def set(self, key: str, value: str, *, internal: bool = False) -> bool:
        """Write a key; return whether anything changed. Raises ``LocalProtocolError`` above the bounds."""
        if len(key) > MAX_KEY_CHARACTERS or len(value) > MAX_VALUE_CHARACTERS:
            raise LocalProtocolError(f"gossip key {key[:40]!r} or its value is too long")
        if self.value(key) == value:
            return False
        was_deleted = key in self.entries and self.entries[key].deleted
        self._write(Entry(key, value, self.version + 1, internal, False))
        self._tombstones -= was_deleted
        return True

    def delete(self, key: str) -> bool:
        """Delete a key, which leaves a tombstone; return whether it was there."""
        entry = self.entries.get(key)
        if entry is None or entry.deleted:
            return False
        self._write(Entry(key, "", self.version + 1, entry.internal, True))
        self._tombstones += 1
        live = len(self.entries) - self._tombstones
        if self._tombstones > max(MIN_TOMBSTONES, live // LIVE_PER_TOMBSTONE):
            self._write_anew(self.version)
        return True

    def supersede(self, version: int) -> None:
        """Void everything up to ``version``, which a former process under our ID has written, and write ours anew."""
        self._write_anew(max(version, self.version))

    def _write_anew(self, void_until: int) -> None:
        live = [each for each in self.entries.values() if not each.deleted and each.key != COMPACT_KEY]
        self.release()
        self.version = void_until
        self._tombstones = 0
        for entry in live:
            self._write(Entry(entry.key, entry.value, self.version + 1, entry.internal, False))
        self._write(Entry(COMPACT_KEY, str(void_until), self.version + 1, True, False))

    def _write(self, entry: Entry) -> None:
        if not self._store(entry):
            raise LocalProtocolError(f"no room for gossip key {entry.key[:40]!r}")
        self.version = entry.version
