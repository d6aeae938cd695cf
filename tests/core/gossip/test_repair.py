"""Repair over TCP of entries that datagrams did not bring, in plays."""

from pico_core.boundary import SendDatagram
from pico_core.gossip.events import NodeUnreachable, NodeUpdated, StreamRequest
from pico_core.gossip.members import MAX_STATE_BYTES
from pico_core.gossip.state import ENTRY_OVERHEAD_BYTES
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import Delta, Digest, DigestEntry, Entry
from tests.core.gossip.plays import (
    HOSTS,
    A,
    B,
    C,
    answer_of,
    digest,
    digest_of,
    drain,
    engine,
    events,
    introduce,
    join_request_of,
    joined,
    pass_time,
    report_silent,
    request_of,
    sent,
    status_of,
)
from tests.gossip_streams import packed_state, reply_of_states, take_answer


def test_an_entry_above_the_packet_comes_over_tcp() -> None:
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(A, 0.0)
    second.start(B, 0.0)
    request = request_of(drain(second))
    take_answer(second, request.number, answer_of(first, "10.0.0.2", request.data, 0.0), 0.0)
    drain(first), drain(second)
    first.set_local("k" * 500, "v" * 1000, 0.1)
    at, told, syncs = 0.15, [], []
    while at < 2.5:
        for one in (first, second):
            one.tick(at)
        for _ in range(4):
            for source, target in ((first, second), (second, first)):
                for each in drain(source):
                    if isinstance(each, SendDatagram):
                        target.receive_datagram(each.data, HOSTS[source.id], 8003, at)
                    elif isinstance(each, StreamRequest):
                        syncs.append(each)
                    else:
                        told.append(each)
        at += 0.1
    (sync,) = syncs
    assert sync.host == "10.0.0.1"
    assert told == []
    assert take_answer(second, sync.number, answer_of(first, "10.0.0.2", sync.data, 2.5), 2.5)
    assert drain(second) == [NodeUpdated("a", "k" * 500, "v" * 1000)]
    assert second.counters.syncs == 1


def test_a_repair_needs_a_node_that_lives() -> None:
    first, _ = joined()
    introduce(first, "c")
    report_silent(first, "c", "b", 0.2)
    pass_time(first, 0.2, 2.5, "c")
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 50, False)), "10.0.0.2", 8003, 2.5)
    drain(first)
    outputs = pass_time(first, 2.5, 6.0, "c")
    assert events(outputs) == [NodeUnreachable("b", "does not answer")]
    assert not [each for each in outputs if isinstance(each, StreamRequest)]


def test_an_answer_from_elsewhere_adds_no_node() -> None:
    gossip = engine("a", "10.0.0.2")
    gossip.start(A, 0.0)
    request = request_of(drain(gossip))
    assert take_answer(gossip, request.number, reply_of_states("b", "10.0.0.77:8003", []), 0.1)
    assert status_of(gossip, "b") is None
    assert gossip.seeds.has_answer


def test_repairs_that_bring_nothing_become_rare() -> None:
    first, _ = joined()
    syncs = []
    for tenth in range(2, 600):
        at = tenth / 10
        first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False), request=False), "10.0.0.2", 8003, at)
        first.tick(at)
        for each in drain(first):
            if isinstance(each, StreamRequest):
                syncs.append(at)
                first.stream_failed(each.number, at)
    assert 3 <= len(syncs) <= 7
    assert syncs[-1] - syncs[-2] > 10


def test_being_far_behind_is_repaired_at_once() -> None:
    first, _ = joined()
    listed = [DigestEntry(f"n{n}", f"10.1.0.{n}:80", 9, False) for n in range(1, 40)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.2)
    first.tick(0.2)
    assert request_of(drain(first)).host == "10.0.0.2"
    first.tick(0.3)
    assert not [each for each in drain(first) if isinstance(each, StreamRequest)]


def test_the_entries_of_a_dead_node_are_not_fetched() -> None:
    first, _ = joined()
    introduce(first, "c")
    report_silent(first, "c", "b", 0.2)
    pass_time(first, 0.2, 2.5, "c")
    first.receive_datagram(digest("c", C, DigestEntry("b", B, 50, False)), "10.0.0.3", 8003, 2.5)
    drain(first)
    outputs = pass_time(first, 2.5, 6.0, "c")
    assert events(outputs) == [NodeUnreachable("b", "does not answer")]
    assert not [each for each in outputs if isinstance(each, StreamRequest)]


def test_what_a_digest_showed_beyond_ours_is_asked_for_once() -> None:
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    shown = digest("b", B, DigestEntry("b", B, 2, False), DigestEntry("c", C, 5, False), request=False)
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    ping, closing, asking = sent(drain(first))
    assert digest_of(ping).request
    assert closing == Delta("a", A, [])
    assert asking == Digest("a", A, False, [DigestEntry("c", C, 0, False)])
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    assert sent(drain(first)) == [Delta("a", A, [])]


def test_asking_is_bounded_by_the_packet() -> None:
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    listed = [DigestEntry(f"n{n}" + "x" * 200, f"10.1.0.{n}:80", 9, False) for n in range(20)]
    first.receive_datagram(digest("b", B, *listed, request=False), "10.0.0.2", 8003, 0.2)
    sizes = [len(each.data) for each in drain(first) if isinstance(each, SendDatagram)]
    assert 1200 < max(sizes) <= 1400


def test_memory_for_the_states_of_others_is_bounded() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    entries = [Entry(f"{version:0500}", "v" * 1000, version, False, False) for version in range(1, 19_001)]
    for number in range(4):
        name, addr = f"n{number}", f"10.1.0.{number}:80"
        for half in (entries[:9500], entries[9500:]):
            state = packed_state(name, addr, list(map(writing.pack_entry, half)))
            answer_of(gossip, f"10.1.0.{number}", writing.join_request(name, addr, state, []), 0.0)
    rows = gossip.snapshot(0.0)
    assert [row.entries for row in rows] == [2, 19_000, 19_000, 19_000, 17_565]
    assert sum(row.entries for row in rows[1:]) == MAX_STATE_BYTES // (500 + 1000 + ENTRY_OVERHEAD_BYTES)
    assert rows[4].version == 17_565
    assert gossip.counters.entries_refused


def test_a_join_reply_is_bounded() -> None:
    gossip = engine("a")
    gossip.start(A, 0.0)
    entries = [Entry(f"{key}" * 100, "v" * 1000, key, False, False) for key in range(1, 400)]
    for number in range(40):
        addr = f"10.1.0.{number}:80"
        state = packed_state(f"n{number}", addr, list(map(writing.pack_entry, entries)))
        answer_of(gossip, f"10.1.0.{number}", writing.leave_request(f"n{number}", addr, state), 0.0)
        answer_of(gossip, f"10.1.0.{number}", writing.join_request(f"n{number}", addr, state, []), 0.0)
    reply = answer_of(gossip, "10.0.0.3", join_request_of("c", C).data, 0.1)
    assert (8 << 20) < len(reply) <= (16 << 20)
