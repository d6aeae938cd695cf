from collections import deque

import pytest

from pico_core.errors import LocalProtocolError
from pico_core.gossip.keys import COMPACT_KEY
from pico_core.gossip.state import (
    LIVE_PER_TOMBSTONE,
    MAX_ENDPOINTS,
    MIN_TOMBSTONES,
    Budget,
    LocalState,
    NodeState,
    entry_bytes,
)
from pico_core.gossip.wire.records import MAX_ENTRIES, Entry


def local() -> LocalState:
    return LocalState(Budget(1 << 20))


def remote() -> NodeState:
    return NodeState(Budget(1 << 20))


def entry(key: str, version: int, value: str = "v", *, deleted: bool = False, internal: bool = False) -> Entry:
    return Entry(key, value, version, internal, deleted)


def test_every_write_raises_the_version_and_an_equal_value_writes_nothing() -> None:
    state = local()
    assert state.set("a", "1")
    assert state.set("b", "1", internal=True)
    assert not state.set("a", "1")
    assert state.set("a", "2")
    assert state.version == 3
    assert state.after(0) == [Entry("b", "1", 2, True, False), Entry("a", "2", 3, False, False)]
    assert state.after(2) == [Entry("a", "2", 3, False, False)]
    assert state.after(3) == []


def test_a_deletion_leaves_a_tombstone() -> None:
    state = local()
    state.set("a", "1")
    assert state.delete("a")
    assert not state.delete("a")
    assert not state.delete("never")
    assert state.value("a") is None
    assert state.after(1) == [Entry("a", "", 2, False, True)]
    assert state.set("a", "1")
    assert state.value("a") == "1"


def test_compaction_writes_live_entries_anew_and_voids_the_rest() -> None:
    owner, peer = local(), remote()
    owner.set("proxy_addr", "x")
    owner.set("gone", "x")
    for number in range(MIN_TOMBSTONES):
        owner.set(f"k{number}", "1")
        owner.delete(f"k{number}")
    peer.apply(owner.after(0))
    assert len(peer.entries) == MIN_TOMBSTONES + 2
    version = owner.version
    owner.delete("gone")
    assert [(each.key, each.value) for each in owner.after(0)] == [("proxy_addr", "x"), (COMPACT_KEY, str(version + 1))]
    assert owner.version == version + 3
    changes = peer.apply(owner.after(peer.version))
    assert peer.entries == owner.entries
    assert [each.key for each in changes if each.deleted] == ["gone"]
    again = owner.version
    owner.supersede(again)
    assert [each.key for each in owner.after(again)] == ["proxy_addr", COMPACT_KEY]


def test_a_cut_compaction_is_completed_later() -> None:
    owner, peer = local(), remote()
    owner.set("a", "1")
    owner.set("b", "1")
    peer.apply(owner.after(0))
    owner.supersede(50)
    first, *rest = owner.after(0)
    peer.apply([first])
    assert peer.value("a") == peer.value("b") == "1"
    peer.apply(rest)
    assert peer.entries == owner.entries


def test_superseding_a_former_process() -> None:
    state = local()
    state.set("a", "1")
    state.supersede(70)
    assert [each.version for each in state.after(0)] == [71, 72]
    assert state.value(COMPACT_KEY) == "70"


def test_bounds_of_own_writes() -> None:
    state = LocalState(Budget(1000))
    with pytest.raises(LocalProtocolError, match="too long"):
        state.set("k" * 513, "")
    with pytest.raises(LocalProtocolError, match="too long"):
        state.set("k", "v" * 1025)
    state.set("a", "1")
    state.set("b", "1")
    with pytest.raises(LocalProtocolError, match="no room"):
        state.set("c", "v" * 600)
    assert state.version == 2
    assert state.value("c") is None


def test_old_and_repeated_entries_change_nothing() -> None:
    peer = remote()
    assert peer.apply([entry("a", 1), entry("b", 3)]) == [entry("a", 1), entry("b", 3)]
    assert peer.apply([entry("a", 2, "late"), entry("b", 3)]) == []
    assert peer.value("a") == "v"
    assert peer.version == 3


def test_memory_is_bounded_without_a_gap() -> None:
    budget = Budget(2 * entry_bytes(entry("a", 1)))
    peer = NodeState(budget)
    assert peer.apply([entry("a", 1), entry("b", 2), entry("c", 3), entry("a", 4)]) == [entry("a", 1), entry("b", 2)]
    assert peer.version == 2
    assert peer.apply([entry("a", 4, "w")]) == [entry("a", 4, "w")]
    peer.release()
    assert budget.used_bytes == 0


def test_entries_are_bounded_in_number() -> None:
    budget = Budget(1 << 30)
    peer = NodeState(budget)
    changes = peer.apply(entry(str(number), number) for number in range(1, MAX_ENTRIES + 10))
    assert len(changes) == MAX_ENTRIES
    assert peer.version == MAX_ENTRIES


def test_where_entries_may_follow_on() -> None:
    peer = remote()
    assert peer.follows([], None)
    assert peer.follows([entry("a", 1)], None)
    assert not peer.follows([entry("a", 5)], None)
    assert peer.follows([entry("a", 5)], 0)
    assert not peer.follows([entry("a", 5)], 4)
    peer.apply([entry("a", 5)])
    assert peer.follows([entry("a", 9)], None)
    assert peer.follows([entry("a", 9)], 5)
    assert peer.follows([entry("a", 9)], 3)
    assert not peer.follows([entry("a", 9)], 6)


@pytest.mark.parametrize("value", ["", "x", "-1", "\u0663", "9" * 21])
def test_a_compact_entry_that_says_nothing(value: str) -> None:
    peer = remote()
    peer.apply([entry("a", 1), entry(COMPACT_KEY, 2, value, internal=True)])
    assert peer.value("a") == "v"


def test_only_an_internal_entry_compacts() -> None:
    peer = remote()
    peer.apply([entry("a", 1), entry(COMPACT_KEY, 2, "1")])
    assert peer.value("a") == "v"


def test_a_compact_entry_may_void_itself() -> None:
    budget = Budget(1 << 20)
    peer = NodeState(budget)
    peer.apply([entry("a", 1), entry(COMPACT_KEY, 2, "99", internal=True)])
    assert peer.entries == {}
    assert budget.used_bytes == 0


def test_names_that_come_and_go_for_an_hour_leave_a_full_node_within_its_bounds() -> None:
    """Each registration has a new name, 30 come and 30 go each second, and a peer reads now and then."""
    owner, peer = LocalState(Budget(32 << 20)), NodeState(Budget(32 << 20))
    names = deque(f"endpoint:{number}" for number in range(MAX_ENDPOINTS))
    for name in names:
        owner.set(name, "1")
    largest = 0
    for number in range(30 * 3600):
        owner.delete(names.popleft())
        names.append(f"endpoint:new-{number}")
        owner.set(names[-1], "1")
        largest = max(largest, len(owner.entries))
        if number % 20_000 == 0:
            peer.apply(owner.after(peer.version))
            assert peer.entries == owner.entries
    assert largest <= MAX_ENDPOINTS + MAX_ENDPOINTS // LIVE_PER_TOMBSTONE + 3
    assert owner.version < 8 * 30 * 3600
    peer.apply(owner.after(peer.version))
    assert peer.entries == owner.entries
