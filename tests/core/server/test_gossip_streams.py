"""Streams on the gossip port, in plays: what strangers may keep, and that long messages take turns."""

from pico_core.boundary import Accepted, Close, EofReceived, PauseReading, Received, Send
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import Entry
from pico_core.records import Record
from pico_core.server.gossip_budget import STRANGER_BYTES_PER_HOST, STRANGER_STREAMS, STRANGER_STREAMS_PER_HOST
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
    assert ended == list(range(1, 1 + 2 * (20 - STRANGER_STREAMS_PER_HOST), 2))
    kept_bytes = 0
    open_ones = [each for each in range(1, 41, 2) if each not in ended]
    for turn in range(16):
        for connection in open_ones:
            play >> Received(connection, bytes(1 << 20))
            kept_bytes += 1 << 20
        gone = closed(play)
        kept_bytes -= sum((turn + 1) << 20 for _ in gone)
        open_ones = [each for each in open_ones if each not in gone]
        assert kept_bytes <= STRANGER_BYTES_PER_HOST + (16 << 20)
    assert len(open_ones) <= STRANGER_BYTES_PER_HOST >> 20


def test_streams_of_many_addresses_are_bounded_in_number_and_the_host_with_most_gives_way() -> None:
    play = server_play()
    connects(play, 1, "192.0.2.1") >> Received(1, UNFINISHED)
    for number in range(STRANGER_STREAMS_PER_HOST):
        connects(play, 101 + 2 * number, "192.0.2.66")
    for number in range(STRANGER_STREAMS - STRANGER_STREAMS_PER_HOST - 1):
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
