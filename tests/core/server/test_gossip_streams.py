"""Streams on the gossip port, in plays: what strangers may keep, and that long messages take turns."""

import random
from typing import Any

from pico_core.boundary import Accepted, Close, EofReceived, PauseReading, Received, Send
from pico_core.gossip.engine import Gossip
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import Entry
from pico_core.records import Record
from pico_core.server.gossip_streams import GossipStreams
from tests.core.held_stream import HeldStream
from tests.neighbours import know
from tests.play import Nothing, Play, joined, server_play

ADDR = "192.0.2.20:8003"
HEAD = b"\x03\x00\x82\xa7node_id\xa1x\xa4addr\xaf192.0.2.20:8003"
UNFINISHED = HEAD + b"\x91\x84\xa2id\xa1x\xa4addr\xa0\xa4more\xdb\x7f\xff\xff\xff"
"""A text of 2 GiB begins."""


def connects(play: Play, connection: int, host: str = "192.0.2.20") -> Play:
    return play >> Accepted(connection, "gossip-streams", host, 4000)


def closed(play: Play) -> list[int]:
    """Return the connections that the server closes."""
    return [each.connection for each in play.take() if isinstance(each, Close)]


def test_a_join_is_answered_at_once() -> None:
    play = connects(server_play(), 1)
    (sent, close) = (play >> Received(1, HEAD + b"\x90\x90")).take()
    assert isinstance(sent, Send)
    assert close == Close(1)


def test_twenty_streams_of_one_address_keep_no_more_than_its_share() -> None:
    play = server_play()
    for connection in range(1, 41, 2):
        connects(play, connection) >> Received(connection, UNFINISHED)
    ended = closed(play)
    assert ended == list(range(1, 1 + 2 * (20 - 16), 2))
    kept_bytes = 0
    open_ones = [each for each in range(1, 41, 2) if each not in ended]
    for turn in range(16):
        for connection in open_ones:
            play >> Received(connection, bytes(1 << 20))
            kept_bytes += 1 << 20
        gone = closed(play)
        kept_bytes -= sum((turn + 1) << 20 for _ in gone)
        open_ones = [each for each in open_ones if each not in gone]
        assert kept_bytes <= (8 << 20) + (16 << 20)
    assert len(open_ones) <= 8


def test_streams_of_many_addresses_are_bounded_in_number_and_the_host_with_most_gives_way() -> None:
    play = server_play()
    connects(play, 1, "192.0.2.1") >> Received(1, UNFINISHED)
    for number in range(16):
        connects(play, 101 + 2 * number, "192.0.2.66")
    for number in range(48 - 16 - 1):
        connects(play, 201 + 2 * number, f"192.0.3.{number}")
    assert closed(play) == []
    connects(play, 301, "192.0.2.2")
    assert closed(play) == [101]


def test_a_long_join_takes_turns_and_is_read_no_faster_than_it_is_worked_on() -> None:
    play = connects(server_play(), 1)
    entries = [Entry(f"endpoint:e-{n}", "1", n, False, False) for n in range(1, 10_001)]
    state = writing.pack_state("x", ADDR, len(entries)) + b"".join(map(writing.pack_entry, entries))
    request = writing.join_request("x", ADDR, state, [])
    (paused,) = (play >> Received(1, request)).take()
    assert paused == PauseReading(1)
    assert play >> EofReceived(1) << Nothing()
    sizes: list[int] = []
    commands: list[Record] = []
    while Close(1) not in commands:
        commands = (play >> play.now + 0.001).take()
        sizes += [len(joined(each.data)) for each in commands if isinstance(each, Send) and each.connection == 1]
        assert play.now < 2.0
    assert play.now > 0.01
    assert sum(sizes) > 80


def members(*numbers: int) -> Play:
    """Return a server that knows so many nodes, with the addresses 192.0.2.<number>."""
    play = server_play()
    for number in numbers:
        know(play, number)
    play.take()
    return play


def test_a_member_has_32_streams() -> None:
    play = members(20)
    for number in range(32):
        connects(play, 101 + 2 * number)
    assert closed(play) == []
    connects(play, 301)
    assert closed(play) == [101]


def test_members_have_64_streams_together_and_the_one_with_most_gives_way() -> None:
    """Streams that this node has opened count too. They do not come through its port, which takes 64 at most."""
    nothing: Any = None
    gossip = Gossip("node-1", entropy=random.Random(1), seeds=[])
    budget = GossipStreams(nothing, gossip, nothing).members
    held = [HeldStream(f"192.0.2.{host}") for host in [20] * 31 + [21] * 30 + [22] * 3]
    for each in held:
        budget.add(each, 0.0)
    assert not any(each.has_given_way for each in held)
    budget.add(HeldStream("192.0.2.23"), 0.0)
    assert [each.has_given_way for each in held] == [True] + [False] * 63


def sends(play: Play, connection: int, mebibytes: int) -> None:
    """Let a stream of ``connection`` grow to so many MiB."""
    play >> Received(connection, UNFINISHED)
    for number in range(mebibytes):
        play >> Received(connection, bytes((1 << 20) - (0 if number else len(UNFINISHED))))


def test_unfinished_streams_of_strangers_are_kept_up_to_a_size() -> None:
    play = server_play()
    for connection, host, mebibytes in ((1, "192.0.2.1", 5), (3, "192.0.2.1", 3), (5, "192.0.3.1", 8)):
        sends(connects(play, connection, host), connection, mebibytes)
    assert closed(play) == []
    connects(play, 7, "192.0.4.1") >> Received(7, b"\x03")
    assert closed(play) == [5], "16 MiB for all of them"
    play >> Received(3, b"x")
    assert closed(play) == [1], "8 MiB for one address"


def test_unfinished_streams_of_members_are_kept_up_to_a_size() -> None:
    play = members(20, 21)
    for connection, host, mebibytes in ((101, 20, 11), (103, 20, 10), (105, 20, 10), (201, 21, 9), (203, 21, 8)):
        sends(connects(play, connection, f"192.0.2.{host}"), connection, mebibytes)
    assert closed(play) == []
    play >> Received(203, b"x")
    assert closed(play) == [101], "48 MiB for all of them"
    play = members(20)
    for connection, mebibytes in ((101, 12), (103, 11), (105, 9)):
        sends(connects(play, connection), connection, mebibytes)
    assert closed(play) == []
    play >> Received(105, b"x")
    assert closed(play) == [101], "32 MiB for one of them"
