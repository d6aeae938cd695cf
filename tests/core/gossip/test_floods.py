"""Strangers that flood the gossip port, in plays: what they cost, and what leaves because of them."""

import random
import time
from collections import Counter

import pytest

from pico_core.boundary import SendDatagram
from pico_core.gossip.engine import Gossip
from pico_core.gossip.events import StreamRequest
from pico_core.gossip.rate_limit import MAX_STRANGER_BYTES, DatagramLimiter
from pico_core.gossip.wire import writing
from pico_core.gossip.wire.records import DigestEntry, Entry, WireError
from tests.collection import no_collection
from tests.core.gossip.plays import A, B, accepted, delta, digest, drain, engine, join_request_of, joined, prove
from tests.gossip_streams import received

SECONDS = 70
"""Longer than anything that a node remembers of a datagram."""
SHORT = digest("x", "10.9.0.1:8003", DigestEntry("x", "10.9.0.1:8003", 1, False))
HEAD = b"\x03\x00\x82\xa7node_id\xa1x\xa4addr\xad10.9.0.1:8003"


def stranger() -> Gossip:
    """Return a node with 200 endpoints, which it would tell to anyone that answers."""
    gossip = engine("a")
    for number in range(200):
        gossip.set_endpoint(f"endpoint-{number}", 1, 0.0)
    gossip.start(A, 0.0)
    return gossip


def sent_in_time(gossip: Gossip, packets: list[tuple[float, bytes, str]], connects_to: str = "") -> Counter[str]:
    """Let datagrams come and 70 s pass; return how many bytes went to each host."""
    sent: Counter[str] = Counter()
    for tenth in range(10 * SECONDS):
        now = tenth / 10
        while packets and packets[0][0] <= now:
            _, data, host = packets.pop(0)
            gossip.receive_datagram(data, host, 8003, now)
        gossip.tick(now)
        for each in drain(gossip):
            assert not isinstance(each, StreamRequest) or each.host == connects_to
            if isinstance(each, SendDatagram):
                sent[each.host] += len(each.data)
    return sent


OF_X = "10.9.0.1:8003"
KINDS = {
    "digest": SHORT,
    "answer": digest("x", OF_X, DigestEntry("x", OF_X, 1, False), request=False),
    "digest that knows us": digest("x", OF_X, DigestEntry("x", OF_X, 9, False), DigestEntry("a", A, 1, False)),
    "digest that claims our version": digest("x", OF_X, DigestEntry("a", A, 1 << 40, False)),
    "ping": writing.digest_head("x", OF_X, request=True),
    "delta": delta("x", OF_X, "x", OF_X, Entry("proxy_addr", "10.9.0.1:8000", 1, False, False)),
    "delta of a leave": delta("x", OF_X, "x", OF_X, Entry("_internal:left", "", 1, True, False)),
    "join": HEAD + b"\x90\x90",
    "long digest": digest("x", OF_X, *[DigestEntry(f"n{n}", f"10.8.0.{n}:8003", 1, False) for n in range(28)]),
}
BLIND_ANSWERS = ("answer", "delta", "delta of a leave")
"""Many of them are taken for answers: the wire has no secret by which a forged one could be told from another."""


@pytest.mark.parametrize(
    ("kind", "count"), [(kind, 1) for kind in KINDS] + [(kind, 40) for kind in KINDS if kind not in BLIND_ANSWERS]
)
def test_an_address_that_never_answered_gets_no_more_than_came_from_it(kind: str, count: int) -> None:
    data = KINDS[kind]
    gossip = stranger()
    sent = sent_in_time(gossip, [(1.0 + 0.5 * number, data, "10.9.0.1") for number in range(count)])
    assert sent.total() <= count * len(data)
    assert set(sent) <= {"10.9.0.1"}
    assert count > 1 or "active" not in {row.status for row in gossip.snapshot(0.0)[1:]}


def test_many_forged_addresses_get_no_more_than_came_from_each() -> None:
    gossip = stranger()
    packets = []
    for number in range(1000):
        host = f"10.9.{number // 250}.{number % 250}"
        addr = f"{host}:8003"
        data = digest(f"x{number}", addr, DigestEntry(f"x{number}", addr, 1, False))
        packets.append((1.0 + number * 0.01, data, host))
    sizes = {host: len(data) for _, data, host in packets}
    sent = sent_in_time(gossip, packets)
    assert all(size <= sizes[host] for host, size in sent.items())


def test_victims_that_a_stranger_lists_get_nothing() -> None:
    gossip = stranger()
    packets = []
    for number in range(0, 1000, 25):
        listed = [DigestEntry(f"v{number + n}", f"10.7.{number // 25}.{n}:53", 9, False) for n in range(25)]
        packets.append((1.0 + number * 0.01, digest("x", OF_X, *listed), "10.9.0.1"))
    size_bytes = sum(len(data) for _, data, _ in packets)
    sent = sent_in_time(gossip, packets)
    assert sent.total() <= size_bytes
    assert set(sent) <= {"10.9.0.1"}


def test_victims_that_a_node_lists_get_no_more_than_it_spent_on_them() -> None:
    """A node that answers is not forged, and can still lie about others: over datagrams, and over TCP."""
    gossip = stranger()
    prove(gossip, "x", OF_X, at=0.1)
    packets = []
    for number in range(0, 1000, 25):
        listed = [DigestEntry(f"v{number + n}", f"10.7.{number // 25}.{n}:53", 9, False) for n in range(25)]
        packets.append((1.0 + number * 0.01, digest("x", OF_X, *listed), "10.9.0.1"))
    size_bytes = sum(len(data) for _, data, _ in packets)
    sent = sent_in_time(gossip, packets, connects_to="10.9.0.1")
    assert sum(size for host, size in sent.items() if host != "10.9.0.1") <= size_bytes

    gossip = stranger()
    victims = [writing.digest_entry(f"v{n}", f"10.7.{n // 250}.{n % 250}:53", 9, left=False) for n in range(1000)]
    request = writing.join_request("x", OF_X, writing.pack_state("x", OF_X, 0), victims)
    received(accepted(gossip, "10.9.0.1", 0.1), request, 0.1)
    sent = sent_in_time(gossip, [], connects_to="10.9.0.1")
    assert sum(size for host, size in sent.items() if host != "10.9.0.1") <= len(request)


def test_a_stranger_is_not_told_to_others_before_it_answers() -> None:
    first, _ = joined()
    first.receive_datagram(SHORT, "10.9.0.1", 8003, 0.1)
    drain(first)
    first.tick(0.2)
    assert b"\xa1x" not in b"".join(each.data for each in drain(first) if isinstance(each, SendDatagram))


# --- time ---


@pytest.mark.parametrize("size_bytes", [MAX_STRANGER_BYTES + 1, 65_507])
def test_larger_datagrams_of_strangers_are_not_read(size_bytes: int) -> None:
    first, _ = joined()
    data = (writing.digest_head("x", OF_X, request=True) + b"\x80" * size_bytes)[:size_bytes]
    first.receive_datagram(data, "10.9.0.1", 8003, 0.1)
    assert drain(first) == []
    assert (first.counters.datagrams_refused, first.counters.malformed) == (1, 0)
    first.receive_datagram(data, "10.0.0.2", 8003, 0.1)
    assert (first.counters.datagrams_refused, first.counters.malformed) == (1, 1)


def test_what_a_flood_costs_is_bounded_by_address_and_in_all_and_leaves_a_node_its_share() -> None:
    first, _ = joined()
    data = digest("b", B, DigestEntry("b", B, 1, False))
    for number in range(10_000):
        first.receive_datagram(SHORT, "10.9.0.1", 8003, 1.0 + number * 0.0001)
    assert 190 <= 10_000 - first.counters.datagrams_refused <= 400
    for number in range(100_000):
        host = f"10.9.{number // 250 % 250}.{number % 250}"
        first.receive_datagram(SHORT, host, 8003, 2.0 + number * 0.00001)
    assert 110_000 - first.counters.datagrams_refused <= 1_800
    drain(first)
    for number in range(60):
        first.receive_datagram(data, "10.0.0.2", 8003, 2.5 + number * 0.001)
        assert len(drain(first)) == 2


def test_an_address_that_was_asked_answers_during_a_flood() -> None:
    limiter = DatagramLimiter(0.1, 1400)
    limiter.asked(("10.0.0.3", 8003), 1.0)
    for number in range(1000):
        limiter.admits(100, (f"10.9.1.{number}", 1), 1.0, is_member=False)
    assert not limiter.admits(100, ("10.0.0.4", 8003), 1.0, is_member=False)
    assert limiter.admits(100, ("10.0.0.3", 8003), 1.0, is_member=False)


WORST = [
    digest("x", OF_X, *[DigestEntry(f"{n:02}", "", 1, False) for n in range(45)]),
    (b"\x01\x00" + writing.digest_head("x", OF_X, request=True)[2:] + b"\x80" * 1400)[:1400],
    delta("x", OF_X, "x", OF_X, *[Entry("k", "", n, False, False) for n in range(30)]),
    (writing.delta_head("x", OF_X) + b"\x81\xa3key\xa0" * 300)[:1400],
]


@pytest.mark.parametrize("data", WORST)
def test_a_flood_of_the_costliest_datagrams_takes_five_percent_of_a_core(data: bytes) -> None:
    """Ten seconds of 2,000 datagrams each, from 200 addresses; the bound is twice that, for machines that are busy."""
    assert len(data) <= 1500
    gossip = stranger()
    with no_collection():
        began_at = time.process_time()
        for number in range(20_000):
            gossip.receive_datagram(data, f"10.9.1.{number % 200}", 8003, number / 2000)
        drain(gossip)
        spent_s = time.process_time() - began_at
    assert spent_s < 1.0


# --- streams ---


def test_a_join_of_many_tiny_values_is_refused_where_they_begin() -> None:
    gossip = stranger()
    stream = accepted(gossip, "10.9.0.1", 0.1)
    stream.gather(HEAD + b"\x91\x83\xa2id\xa1x\xa4addr\xa0\xa7entries\xdd\x00\xff\xff\xff" + b"\x80" * 65_000)
    with pytest.raises(WireError, match="more values"):
        stream.work(0.1)


def test_a_long_stream_takes_turns() -> None:
    """10,000 endpoints come, and 10,000 go, in turns of a few milliseconds each."""
    gossip = engine("a")
    gossip.start(A, 0.0)
    for number in range(10_000):
        gossip.set_endpoint(f"endpoint-{number}", 1, 0.0)
    entries = [Entry(f"endpoint:other-{n}", "1", n, False, False) for n in range(1, 10_001)]
    state = writing.pack_state("x", OF_X, len(entries)) + b"".join(map(writing.pack_entry, entries))
    data = writing.join_request("x", OF_X, state, [])
    stream = accepted(gossip, "10.9.0.1", 0.1)
    longest_s, turns, answer_bytes = 0.0, 0, 0
    with no_collection():
        for at in range(0, len(data), 65_536):
            stream.gather(data[at : at + 65_536])
            while stream.is_busy:
                began_at = time.process_time()
                answer_bytes += len(stream.work(0.1))
                drain(gossip)
                longest_s = max(longest_s, time.process_time() - began_at)
                turns += 1
    assert stream.is_done
    assert turns > 10
    assert answer_bytes > 600_000
    assert longest_s < 0.03
    assert len(gossip.entries("x") or []) == 10_000


def test_random_bytes_end_streams_and_nothing_else() -> None:
    gossip = stranger()
    entropy = random.Random(5)
    request = join_request_of("c", "10.0.0.3:8003").data
    refused = 0
    for _ in range(300):
        data = bytearray(request)
        for _ in range(entropy.randrange(1, 6)):
            data[entropy.randrange(len(data))] = entropy.randrange(256)
        stream = accepted(gossip, "10.0.0.3", 0.1)
        try:
            received(stream, bytes(data), 0.1)
        except WireError:
            refused += 1
    assert 100 < refused < 300
    assert received(accepted(gossip, "10.0.0.3", 0.2), request, 0.2), "what is not changed is answered as before"
