"""Repair of what datagrams did not bring, in plays."""

from pico_core.boundary import SendDatagram
from pico_core.gossip import wire
from pico_core.gossip.events import NodeUpdated, StreamRequest
from pico_core.gossip.wire import Delta, Digest, DigestEntry, Entry
from tests.core.gossip.plays import (
    HOSTS,
    A,
    B,
    C,
    delta,
    digest,
    drain,
    engine,
    events,
    exchange_of,
    exchange_of_new,
    introduce_third,
    joined,
    sent,
    silence,
)


def test_an_entry_above_the_packet_comes_over_tcp():
    first, second = engine("a"), engine("b", "10.0.0.1")
    first.start(0.0)
    second.start(0.0)
    request = exchange_of(drain(second))
    second.exchange_received(request.number, first.accept_stream("10.0.0.2").receive(request.data, 0.0), 0.0)
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
    assert second.exchange_received(sync.number, first.accept_stream("10.0.0.2").receive(sync.data, 2.5), 2.5)
    assert drain(second) == [NodeUpdated("a", "k" * 500, "v" * 1000)]
    assert second.counters.syncs == 1


def test_a_repair_needs_somebody_who_lives():
    first, _ = joined()
    introduce_third(first)
    first.receive_datagram(digest("b", B, DigestEntry("c", C, 50, False)), "10.0.0.2", 8003, 0.3)
    first._members.unreachable(first._members.nodes["b"], "for this test", 0.4)
    first._failure.forget("b")
    for tenth in range(4, 30):
        first.tick(tenth / 10)
        first.receive_datagram(wire.delta_head("c", C), "10.0.0.3", 8003, tenth / 10)
    assert not [each for each in drain(first) if isinstance(each, StreamRequest)]
    assert first._knowledge.behind == {}


def test_an_answer_from_elsewhere_makes_no_member():
    gossip = engine("a", "10.0.0.2")
    gossip.start(0.0)
    request = exchange_of(drain(gossip))
    assert gossip.exchange_received(request.number, wire.join_reply("b", "10.0.0.77:8003", []), 0.1)
    assert gossip.status("b") is None
    assert gossip.seeds.has_answer


def test_repairs_that_bring_nothing_become_rare():
    first, _ = joined()
    syncs = []
    for tenth in range(2, 600):
        at = tenth / 10
        first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False), request=False), "10.0.0.2", 8003, at)
        first.tick(at)
        for each in drain(first):
            if isinstance(each, StreamRequest):
                syncs.append(at)
                first.exchange_failed(each.number, at)
    assert 3 <= len(syncs) <= 7
    assert syncs[-1] - syncs[-2] > 10


def test_being_far_behind_is_repaired_at_once():
    first, _ = joined()
    listed = [DigestEntry(f"n{n}", f"10.1.0.{n}:80", 9, False) for n in range(1, 40)]
    first.receive_datagram(digest("b", B, *listed), "10.0.0.2", 8003, 0.2)
    first.tick(0.2)
    assert exchange_of(drain(first)).host == "10.0.0.2"
    first.tick(0.3)
    assert not [each for each in drain(first) if isinstance(each, StreamRequest)]


def test_who_shows_more_than_it_can_give_is_dropped_with_its_claims():
    first, _ = joined()
    first.receive_datagram(digest("b", B, DigestEntry("b", B, 50, False)), "10.0.0.2", 8003, 0.1)
    assert "b" in first._knowledge.behind
    silence(first, 0.2, 4.0)
    assert first._knowledge.behind == {}


def test_what_a_digest_showed_beyond_ours_is_asked_for_once():
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    shown = digest("b", B, DigestEntry("b", B, 2, False), DigestEntry("c", C, 5, False), request=False)
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    closing, asking = sent(drain(first))
    assert closing == Delta("a", A, [])
    assert asking == Digest("a", A, False, [DigestEntry("c", C, 0, False)])
    first.receive_datagram(shown, "10.0.0.2", 8003, 0.2)
    assert sent(drain(first)) == [Delta("a", A, [])]


def test_asking_is_bounded_by_the_packet():
    first, _ = joined()
    first.tick(0.2)
    drain(first)
    listed = [DigestEntry(f"n{n}" + "x" * 200, f"10.1.0.{n}:80", 9, False) for n in range(20)]
    first.receive_datagram(digest("b", B, *listed, request=False), "10.0.0.2", 8003, 0.2)
    assert all(len(each.data) <= 1400 for each in drain(first) if isinstance(each, SendDatagram))


def test_memory_for_the_states_of_others_is_bounded():
    first, _ = joined()
    first._members._budget.limit_bytes = first._members._budget.used_bytes + 500
    for version in range(3, 6):
        entry = Entry(f"k{version}", "v", version, False, False)
        first.receive_datagram(delta("b", B, "b", B, entry, after=version - 1), "10.0.0.2", 8003, 0.2)
    assert first.counters.entries_refused == 1
    assert first.counters.gaps_refused == 1
    assert events(drain(first)) == [NodeUpdated("b", "k3", "v")]


def test_a_join_reply_is_bounded():
    gossip = engine("a")
    gossip.start(0.0)
    gossip._members._budget.limit_bytes = 1 << 40
    for number in range(40):
        addr = f"10.1.0.{number}:80"
        gossip.receive_datagram(digest(f"n{number}", addr), f"10.1.0.{number}", 80, 0.0)
        entries = [Entry(f"{key}" * 100, "v" * 1000, key, False, False) for key in range(1, 400)]
        gossip._members.nodes[f"n{number}"].state.apply(entries)
    reply = gossip.accept_stream("10.0.0.3").receive(exchange_of_new("c", C).data, 0.1)
    assert (8 << 20) < len(reply) <= (16 << 20)
