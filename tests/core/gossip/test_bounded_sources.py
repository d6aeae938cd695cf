"""What a node remembers of addresses, and what one of them may cost, at their bounds and one beyond."""

import random

import pytest

from pico_core.gossip.address import HostPort
from pico_core.gossip.events import Event
from pico_core.gossip.member import Member
from pico_core.gossip.members import Members
from pico_core.gossip.rate_limit import DatagramLimiter
from pico_core.gossip.state import Budget, LocalState
from pico_core.gossip.strangers import Strangers
from pico_core.gossip.wire.reading import StreamReader
from pico_core.gossip.wire.records import WireError

SOURCES = 4_096
ONE: HostPort = ("10.0.0.1", 8003)
LONG = 1_500


def engine_members() -> Members:
    local = Member("a", "10.0.0.1:8003", LocalState(Budget(1 << 20)), 0.0)
    events: list[Event] = []
    return Members(local, random.Random(1), events.append)


def addresses(count: int) -> list[HostPort]:
    """Return so many other addresses."""
    return [(f"10.{1 + number // 65_536}.{number // 256 % 256}.{number % 256}", 8003) for number in range(count)]


def limiter() -> DatagramLimiter:
    return DatagramLimiter(0.1, 1_400)


@pytest.mark.parametrize("others", [SOURCES - 1, SOURCES])
def test_the_address_that_was_heard_from_first_falls_out(others: int) -> None:
    strangers = Strangers()
    strangers.received(ONE, 100)
    for each in addresses(others):
        strangers.received(each, 1)
    assert strangers.room_bytes(ONE) == (100 if others < SOURCES else 0)


def test_credit_of_an_address_is_bounded() -> None:
    strangers = Strangers()
    strangers.received(ONE, 65_535)
    strangers.received(ONE, 1)
    assert strangers.room_bytes(ONE) == 65_536
    strangers.received(ONE, 1)
    assert strangers.room_bytes(ONE) == 65_536


def test_strangers_send_no_datagram_longer_than_an_ethernet_frame() -> None:
    sizes = (1_500, 1_501)
    assert [limiter().admits(size, ONE, 0.0, is_member=False) for size in sizes] == [True, False]
    assert limiter().admits(1_501, ONE, 0.0, is_member=True)


def test_a_member_has_a_thousand_short_datagrams_at_once() -> None:
    found = limiter()
    assert sum(found.admits(0, ONE, 0.0, is_member=True) for _ in range(1_100)) == 1_000


@pytest.mark.parametrize("others", [SOURCES - 1, SOURCES])
def test_work_of_an_address_is_remembered_while_there_are_not_too_many_others(others: int) -> None:
    found = limiter()
    for size in (LONG, 0):
        while found.admits(size, ONE, 0.0, is_member=False):
            pass
    for each in addresses(others):
        found.admits(0, each, 0.0, is_member=False)
    later = 0.01  # enough for all strangers together, and not for one that has used its share
    assert found.admits(LONG, ONE, later, is_member=False) is (others == SOURCES)


@pytest.mark.parametrize("others", [SOURCES - 1, SOURCES])
def test_addresses_that_were_asked_are_remembered_while_there_are_not_too_many_others(others: int) -> None:
    found = limiter()
    found.asked(ONE, 0.0)
    for each in addresses(others):
        found.asked(each, 0.0)
    for number in range(4):
        while found.admits(0, (f"192.0.2.{number}", 8003), 0.0, is_member=False):
            pass
    assert found.admits(0, ONE, 0.0, is_member=False) is (others < SOURCES)


@pytest.mark.parametrize("others", [SOURCES - 1, SOURCES])
def test_dead_nodes_are_remembered_up_to_a_bound(others: int) -> None:
    members = engine_members()
    for number in range(1 + others):
        members.remember_dead(f"node-{number}", f"10.1.{number // 256}.{number % 256}:8003", 0.0)
    assert ("node-0" in members.removed) is (others < SOURCES)
    assert len(members.removed) == SOURCES


@pytest.mark.parametrize("entries", [400_000, 400_001])
def test_an_answer_to_a_join_has_so_many_entries(entries: int) -> None:
    reader = StreamReader(is_request=False, max_bytes=1 << 24)
    reader.receive(b"\x82\xa7node_id\xa1x\xa4addr\xad10.9.0.1:8003")
    reader.receive(b"\x91\x83\xa2id\xa1x\xa4addr\xa0\xa7entries\xdd" + entries.to_bytes(4, "big"))
    reader.receive(b"\x81\xa3key\xa1x" * 99)
    if entries == 400_000:
        assert reader.walk(100) == 100
    else:
        with pytest.raises(WireError, match="more"):
            reader.walk(100)
